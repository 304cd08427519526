/**
 * A hostile server behind the front, over HTTP/1.1: the client gets the right error or a response that is visibly cut,
 * never a wrong message; the next request on whatever connection is kept gets its own answer; the log names the rule;
 * the front lives and does not grow.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { descendants } from "../support/command.ts";
import { type Behaviour, httpBehaviours } from "../support/peers/hostile-http.ts";
import { send } from "../support/peers/sender.ts";
import { ProxyUnderTest } from "../support/proxy.ts";

/** Shorter than usual, so that silence does not last long. */
const PATIENCE = "600ms";
/** What the front may grow while all that is thrown at it: buffers of the allocator and compiled code, no message. */
const MOST_GROWTH_BYTES = 64 * 1024 * 1024;
const GOOD = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

/** The numbers of the cases stand in the targets: `/7/`. */
const faults: unknown[] = [];
const sockets = new Set<Socket>();
const backend = createServer({ noDelay: true }, (socket) => {
  sockets.add(socket);
  socket.on("close", () => sockets.delete(socket));
  socket.on("error", () => {});
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    const target = /^\S+ \/(\w+)\/ [^]*?\r\n\r\n/.exec(text);
    if (target === null) return;
    text = "";
    const behaviour = httpBehaviours[Number(target[1])];
    if (behaviour === undefined) socket.write(GOOD);
    else void Promise.resolve(behaviour.answer(socket)).catch((error: unknown) => faults.push(error));
  });
});

let front: ProxyUnderTest;
let port: number;

beforeAll(async () => {
  backend.listen(0, "127.0.0.1");
  await once(backend, "listening");
  const server = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`;
  const upstream = { servers: [server], responseTimeout: PATIENCE, idleTimeout: PATIENCE, ejection: { failures: 0 } };
  const proxy = { upstream: "app", request: { mode: "stream" } };
  front = await ProxyUnderTest.start({
    threads: 1,
    log: { error: "error.log" },
    upstreams: { app: upstream },
    sites: [{ hosts: ["*"], routes: [{ path: "/*", proxy }] }],
  });
  port = Number(new URL(front.url).port);
});

afterAll(async () => {
  await front[Symbol.asyncDispose]();
  for (const socket of sockets) socket.destroy();
  backend.close();
});

function request(target: string, { method = "GET", fields = "", content }: Partial<Behaviour> = {}): Buffer {
  const length = content === undefined ? "" : `Content-Length: ${content.length}\r\n`;
  return Buffer.from(`${method} ${target} HTTP/1.1\r\nHost: a\r\n${fields}${length}\r\n${content ?? ""}`, "latin1");
}

/** The lines of the error log, by target, once one for this target is among them: it may still be on its way. */
async function logLines(last: string): Promise<Map<string, Record<string, string>>> {
  for (let tries = 0; tries < 500; tries++) {
    const lines = readFileSync(front.path("error.log"), "utf8").split("\n").filter(Boolean);
    const parsed = lines.map((line) => JSON.parse(line) as Record<string, string>);
    const found = new Map(parsed.map((line) => [line["target"] ?? "", line]));
    if (found.has(last)) return found;
    await setTimeout(10);
  }
  throw new RangeError(`no line in the log for ${last}`);
}

/** Memory of the front's processes, in bytes. */
function memory(): number {
  return descendants(front.command.pid)
    .map((pid) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0) * 1024)
    .reduce((sum, bytes) => sum + bytes, 0);
}

async function expectGood(): Promise<void> {
  const others = await Promise.all(
    Array.from({ length: 3 }, () => send({ port, pieces: [request("/good/")], methods: ["GET"] })),
  );
  expect(others.map(({ answers: [answer] }) => answer?.body)).toEqual(["good", "good", "good"]);
}

let before = 0;
test("begins well", async () => {
  await expectGood();
  before = memory();
});

describe("a server that sends", () => {
  test.each(httpBehaviours.map((behaviour, number) => ({ ...behaviour, number })))("$what", async (behaviour) => {
    const { number, method = "GET", status, body } = behaviour;
    const pieces = [request(`/${number}/`, behaviour)];
    const { answers, end } = await send({ port, pieces, methods: [method] });
    if (status === "cut") {
      expect(answers).toEqual([]);
      // Or reset: then what was on its way may be lost, too.
      expect(end).toMatch(/^(incomplete|closed)$/);
    } else {
      expect({ end, status: answers[0]?.status }).toMatchObject({ status });
      if (body !== undefined) expect(answers[0]!.body).toBe(body);
    }
    // What was wrong is for the log: the client is told nothing of it.
    if (answers[0] !== undefined) expect(answers[0].body).not.toMatch(/rfc\d|limit-/);
    await expectGood();
    expect(faults).toEqual([]);
  });
});

test("the log says what was wrong each time, by the name of its rule", async () => {
  const last = httpBehaviours.findLastIndex(({ code }) => code !== undefined);
  const lines = await logLines(`/${last}/`);
  for (const [number, { what, code, reason }] of httpBehaviours.entries()) {
    const line = lines.get(`/${number}/`);
    expect(line === undefined ? undefined : { code: line["code"], side: line["side"] }, what).toEqual(
      code === undefined ? undefined : { code, side: "upstream" },
    );
    if (reason !== undefined) expect(line!["reason"], what).toMatch(reason);
  }
});

test("the front is the same process, and has not grown", async () => {
  const storms = httpBehaviours.flatMap(({ what }, number) => (/endless|storm/.test(what) ? [number] : []));
  for (let round = 0; round < 5; round++) {
    await Promise.all(storms.map((number) => send({ port, pieces: [request(`/${number}/`)], methods: ["GET"] })));
  }
  await expectGood();
  expect(faults).toEqual([]);
  const grown = memory() - before;
  console.log(`hostile backend: the front grew by ${Math.round(grown / 1024 / 1024)} MiB`);
  expect(grown).toBeLessThan(MOST_GROWTH_BYTES);
  expect(front.command.output).not.toMatch(/ended unexpectedly|replaced/);
});
