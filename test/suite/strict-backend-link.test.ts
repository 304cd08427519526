/**
 * A hostile worker behind the front, over the link: the frames of the corpus that are meant for a proxy, and responses
 * that are well-formed frames and would be wrong messages. The client gets the right error or a response that is
 * visibly cut, the next request its own answer, and the front lives.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HostileWorker, linkCases } from "../support/peers/hostile-link.ts";
import { send } from "../support/peers/sender.ts";
import { ProxyUnderTest } from "../support/proxy.ts";

/** Shorter than usual, so that what never ends does not last long. */
const PATIENCE = "1s";

const folder = mkdtempSync(join(tmpdir(), "portico-hostile-"));
const stack = new AsyncDisposableStack();
let front: ProxyUnderTest;
let port: number;

beforeAll(async () => {
  for (const worker of await HostileWorker.startAll(folder, linkCases)) stack.use(worker);
  const times = { responseTimeout: PATIENCE, idleTimeout: PATIENCE, retries: { attempts: 0 } };
  const upstreams = linkCases.map((_, number) => [
    `case-${number}`,
    { servers: [`link+unix:${join(folder, `${number}.sock`)}`], ...times },
  ]);
  const routes = linkCases.map((_, number) => ({ path: `/${number}/`, proxy: { upstream: `case-${number}` } }));
  front = stack.use(
    await ProxyUnderTest.start({
      threads: 1,
      upstreams: Object.fromEntries(upstreams) as object,
      sites: [{ hosts: ["*"], routes }],
    }),
  );
  port = Number(new URL(front.url).port);
});
afterAll(async () => {
  await stack.disposeAsync();
  rmSync(folder, { recursive: true, force: true });
});

function request(number: number, upgrade: boolean, method = "GET"): Buffer {
  const fields = upgrade ? "Connection: Upgrade\r\nUpgrade: websocket\r\n" : "";
  return Buffer.from(`${method} /${number}/ HTTP/1.1\r\nHost: a\r\n${fields}\r\n`);
}

test("there are at least 50 cases", () => expect(linkCases.length).toBeGreaterThanOrEqual(50));

describe.concurrent("a worker that sends", () => {
  test.each(linkCases.map((each, number) => ({ ...each, number })))("$name", async ({ number, upgrade, outcome }) => {
    const { answers, end } = await send({ port, pieces: [request(number, upgrade)], methods: ["GET"] });
    if (outcome === "cut") {
      expect(answers).toEqual([]);
      expect(end).toMatch(/^(incomplete|closed)$/);
    } else if (outcome === "tunnel") {
      expect(end).toBe("rfc9110-15.2-unexpected-101");
    } else {
      expect({ end, status: answers[0]?.status }).toEqual({ end: "kept", status: outcome });
      expect(answers[0]!.headers.map((text) => text.toLowerCase())).not.toContain("set-cookie");
      expect(answers[0]!.body).not.toContain("evil");
    }
    const next = await send({ port, pieces: [request(number, false)], methods: ["GET"] });
    expect(next.answers.map(({ status, body }) => [status, body])).toEqual([[200, "good"]]);
  });
});

test("the front is the same process", () => {
  expect(front.command.output).not.toMatch(/ended unexpectedly|replaced/);
});
