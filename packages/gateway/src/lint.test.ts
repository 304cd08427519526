import { afterEach, describe, expect, it } from "vitest";
import type { Application, ApplicationObject } from "./application.ts";
import { conformanceApplication, conformanceCases } from "./conformance.ts";
import { silentLogger } from "./host/log.ts";
import { type Breach, lint } from "./lint.ts";
import { type ReferenceServer, serveReference } from "./reference.ts";

let server: ReferenceServer | undefined;

afterEach(async () => {
  await server?.close();
  server = undefined;
});

/** Serves an application linted, asks it once, and gives the numbers of the rules broken. */
async function rulesBrokenBy(application: Application, init: RequestInit = {}): Promise<string[]> {
  const breaches: Breach[] = [];
  server = await serveReference(lint(application, { report: (breach) => breaches.push(breach) }), {
    log: silentLogger(),
  });
  await fetch(server.url, init)
    .then(
      (response) => response.arrayBuffer(),
      () => undefined,
    )
    .catch(() => undefined);
  return breaches.map(({ rule, by }) => `${by} ${rule}`);
}

const BROKEN: readonly (readonly [string, unknown])[] = [
  ["T5.1.1", undefined],
  ["T5.1.1", "text"],
  ["T5.1.1", { statusCode: 200 }],
  ["T5.1.3", { status: 99 }],
  ["T5.2.2", { headers: { "a b": "c" } }],
  ["T5.2.3", { headers: { a: "b\nc" } }],
  ["T5.2.4", { headers: { Connection: "close" } }],
  ["T5.3.1", { headers: { "content-length": "x" } }],
  ["T5.3.2", { headers: { "content-length": "3" }, body: "four" }],
  ["T5.4.1", { body: 42 }],
  ["T5.4.2", { status: 204, body: "text" }],
];

describe("lint reports what the application breaks", () => {
  for (const [rule, reply] of BROKEN) {
    it(`${rule}: ${JSON.stringify(reply)}`, async () => {
      expect(await rulesBrokenBy((() => reply) as Application)).toContain(`application ${rule}`);
    });
  }

  it("T5.3.2: a stream that is not as long as it says", async () => {
    const application: Application = () => ({
      headers: { "content-length": "9" },
      body: (async function* () {
        yield "part";
      })(),
    });
    expect(await rulesBrokenBy(application)).toEqual(["application T5.3.2"]);
  });

  it("throws by default, so that the request fails", async () => {
    server = await serveReference(lint((() => undefined) as unknown as Application), { log: silentLogger() });
    expect((await fetch(server.url)).status).toBe(500);
  });
});

describe("lint finds nothing where nothing is broken", () => {
  it("in an application and a host that keep the rules", async () => {
    expect(await rulesBrokenBy(() => ({ headers: ["x-a", "1"], body: "text" }))).toEqual([]);
    await server?.close();
    expect(await rulesBrokenBy((request) => new Response(request.body), { method: "POST", body: "text" })).toEqual([]);
  });

  it("in the reference server while the whole conformance kit runs", async () => {
    const breaches: Breach[] = [];
    const application = lint(conformanceApplication, { report: (breach) => breaches.push(breach) });
    server = await serveReference(application, { log: silentLogger() });
    const { url } = server;
    // T2.1.2 asks for the object itself as `this`, which is the lint's business here; those with `bad` break rules on purpose.
    for (const { run } of conformanceCases.filter(({ id }) => /^T[3467]/.test(id) && id !== "T4.2.4"))
      await run({ url });
    expect(breaches.filter(({ by }) => by === "host")).toEqual([]);
    expect(breaches).toEqual([]);
  });
});

describe("lint reports what the host breaks", () => {
  it("a request before startup, a context that lacks things, and a second startup", async () => {
    const breaches: Breach[] = [];
    const linted = lint(() => ({}), { report: (breach) => breaches.push(breach) });
    const ctx = {
      spec: { name: "WSGI", version: "1.0" },
      http: { headers: [], version: "1.1" },
      onFinished: () => {},
      signal: new AbortController().signal,
    };
    await linted.fetch(new Request("http://localhost/"), ctx as never);
    const lifespan = linted.lifespan as Required<NonNullable<ApplicationObject["lifespan"]>>;
    await lifespan.startup({} as never);
    await lifespan.startup({} as never);
    const rules = new Set(breaches.filter(({ by }) => by === "host").map(({ rule }) => rule));
    for (const rule of ["T2.3.1", "T2.3.2", "T3.1.1", "T3.2.1", "T3.3.1", "T3.3.6", "T3.3.10"])
      expect(rules).toContain(rule);
    expect(rules).not.toContain("T4.1.1");
  });
});
