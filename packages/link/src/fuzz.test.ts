/**
 * Any sequence of frames, cut or mutated, closes the link with a reason or works: no exception, no stream that is
 * never told its end, nothing sent that is no frame, nothing behind a CLOSE, no memory kept.
 *
 * 24,000 frames by default, a million with PORTICO_LONG=1; PORTICO_SEED repeats a run (the seed is printed).
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Exchange } from "@portico/gateway/exchange";
import { describe, expect, test } from "vitest";
import { ClientSession, type UpstreamStream } from "./client.ts";
import { CLOSE_CODES, LinkError } from "./error.ts";
import { FRAME, readU16, readU24 } from "./frame.ts";
import { FRAME_HEADER_BYTES } from "./limits.ts";
import { MemorySink, Pipe } from "./pipe.ts";
import { ServerSession } from "./server.ts";
import { SILENT, requestOf } from "./test-rig.ts";
import { Dice, isUpgrade, mutate, proxyScript, workerScript } from "./test-script.ts";

const seed = Number(process.env["PORTICO_SEED"] ?? Date.now() % 1_000_000);
const FRAMES = process.env["PORTICO_LONG"] === "1" ? 1_000_000 : 24_000;
console.log(`link fuzz: PORTICO_SEED=${seed}, ${FRAMES} frames`);

const WINDOW = 16_384;
const CONCURRENCY = 40;
const STREAMS = 12;
/** Frames of one script: long enough for streams to live and end in it, short enough to be read by a person. */
const SCRIPT_FRAMES = 40;
/** Memory that a run may add, bytes: half of what it would be if the sessions of the shortest run were kept. */
const GROWTH_BYTES = 12 * 1_048_576;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

function heapAndBuffers(): number {
  // What the first finds dead is swept behind its back.
  for (let times = 0; times < 3; times++) collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** How often each stream's user was told that it is over. */
type Ends = number[];

interface Rig {
  readonly session: ClientSession | ServerSession;
  readonly sink: MemorySink;
  readonly ends: Ends;
  /** Streams that were reset by their user, who is told nothing then. */
  readonly letGo: Set<number>;
  readonly problems: unknown[];
  readonly events: string[];
  /** Something that the user of a stream does of its own accord. */
  act(dice: Dice): void;
  closed: LinkError | undefined | "open";
}

type Behaviour = (exchange: Exchange) => void;

/** What applications do when a request comes. */
const BEHAVIOURS: Readonly<Record<string, Behaviour>> = {
  hello: (exchange) => exchange.respond(200, ["a", "b"], "hello"),
  echo(exchange) {
    exchange.start(200, []);
    exchange.resume();
  },
  hold: (exchange) => exchange.resume(),
  pause() {},
  upgrade(exchange) {
    if (exchange.head.upgrade === undefined && exchange.head.method !== "CONNECT") exchange.respond(200, [], "no");
    else exchange.upgrade(exchange.head.method === "CONNECT" ? 200 : 101, []);
    exchange.resume();
  },
  throw() {
    throw new LinkError("internal", "as an application may");
  },
};

function serverRig(behaviour: (exchange: Exchange) => void): Rig {
  const sink = new MemorySink();
  const rig: { -readonly [Key in keyof Rig]: Rig[Key] } = {
    session: undefined as never,
    sink,
    ends: [],
    letGo: new Set(),
    problems: [],
    events: [],
    act(dice) {
      if (exchanges.length === 0) return;
      const exchange = dice.pick(exchanges);
      attempt(rig, () => {
        const roll = dice.next();
        if (roll < 0.2) exchange.respond(200, [], Buffer.alloc(dice.below(40_000)));
        else if (roll < 0.35) exchange.start(200, []);
        else if (roll < 0.6) exchange.write(Buffer.alloc(dice.below(40_000)));
        else if (roll < 0.7) exchange.end();
        else if (roll < 0.8) exchange.pause();
        else if (roll < 0.95) exchange.resume();
        else exchange.abort("reset");
      });
    },
    closed: "open",
  };
  const exchanges: Exchange[] = [];
  rig.session = new ServerSession(
    sink,
    (exchange) => {
      const number = exchanges.push(exchange) - 1;
      rig.ends[number] = 0;
      rig.events.push(`request ${number} ${exchange.head.method} ${exchange.head.headers.join()}`);
      exchange.observer = {
        onData(chunk) {
          say(rig, `data ${number} `, chunk);
          if (exchange.started) exchange.write(chunk);
        },
        onEnd(trailers) {
          rig.events.push(`end ${number} ${trailers.join()}`);
          if (exchange.started) exchange.end();
        },
        onDrain() {},
        onFinish: () => void rig.ends[number]!++,
        onAbort(reason) {
          rig.events.push(`abort ${number} ${reason}`);
          rig.ends[number]!++;
        },
      };
      behaviour(exchange);
    },
    { ...optionsOf(rig), worker: { id: 1, generation: 1, count: 1, concurrency: CONCURRENCY } },
  );
  return rig;
}

function clientRig(consumes: boolean): Rig {
  const sink = new MemorySink();
  const streams: UpstreamStream[] = [];
  const rig: { -readonly [Key in keyof Rig]: Rig[Key] } = {
    session: undefined as never,
    sink,
    ends: [],
    letGo: new Set(),
    problems: [],
    events: [],
    act(dice) {
      const number = dice.below(streams.length);
      const stream = streams[number]!;
      const roll = dice.next();
      if (roll < 0.4) stream.write(Buffer.alloc(dice.below(40_000)));
      else if (roll < 0.6) stream.end();
      else if (roll < 0.95) stream.consume(dice.below(20_000));
      else {
        if (rig.ends[number] === 0) rig.letGo.add(number);
        stream.reset("cancelled");
      }
    },
    closed: "open",
  };
  const client = new ClientSession(sink, {
    ...optionsOf(rig),
    onReady() {
      for (let number = 0; number < STREAMS; number++) streams.push(openStream(client, rig, number, consumes));
    },
  });
  rig.session = client;
  return rig;
}

function openStream(client: ClientSession, rig: Rig, number: number, consumes: boolean): UpstreamStream {
  rig.ends[number] = 0;
  const upgrade = isUpgrade(number + 1);
  let tunnel = false;
  const over = (): void => void rig.ends[number]!++;
  const stream: UpstreamStream = client.open(
    requestOf({ bodyLength: upgrade ? 0 : -1, upgrade: upgrade ? "websocket" : undefined }),
    null,
    upgrade,
    {
      onInform: (status) => rig.events.push(`inform ${number} ${status}`),
      onResponse(status, headers, body, complete) {
        tunnel = status === 101;
        rig.events.push(`response ${number} ${status} ${complete} ${headers.join()}`);
        if (body !== null) say(rig, `data ${number} `, body);
        if (consumes && body !== null) stream.consume(body.length);
        if (complete) over();
      },
      onData(chunk) {
        say(rig, `data ${number} `, chunk);
        if (consumes) stream.consume(chunk.length);
      },
      onEnd(trailers) {
        rig.events.push(`end ${number} ${trailers.join()}`);
        // The other half of a tunnel is ours to end.
        if (tunnel) stream.end();
        over();
      },
      onDrain() {},
      onReset({ code, phase }) {
        rig.events.push(`reset ${number} ${code} ${phase}`);
        over();
      },
    },
  );
  return stream;
}

/** A line about body bytes; those of one stream that follow each other are one line however they were divided. */
function say(rig: Rig, line: string, chunk: Uint8Array): void {
  const { events } = rig;
  const last = events.at(-1);
  if (last?.startsWith(line) === true)
    events[events.length - 1] = line + (Number(last.slice(line.length)) + chunk.length);
  else events.push(line + chunk.length);
}

function optionsOf(rig: Rig): ConstructorParameters<typeof ClientSession>[1] {
  return {
    limits: { window: WINDOW, maxFrame: 65_536 },
    now: () => 1_000_000,
    onError: (error) => void (error instanceof LinkError || rig.problems.push(error)),
    onClosed: (error) => {
      rig.closed = error;
    },
  };
}

/** Calls of a user that are out of order must say so, with an error of ours. */
function attempt(rig: Rig, call: () => void): void {
  try {
    call();
  } catch (error) {
    if (!(error instanceof LinkError)) rig.problems.push(error);
  }
}

/** The peer's HELLO, as bytes. */
function hello(of: "client" | "server"): Buffer {
  const pipe = new Pipe(() => {}, {}, { worker: { id: 1, generation: 1, count: 1, concurrency: CONCURRENCY } });
  pipe.turn(of);
  return (of === "client" ? pipe.clientSink : pipe.serverSink).take();
}

const HELLOS = { client: hello("client"), server: hello("server") };

/** A session that had the handshake. */
function ready(rig: Rig, peer: "client" | "server"): Rig {
  rig.session.start();
  rig.session.receive(HELLOS[peer]);
  expect(rig.session.ready).toBe(true);
  turn(rig);
  return rig;
}

function turn({ sink, session }: Rig): void {
  if (sink.kept) {
    sink.release();
    session.writable();
  }
  if (!sink.scheduled) return;
  sink.scheduled = false;
  session.flush();
}

/** Feeds bytes in chunks of any size; `acting`: the users of the streams do things in between, and the sink may be slow. */
function feed(rig: Rig, bytes: Buffer, dice: Dice, acting: boolean): void {
  const largest = dice.pick([1, 7, 64, 1_000, 65_536]);
  const steps = Math.max(largest, Math.ceil(bytes.length / 400));
  for (let at = 0; at < bytes.length;) {
    const size = 1 + dice.below(steps);
    rig.session.receive(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
    if (acting && dice.chance(0.5)) rig.act(dice);
    if (acting && dice.chance(0.1)) rig.sink.slow = !rig.sink.slow;
    if (dice.chance(0.5)) turn(rig);
  }
  turn(rig);
}

/** What must hold of a link at its end, whatever came in. */
function judge(rig: Rig): void {
  const { session, sink } = rig;
  rig.sink.slow = false;
  turn(rig);
  turn(rig);
  const early = rig.closed;
  // The peer says nothing any more: pings and deadlines end what is left.
  for (let seconds = 0; seconds <= 120; seconds += 10) {
    session.tick(1_000_000 + seconds * 1000);
    turn(rig);
  }
  expect(rig.problems).toEqual([]);
  expect([session.isClosed, session.inFlight]).toEqual([true, 0]);
  expect(rig.closed === undefined || rig.closed instanceof LinkError).toBe(true);
  for (const [number, ends] of rig.ends.entries()) {
    // The peer's end of a tunnel and its reset may both be reported.
    const most = rig.events.some((event) => event.startsWith(`response ${number} 101`)) ? 2 : 1;
    if (!rig.letGo.has(number)) expect([number, ends >= 1 && ends <= most]).toEqual([number, true]);
  }
  const close = checkSent(sink.bytes);
  // What was closed by us was closed with its reason.
  if (early instanceof LinkError && early.code !== "lost" && !early.message.startsWith("the peer closed"))
    expect(close).toBe(CLOSE_CODES[early.code as keyof typeof CLOSE_CODES]);
}

/** Only whole frames were sent, and none behind a CLOSE; its code, if there was one. */
function checkSent(bytes: Buffer): number | undefined {
  let close: number | undefined;
  let at = 0;
  while (at < bytes.length) {
    expect(close).toBeUndefined();
    const end = at + FRAME_HEADER_BYTES + readU24(bytes, at);
    expect(end).toBeLessThanOrEqual(bytes.length);
    const type = bytes[at + 3]!;
    expect((type >= FRAME.HELLO && type <= FRAME.CLOSE) || (type >= FRAME.REQUEST && type <= FRAME.RESET)).toBe(true);
    if (type === FRAME.CLOSE) close = readU16(bytes, at + FRAME_HEADER_BYTES + 4);
    at = end;
  }
  return close;
}

/** Of a stream that broke off, how much of its last frame was passed on before depends on the chunks, and may. */
function wholeEvents(events: readonly string[]): string[] {
  const broken = new Set(events.flatMap((event) => /^(?:abort|reset) (\d+)/.exec(event)?.[1] ?? []));
  return events.filter((event) => !broken.has(/^data (\d+)/.exec(event)?.[1] ?? ""));
}

const ENDS = ["client", "server"] as const;
type End = (typeof ENDS)[number];

function scriptFor(end: End, dice: Dice): Buffer[] {
  return end === "server"
    ? proxyScript(dice, SCRIPT_FRAMES, CONCURRENCY, WINDOW)
    : workerScript(dice, SCRIPT_FRAMES, STREAMS, WINDOW);
}

function rigFor(end: End, dice: Dice): Rig {
  return end === "server"
    ? ready(serverRig(BEHAVIOURS[dice.pick(Object.keys(BEHAVIOURS))]!), "client")
    : ready(clientRig(dice.chance(0.5)), "server");
}

/** Runs cases until so many frames were fed; the case is named in what fails. */
function repeat(frames: number, one: (dice: Dice) => number): { cases: number; frames: number } {
  let fed = 0;
  let cases = 0;
  while (fed < frames) {
    const own = (Math.imul(seed, 1_000_003) + cases) >>> 0;
    try {
      fed += one(new Dice(own));
    } catch (error) {
      throw new Error(
        `PORTICO_SEED=${seed}, case ${cases}: ${error instanceof Error ? error.message : String(error)}`,
        {
          cause: error,
        },
      );
    }
    cases++;
  }
  return { cases, frames: fed };
}

describe.each(ENDS)("at the %s's end", (end) => {
  const timeout = 600_000;

  test("frames in order keep the link open", { timeout }, () => {
    repeat(FRAMES / 20, (dice) => {
      const frames = scriptFor(end, dice);
      const rig = rigFor(end, dice);
      feed(rig, Buffer.concat(frames), dice, false);
      expect(rig.closed === "open" ? "open" : rig.closed?.message).toBe("open");
      judge(rig);
      return frames.length;
    });
  });

  test("mutated frames close it with a reason, or work; nothing is kept", { timeout }, () => {
    const run = (frames: number): { cases: number; frames: number; closed: Map<string, number> } => {
      const closed = new Map<string, number>();
      const counts = repeat(frames, (dice) => {
        const script = scriptFor(end, dice);
        mutate(dice, script, 4);
        const rig = rigFor(end, dice);
        feed(rig, Buffer.concat(script), dice, dice.chance(0.7));
        const outcome = rig.closed === "open" ? "open" : (rig.closed?.code ?? "none");
        closed.set(outcome, (closed.get(outcome) ?? 0) + 1);
        judge(rig);
        return script.length;
      });
      return { ...counts, closed };
    };
    run(2_000);
    const before = heapAndBuffers();
    const { cases, frames, closed } = run(0.3 * FRAMES);
    const grown = heapAndBuffers() - before;
    const outcomes = [...closed].toSorted((a, b) => b[1] - a[1]).map(([name, count]) => `${name} ${count}`);
    console.log(`${end}: ${cases} cases, ${frames} frames, ${outcomes.join(", ")}; grown by ${grown} bytes`);
    expect(grown).toBeLessThan(GROWTH_BYTES);
    // Both outcomes were met, or the mutations say nothing.
    expect([closed.has("open"), closed.has("protocol")]).toEqual([true, true]);
  });

  test("what comes of them does not depend on where the bytes were cut", { timeout }, () => {
    repeat(FRAMES / 10, (dice) => {
      const script = scriptFor(end, dice);
      if (dice.chance(0.8)) mutate(dice, script, 3);
      const bytes = Buffer.concat(script);
      const behaviour = dice.below(1_000);
      const outcomes = [new Dice(behaviour + 1), new Dice(behaviour + 2)].map((chunks) => {
        const rig = rigFor(end, new Dice(behaviour));
        feed(rig, bytes, chunks, false);
        const state = rig.closed === "open" ? "open" : `${rig.closed?.code}: ${rig.closed?.message}`;
        judge(rig);
        return { state, events: wholeEvents(rig.events) };
      });
      // Who exceeds a window is caught when what was granted until then is used up, and that depends on the chunks.
      if (!outcomes.some(({ state }) => state.startsWith("flow-control"))) expect(outcomes[1]).toEqual(outcomes[0]);
      return script.length * 2;
    });
  });
});

test("two live ends with a bad wire between them both come to an end", { timeout: 600_000 }, () => {
  repeat(FRAMES / 10, (dice) => {
    const problems: unknown[] = [];
    const onError = (error: unknown): void => void (error instanceof LinkError || problems.push(error));
    const behaviour = BEHAVIOURS[dice.pick(Object.keys(BEHAVIOURS))]!;
    const limits = { window: WINDOW };
    const pipe = new Pipe(behaviour, { onError, limits }, { onError, limits });
    pipe.settle();
    let frames = 0;
    const streams: UpstreamStream[] = [];
    for (let step = 0; step < 60 && !pipe.client.isClosed; step++) {
      if (pipe.client.available > 0 && dice.chance(0.3))
        streams.push(pipe.client.open(requestOf({ bodyLength: -1 }), null, false, SILENT));
      else if (streams.length > 0) {
        const stream = dice.pick(streams);
        if (dice.chance(0.6)) stream.write(Buffer.alloc(dice.below(30_000)));
        else if (dice.chance(0.5)) stream.end();
        else stream.consume(dice.below(20_000));
      }
      pipe.turn("client");
      pipe.turn("server");
      for (const [to, sink] of [
        [pipe.server, pipe.clientSink],
        [pipe.client, pipe.serverSink],
      ] as const) {
        const bytes = sink.take(1 + dice.below(40_000));
        frames++;
        if (bytes.length > 0 && dice.chance(0.04)) bytes[dice.below(bytes.length)] = dice.below(256);
        to.receive(bytes);
      }
    }
    for (let seconds = 0; seconds <= 200; seconds += 10) {
      pipe.now += 10_000;
      pipe.client.tick(pipe.now);
      pipe.server.tick(pipe.now);
      pipe.turn("client");
      pipe.turn("server");
    }
    expect(problems).toEqual([]);
    expect([pipe.client.isClosed, pipe.server.isClosed]).toEqual([true, true]);
    expect([pipe.client.inFlight, pipe.server.inFlight]).toEqual([0, 0]);
    return frames;
  });
});
