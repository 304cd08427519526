/**
 * Differential: for any bytes in any pieces, the front refuses, or forwards what everybody reads as exactly one message.
 *
 * Each case goes to two fronts: one before a plain server that keeps the bytes it is sent, one before our own server
 * over the link, whose application says what it read. Then what was forwarded is replayed to every peer there is.
 * `PORTICO_SEED` repeats a run, `PORTICO_LONG=1` tries for as long as `PORTICO_CASES` says (a million by default).
 */
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LONG, SEED } from "../support/peers/effort.ts";
import { type EngineReading, readByEngine } from "../support/peers/engine.ts";
import type { ForwardedMessage } from "../support/peers/forwarded.ts";
import { arrived, unforwarded } from "../support/peers/hop.ts";
import { cases, type Case, pieces } from "../support/peers/mutation.ts";
import { peerKinds } from "../support/peers/peers.ts";
import { fingerprint, parseReading, type Reading } from "../support/peers/reading.ts";
import { Recorder } from "../support/peers/recorder.ts";
import { replay } from "../support/peers/replay.ts";
import { type Exchanged, send } from "../support/peers/sender.ts";
import { ProxyUnderTest } from "../support/proxy.ts";
import { apps } from "../support/server.ts";
import { Playground, StackUnderTest } from "../support/stack.ts";

const CASES = Number(process.env["PORTICO_CASES"] ?? (LONG ? 1_000_000 : 20_000));
/** Connections at once. */
const BATCH = 50;
/** Messages that each peer reads at most: all that differ in more than who sent them, as far as time goes. */
const REPLAYED = LONG ? 50_000 : 2500;
const REPLAYED_ONE_BY_ONE = LONG ? 10_000 : 400;

const playground = new Playground();
let recorder: Recorder;
let front: ProxyUnderTest;
let stack: StackUnderTest;

beforeAll(async () => {
  recorder = await Recorder.start();
  const proxy = { upstream: "app" };
  playground.write(
    "front.json",
    JSON.stringify({ log: { error: "off" }, sites: [{ hosts: ["*"], routes: [{ path: "/*", proxy }] }] }),
  );
  [front, stack] = await Promise.all([
    ProxyUnderTest.start({
      threads: 1,
      log: { error: "off" },
      upstreams: { app: { servers: [recorder.address], ejection: { failures: 0 } } },
      sites: [
        {
          hosts: ["*"],
          routes: [
            { path: "/s/*", proxy: { ...proxy, request: { mode: "stream" } } },
            { path: "/*", proxy },
          ],
        },
      ],
    }),
    StackUnderTest.start(playground, join(apps, "echo.mjs"), ["--workers", "1", "--config", "front.json"]),
  ]);
});

afterAll(async () => {
  await Promise.all([front[Symbol.asyncDispose](), stack[Symbol.asyncDispose]()]);
  await recorder[Symbol.asyncDispose]();
  playground[Symbol.dispose]();
});

const counts = { cases: 0, forwarded: 0, overTheLink: 0, refusedWhole: 0 };
/** One of each kind of forwarded message. */
const forwarded = new Map<string, ForwardedMessage>();

/** An address of the loopback network for each case: X-Forwarded-For says whose message it is. */
function addressOf(number: number): string {
  return `127.${1 + (Math.floor(number / 65_536) % 250)}.${(number >> 8) & 255}.${number & 255}`;
}

/** Without what differs from one sending to the next. */
function kindOf(message: ForwardedMessage): string {
  return message.raw
    .toString("latin1")
    .replace(/\r\nX-Forwarded-For: [^\r]*/, "")
    .replace(/\r\nX-Request-Id: [^\r]*/, "");
}

async function tryBatch(batch: readonly Case[]): Promise<void> {
  const tried = batch.map((each) => {
    const parts = pieces(each);
    const { messages } = readByEngine(parts);
    return { each, parts, messages, localAddress: addressOf(++counts.cases) };
  });
  const outcomes = await Promise.all(
    tried.map(({ parts, messages, localAddress }) => {
      const methods = messages.map(({ method }) => method);
      const sending = { localAddress, pieces: parts, methods, half: true };
      return Promise.all([
        send({ ...sending, port: Number(new URL(front.url).port) }),
        send({ ...sending, port: Number(new URL(stack.url).port) }),
      ]);
    }),
  );
  const bySender = Map.groupBy(recorder.take(), ({ fields }) => fields[fields.lastIndexOf("X-Forwarded-For") + 1]!);
  expect(recorder.faults, "what was forwarded is canonical").toEqual([]);
  for (const [index, { each, messages, localAddress }] of tried.entries()) {
    const [plain, linked] = outcomes[index]!;
    try {
      judge(messages, plain, linked, bySender.get(localAddress) ?? []);
    } catch (error) {
      throw new AggregateError([error], `${JSON.stringify(each)}: ${String(error)}`, { cause: error });
    }
    bySender.delete(localAddress);
  }
  expect([...bySender], "nobody else's message").toEqual([]);
}

/** Holds what both fronts did with one connection against what the parser reads of it. */
function judge(
  messages: readonly EngineReading[],
  plain: Exchanged,
  linked: Exchanged,
  passed: readonly ForwardedMessage[],
): void {
  expect(plain.end, "front over HTTP").toMatch(/^(closed|kept)$/);
  expect(linked.end, "front over the link").toMatch(/^(closed|kept)$/);
  const rest = [...passed];
  for (const [at, message] of messages.entries()) {
    const answer = plain.answers[at];
    if (answer?.status === 200) {
      const one = rest.shift();
      expect(one, "an answer without a message").toBeDefined();
      expect(arrived(one!)).toEqual(unforwarded(message));
      counts.forwarded++;
      if (forwarded.size < REPLAYED) {
        const kind = kindOf(one!);
        if (!forwarded.has(kind)) forwarded.set(kind, one!);
      }
    }
    const overLink = linked.answers[at];
    if (overLink?.status === 200 && message.method !== "HEAD") {
      expect(arrived(parseReading(overLink.body))).toEqual(unforwarded(message));
      counts.overTheLink++;
    }
    expect(overLink?.status, "both fronts judge alike").toBe(answer?.status);
  }
  expect(
    rest.map(({ raw }) => raw.toString("latin1")),
    "more was forwarded than was sent",
  ).toEqual([]);
  if (messages.length === 0) counts.refusedWhole++;
}

test(`${CASES} cases are refused, or forwarded as one message`, { timeout: LONG ? 3_600_000 : 120_000 }, async () => {
  await fc.assert(fc.asyncProperty(fc.array(cases, { minLength: BATCH, maxLength: BATCH }), tryBatch), {
    numRuns: CASES / BATCH,
    seed: SEED,
  });
  console.log(`strict forwarding: PORTICO_SEED=${SEED}`, counts, `kinds of messages: ${forwarded.size}`);
  expect(counts.forwarded).toBeGreaterThan(CASES / 10);
  expect(counts.overTheLink).toBeGreaterThan(CASES / 10);
  expect(counts.refusedWhole).toBeGreaterThan(CASES / 10);
});

for (const kind of peerKinds) {
  test(
    `what was forwarded is one message to ${kind.name}`,
    { timeout: LONG ? 1_800_000 : 60_000 },
    async ({ skip }) => {
      if (kind.absent !== undefined) {
        console.log(`strict forwarding: ${kind.absent}, it is left out`);
        skip(kind.absent);
      }
      await using peer = await kind.start();
      const messages = [...forwarded.values()].slice(0, peer.pipelines ? REPLAYED : REPLAYED_ONE_BY_ONE);
      const readings = await replay(peer, messages);
      const refusals = new Map<number | string, number>();
      const same = (reading: Reading): Reading => ({
        ...reading,
        target: peer.target?.(reading.target) ?? reading.target,
      });
      const differences: string[] = [];
      for (const [index, message] of messages.entries()) {
        const read = readings[index]!;
        if (read === "silent") differences.push(`${JSON.stringify(message.raw.toString("latin1"))}\n  is waited on`);
        else if (typeof read !== "object") refusals.set(read, (refusals.get(read) ?? 0) + 1);
        else if (
          read.method !== "HEAD" &&
          fingerprint(same(read), peer.style) !== fingerprint(same(message), peer.style)
        )
          differences.push(`${JSON.stringify(message.raw.toString("latin1"))}\n  read as ${JSON.stringify(read)}`);
      }
      console.log(`strict forwarding: ${peer.name} read ${messages.length} messages, refused`, refusals);
      expect(differences.slice(0, 5).join("\n")).toBe("");
      const refused = [...refusals.values()].reduce((sum, count) => sum + count, 0);
      expect(refused).toBeLessThan(messages.length / 2);
    },
  );
}
