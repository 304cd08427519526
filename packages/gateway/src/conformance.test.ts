import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { conformanceApplication, conformanceCases, runConformance } from "./conformance.ts";
import { silentLogger } from "./host/log.ts";
import { type ReferenceServer, serveReference } from "./reference.ts";

let server: ReferenceServer;

beforeAll(async () => {
  server = await serveReference(conformanceApplication, { log: silentLogger() });
});

afterAll(async () => {
  await server.close();
});

describe("the reference server conforms", () => {
  for (const { id, title, run } of conformanceCases) {
    it(`${id} ${title}`, () => run({ url: server.url }));
  }
});

describe("the host conforms with light responses too", () => {
  it("all cases", async () => {
    const real = globalThis.Response;
    const fast = await serveReference(conformanceApplication, { log: silentLogger(), globals: "fast" });
    try {
      const results = await runConformance({ url: fast.url });
      expect(results.length).toBe(conformanceCases.length);
      // The kit counts startups by process, and this is the second host of this one.
      expect(results.filter(({ id, error }) => error !== undefined && id !== "T2.3.1")).toEqual([]);
    } finally {
      globalThis.Response = real;
      await fast.close();
    }
  }, 90_000);
});

describe("the host conforms before a front that knows the fields of 5.7", () => {
  it("all cases", async () => {
    const fronted = await serveReference(conformanceApplication, {
      log: silentLogger(),
      front: { redirects: true, cache: true },
    });
    try {
      expect(fronted.host.capabilities).toMatchObject({ internalRedirect: true, cache: true });
      const results = await runConformance({ url: fronted.url });
      expect(results.filter(({ id, error }) => error !== undefined && id !== "T2.3.1")).toEqual([]);
    } finally {
      await fronted.close();
    }
  }, 90_000);
});

describe("the kit tells those that do not conform", () => {
  /** What one would write in five minutes: calls fetch with a request, and sends what comes back. */
  const naive = createServer((request, response) => {
    const ctx = { http: {}, state: { startups: 1 }, spec: { name: "TSGI", version: "1.0", capabilities: {} } };
    const made = new Request(`http://${request.headers.host}${request.url}`, { method: request.method ?? "GET" });
    void (async () => {
      const reply = (await conformanceApplication.fetch(made, ctx as never)) as { status?: number; body?: string };
      response.statusCode = reply.status ?? 200;
      response.end(reply.body);
    })().catch((error: Error | undefined) => response.writeHead(500).end(error?.stack));
  });

  it("a naive server fails nearly everywhere", async () => {
    await new Promise<void>((resolve) => naive.listen(0, "127.0.0.1", resolve));
    const { port } = naive.address() as AddressInfo;
    const cases = conformanceCases.filter(({ id, capability }) => !SLOW_TO_FAIL.has(id) && capability === undefined);
    const conforming: string[] = [];
    for (const { id, run } of cases) {
      await run({ url: `http://127.0.0.1:${port}` }).then(
        () => conforming.push(id),
        () => {},
      );
    }
    naive.closeAllConnections();
    naive.close();
    expect(cases.length).toBeGreaterThan(50);
    // What five minutes give: forms, one run for each, concurrency, plain statuses, and what node:http does by itself.
    expect(conforming.filter((id) => !NAIVELY_RIGHT.has(id))).toEqual([]);
  }, 60_000);
});

/** Cases that wait for their patience to end before they fail. */
const SLOW_TO_FAIL = new Set([
  "T3.4.1",
  "T4.2.4",
  "T4.2.5",
  "T5.5.1a",
  "T5.5.1b",
  "T5.5.2",
  "T5.5.3",
  "T5.5.4",
  "T7.2.1",
  "T3.4.2",
  "T4.2.3a",
  "T2.2.1",
]);

/** Cases that need nothing but node:http and a call of fetch, and those about refusals, for who fails at everything refuses everything. */
const NAIVELY_RIGHT = new Set(
  "T2.1.1 T2.1.2 T2.2.3 T2.3.1 T2.4.1d T3.1.1 T4.1.2 T5.1.2 T5.4.1b T5.3.2b T5.3.2c T5.3.3 T5.4.2a T5.4.3 T5.4.4".split(
    " ",
  ),
);

describe("the kit covers the specification", () => {
  it("has a case for every MUST, or the document says why not", async () => {
    const text = await readFile(new URL("../../../docs/spec/tsgi.md", import.meta.url), "utf8");
    const [rules = "", unseen = ""] = text.split("## 9 ");
    const required = [...rules.matchAll(/^- \*\*(T[\d.]+)\*\* (.*)$/gm)]
      .filter(([, , sentence]) => /\bMUST\b/.test(sentence as string))
      .map(([, id]) => id as string);
    const excused = new Set([...unseen.matchAll(/T\d+\.\d+\.\d+/g)].map(([id]) => id));
    const covered = new Set(conformanceCases.map(({ id }) => id.replace(/[a-z]$/, "")));
    expect(required.length).toBeGreaterThan(60);
    expect(required.filter((id) => !covered.has(id) && !excused.has(id))).toEqual([]);
    expect([...covered].filter((id) => !required.includes(id))).toEqual([]);
  });

  it("numbers no case twice", () => {
    const ids = conformanceCases.map(({ id }) => id);
    expect(ids.filter((id, at) => ids.indexOf(id) !== at)).toEqual([]);
  });
});
