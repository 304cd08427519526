/**
 * Request smuggling: each attack of `test/corpus/smuggling` (see its README), with a victim's request right behind it,
 * against the front before a plain server, the front before our server over the link, and our server alone. What
 * counts is not the answers alone: the messages that the application behind saw are counted, and named.
 */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Recorder } from "../support/peers/recorder.ts";
import { parseReading, type Reading } from "../support/peers/reading.ts";
import { send } from "../support/peers/sender.ts";
import { ProxyUnderTest } from "../support/proxy.ts";
import { apps, ServerUnderTest } from "../support/server.ts";
import { Playground, StackUnderTest } from "../support/stack.ts";

interface Expectation {
  /** Statuses that come back, in order. */
  readonly answers: readonly number[];
  /** What the application saw: `METHOD target bytes-of-body`. */
  readonly seen: readonly string[];
}

interface Attack extends Expectation {
  /** Where the server alone, which forwards nothing, may take more. */
  readonly server?: Expectation;
}

interface Target {
  readonly name: string;
  readonly of: "front" | "server";
  port: number;
  /** Messages that the application saw since the last time. */
  seen(): Promise<readonly Reading[]>;
}

const folder = join(import.meta.dirname, "../corpus/smuggling");
const attacks = readdirSync(folder)
  .filter((name) => name.endsWith(".http"))
  .map((file) => {
    const name = file.slice(0, -".http".length);
    const expected = JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) as Attack;
    return { name, bytes: readFileSync(join(folder, file)), expected };
  });

/** Another client's request that an attack wants to change, on a connection that is used for both. */
const VICTIM = Buffer.from("GET /victim HTTP/1.1\r\nHost: victim.test\r\n\r\n");
/** Cuts in the middle of everything that matters. */
const PIECE_BYTES = 7;

const playground = new Playground();
const stack = new AsyncDisposableStack();

function overHttp(port: () => number): () => Promise<readonly Reading[]> {
  return async () => {
    const pieces = [Buffer.from("GET /@seen HTTP/1.1\r\nHost: a\r\n\r\n")];
    const { answers } = await send({ port: port(), pieces, methods: ["GET"] });
    return parseReading(answers[0]!.body) as unknown as Reading[];
  };
}

const targets: Target[] = [
  { name: "front, plain server", of: "front", port: 0, seen: () => Promise.reject(new TypeError("not started")) },
  { name: "front, link, server", of: "front", port: 0, seen: overHttp(() => targets[1]!.port) },
  { name: "server alone", of: "server", port: 0, seen: overHttp(() => targets[2]!.port) },
];

beforeAll(async () => {
  const recorder = stack.use(await Recorder.start());
  const proxy = { upstream: "app" };
  const routes = [
    { path: "/s/*", proxy: { ...proxy, request: { mode: "stream" } } },
    { path: "/*", proxy },
  ];
  const sites = [{ hosts: ["*"], routes }];
  playground.write("front.json", JSON.stringify({ log: { error: "off" }, sites }));
  const echo = join(apps, "echo.mjs");
  const [front, both, server] = await Promise.all([
    ProxyUnderTest.start({
      threads: 1,
      log: { error: "off" },
      upstreams: { app: { servers: [recorder.address] } },
      sites,
    }),
    StackUnderTest.start(playground, echo, ["--workers", "1", "--config", "front.json"]),
    ServerUnderTest.start(echo, ["-w", "1"]),
  ]);
  for (const each of [front, both, server]) stack.use(each);
  for (const [index, { url }] of [front, both, server].entries()) targets[index]!.port = Number(new URL(url).port);
  targets[0]!.seen = () => {
    expect(recorder.faults).toEqual([]);
    return Promise.resolve(recorder.take());
  };
});
afterAll(async () => {
  await stack.disposeAsync();
  playground[Symbol.dispose]();
});

test("there are at least 250 attacks", () => expect(attacks.length).toBeGreaterThanOrEqual(250));

describe.each(targets)("$name", (target) => {
  test.each(attacks)("$name", async ({ bytes, expected }) => {
    const { answers, seen } = (target.of === "server" ? expected.server : undefined) ?? expected;
    for (const pieces of [[bytes, VICTIM], cut(Buffer.concat([bytes, VICTIM]))]) {
      const methods = seen.map((line) => line.split(" ")[0]!);
      const { answers: got } = await send({
        port: target.port,
        pieces,
        methods: answers.map((_, index) => methods[index] ?? "GET"),
        half: true,
      });
      expect(got.map(({ status }) => status)).toEqual(answers);
      expect((await target.seen()).map(show)).toEqual(seen);
    }
  });

  test("others get their own answers afterwards", async () => {
    const pieces = [Buffer.from("GET /other HTTP/1.1\r\nHost: a\r\n\r\n")];
    const others = await Promise.all(
      Array.from({ length: 20 }, () => send({ port: target.port, pieces, methods: ["GET"] })),
    );
    expect(others.map(({ answers: [answer] }) => answer?.status)).toEqual(Array(20).fill(200));
    expect((await target.seen()).map(show)).toEqual(Array(20).fill("GET /other 0"));
  });
});

function show({ method, target, body }: Reading): string {
  return `${method} ${target} ${body.length}`;
}

function cut(bytes: Buffer): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / PIECE_BYTES) }, (_, index) =>
    bytes.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES),
  );
}
