/** Properties of codec and sessions that hold for any message, any chunking, any bytes and any order of calls. */
import type { Exchange, HeaderList } from "@portico/gateway/exchange";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { UpstreamReset, UpstreamStream } from "./client.ts";
import { LinkError, type ResetCode } from "./error.ts";
import type { LinkExchange } from "./exchange.ts";
import { FRAME, readU24, readU32 } from "./frame.ts";
import type { LinkRequest } from "./head.ts";
import { Pipe } from "./pipe.ts";
import { SILENT, linkError, requestOf } from "./test-rig.ts";

const TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcXYZ".split("");
const name = fc
  .array(fc.constantFrom(...TOKEN_CHARACTERS), { minLength: 1, maxLength: 20 })
  .map((characters) => `x${characters.join("")}`);
const value = fc
  .array(fc.oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.integer({ min: 0x80, max: 0xff }), fc.constant(9)), {
    maxLength: 60,
  })
  .map((codes) => String.fromCharCode(...codes));
const fields = fc.array(fc.tuple(name, value), { maxLength: 12 }).map((pairs): HeaderList => pairs.flat());
const body = fc.uint8Array({ maxLength: 50_000 });

const request = fc.record({
  method: fc.constantFrom("GET", "HEAD", "POST", "PUT", "PATCH", "X-ODD"),
  scheme: fc.constantFrom("http" as const, "https" as const),
  authority: value,
  target: value.map((text) => `/${text}`),
  version: fc.constantFrom("1.0" as const, "1.1" as const, "2" as const),
  headers: fields,
  id: name,
  traceparent: fc.option(name, { nil: undefined }),
  tracestate: fc.option(name, { nil: undefined }),
  client: fc.record({ address: value, port: fc.nat({ max: 65_535 }), vouchedBy: fc.constant("socket" as const) }),
  tls: fc.option(
    fc.record({
      protocol: name,
      cipher: name,
      alpn: fc.option(name, { nil: undefined }),
      serverName: fc.option(name, { nil: undefined }),
      clientCertificate: fc.option(fc.constant("-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n"), {
        nil: undefined,
      }),
    }),
    { nil: undefined },
  ),
  receivedAt: fc.nat({ max: 2 ** 31 }).map((seconds) => seconds * 1000),
  queuedMs: fc.nat({ max: 100_000 }),
});

/** Moves bytes in pieces of the given sizes, over and over, until the link rests. */
function settleIn(pipe: Pipe, sizes: readonly number[]): void {
  let next = 0;
  for (let rounds = 0; rounds < 200_000; rounds++) {
    pipe.turn("client");
    pipe.turn("server");
    const size = sizes[next++ % sizes.length]!;
    const moved = pipe.deliver("server", size) + pipe.deliver("client", size);
    if (
      moved === 0 &&
      !pipe.clientSink.kept &&
      !pipe.serverSink.kept &&
      !pipe.clientSink.scheduled &&
      !pipe.serverSink.scheduled
    )
      return;
  }
  throw new RangeError("the link does not come to rest");
}

const chunkSizes = fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1, maxLength: 6 });

describe("round trip", () => {
  test("any request and any response arrive as they were, under any chunking and a slow sink", () => {
    fc.assert(
      fc.property(
        request,
        body,
        fc.integer({ min: 200, max: 999 }),
        fields,
        body,
        fields,
        chunkSizes,
        fc.boolean(),
        fc.integer({ min: 1, max: 5 }),
        (asked, sent, status, headers, answer, trailers, sizes, slow, parts) => {
          const seen: { exchange?: Exchange; body: Uint8Array[] } = { body: [] };
          const pipe = new Pipe((exchange) => {
            seen.exchange = exchange;
            exchange.observer = {
              onData: (chunk) => seen.body.push(chunk),
              onEnd() {
                exchange.start(status, headers);
                const size = Math.ceil(answer.length / parts) || 1;
                for (let at = 0; at < answer.length; at += size) exchange.write(answer.subarray(at, at + size));
                exchange.end(trailers);
              },
              onDrain() {},
              onFinish() {},
              onAbort() {},
            };
            exchange.resume();
          });
          pipe.clientSink.slow = slow;
          pipe.serverSink.slow = slow;
          settleIn(pipe, sizes);
          const got: { status: number; headers: HeaderList; trailers: HeaderList; ended: number } = {
            status: 0,
            headers: [],
            trailers: [],
            ended: 0,
          };
          const received: Uint8Array[] = [];
          const full: LinkRequest = { ...asked, bodyLength: sent.length, upgrade: undefined, deadline: undefined };
          const stream = pipe.client.open(full, sent, true, {
            onInform() {},
            onResponse(code, list, first, complete) {
              got.status = code;
              got.headers = list;
              if (first !== null) {
                received.push(first);
                if (!complete) stream.consume(first.length);
              }
              if (complete) got.ended++;
            },
            onData(chunk) {
              received.push(chunk);
              stream.consume(chunk.length);
            },
            onEnd(list) {
              got.trailers = list;
              got.ended++;
            },
            onDrain() {},
            onReset(error) {
              throw new TypeError(error.message);
            },
          });
          settleIn(pipe, sizes);
          const { head, facts } = seen.exchange!;
          for (const key of ["method", "scheme", "authority", "target", "version", "headers", "bodyLength"] as const) {
            expect(head[key]).toEqual(full[key]);
          }
          for (const key of ["id", "traceparent", "tracestate", "tls", "receivedAt", "queuedMs"] as const) {
            expect(facts[key]).toEqual(full[key]);
          }
          expect(facts.client).toEqual({ ...full.client, vouchedBy: "link" });
          expect(Buffer.concat(seen.body).equals(sent)).toBe(true);
          const bodyless = full.method === "HEAD" || status === 204 || status === 304;
          expect(got).toEqual({ status, headers, trailers: bodyless ? [] : trailers, ended: 1 });
          expect(Buffer.concat(received).equals(bodyless ? Buffer.alloc(0) : answer)).toBe(true);
          expect(seen.exchange!.ended).toBe(true);
          expect([pipe.client.inFlight, pipe.server.inFlight]).toEqual([0, 0]);
        },
      ),
      { numRuns: 120 },
    );
  });

  test("no character splits a field: what no field may carry is refused, and nothing is sent", () => {
    const bad = fc.constantFrom("\n", "\r", "\0", "\u007f", "\u0001", "\u001f", "\u0100", "\u2028", "\ud83d\ude00");
    fc.assert(
      fc.property(fields, value, bad, value, fc.nat({ max: 12 }), (list, before, wrong, after, at) => {
        const place = Math.min(at, list.length / 2) * 2;
        const headers = [...list.slice(0, place), "x-bad", before + wrong + after, ...list.slice(place)];
        let tried = 0;
        const pipe = new Pipe((exchange) => {
          for (const call of ["respond", "start", "inform"] as const) {
            expect(() =>
              call === "respond"
                ? exchange.respond(200, headers, null)
                : exchange[call](call === "start" ? 200 : 103, headers),
            ).toThrow(linkError("field"));
            tried++;
          }
          exchange.respond(200, [], "fine");
        });
        pipe.settle();
        const target = { ...plain, headers };
        expect(() => pipe.client.open(target, null, true, SILENT)).toThrow(linkError("field"));
        const answers: number[] = [];
        pipe.client.open(plain, null, true, { ...SILENT, onResponse: (status) => answers.push(status) });
        pipe.settle();
        expect([answers, tried, pipe.client.isClosed]).toEqual([[200], 3, false]);
      }),
      { numRuns: 150 },
    );
  });
});

const plain = requestOf();

/** A session of one of everything, as bytes: what mutations start from. */
function recordSession(): { toServer: Buffer; toClient: Buffer } {
  const record = { toServer: [] as Buffer[], toClient: [] as Buffer[] };
  const pipe = new Pipe(echo);
  const streams: UpstreamStream[] = [];
  const move = (): void => {
    for (let rounds = 0; rounds < 20; rounds++) {
      pipe.turn("client");
      pipe.turn("server");
      const [there, back] = [pipe.clientSink.take(), pipe.serverSink.take()];
      record.toServer.push(there);
      record.toClient.push(back);
      pipe.server.receive(there);
      pipe.client.receive(back);
    }
  };
  move();
  streams.push(pipe.client.open(plain, null, true, SILENT));
  streams.push(pipe.client.open({ ...plain, method: "PUT", bodyLength: -1 }, Buffer.from("abc"), false, SILENT));
  move();
  streams[1]!.write(Buffer.alloc(300, 1));
  streams[1]!.end(["x-sum", "1"]);
  streams.push(pipe.client.open({ ...plain, upgrade: "websocket" }, null, true, SILENT));
  move();
  streams[2]!.write(Buffer.from("hello"));
  pipe.server.reportStatus(1, 2, 3);
  move();
  streams[2]!.reset("cancelled");
  pipe.server.drain();
  move();
  return { toServer: Buffer.concat(record.toServer), toClient: Buffer.concat(record.toClient) };
}

function echo(exchange: Exchange): void {
  const upgrade = exchange.head.upgrade !== undefined;
  if (upgrade) exchange.upgrade(101, []);
  else {
    exchange.inform(103, ["link", "</a>"]);
    exchange.start(200, ["content-type", "text/plain"]);
  }
  exchange.observer = {
    onData(chunk) {
      if (!exchange.write(chunk)) exchange.pause();
    },
    onEnd: (trailers) => exchange.end(upgrade ? undefined : trailers),
    onDrain: () => exchange.resume(),
    onFinish() {},
    onAbort() {},
  };
  exchange.resume();
}

type Mutation = { kind: "set" | "insert" | "remove" | "copy"; at: number; value: number; size: number };

const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom("set" as const, "insert" as const, "remove" as const, "copy" as const),
  at: fc.nat(),
  value: fc.nat({ max: 255 }),
  size: fc.integer({ min: 1, max: 40 }),
});

function mutate(bytes: Buffer, mutations: readonly Mutation[]): Buffer {
  let mutated = Buffer.from(bytes);
  for (const { kind, at, value: byte, size } of mutations) {
    const place = at % (mutated.length + 1);
    const [head, tail] = [mutated.subarray(0, place), mutated.subarray(place)];
    if (kind === "set") mutated = Buffer.concat([head, Buffer.of(byte), tail.subarray(1)]);
    else if (kind === "insert") mutated = Buffer.concat([head, Buffer.alloc(size, byte), tail]);
    else if (kind === "remove") mutated = Buffer.concat([head, tail.subarray(size)]);
    else mutated = Buffer.concat([head, tail.subarray(0, size), tail]);
  }
  return mutated;
}

describe("whatever the peer sends", () => {
  const recorded = recordSession();

  function feed(to: "client" | "server", bytes: Buffer, sizes: readonly number[]): void {
    const problems: unknown[] = [];
    const onError = (error: unknown): void => {
      // An application may well meet a typed error here (a second response, …); anything else is a fault of ours.
      if (!(error instanceof LinkError)) problems.push(error);
    };
    const pipe = new Pipe(echo, { onError }, { onError });
    pipe.settle();
    const resets: UpstreamReset[] = [];
    if (to === "client") {
      for (let count = 0; count < 4; count++)
        pipe.client.open({ ...plain, upgrade: count === 2 ? "websocket" : undefined }, null, true, {
          ...SILENT,
          onReset: (error) => resets.push(error),
        });
    }
    const session = to === "client" ? pipe.client : pipe.server;
    let next = 0;
    for (let at = 0; at < bytes.length;) {
      const size = sizes[next++ % sizes.length]!;
      session.receive(Buffer.from(bytes.subarray(at, at + size)));
      at += size;
      pipe.turn(to);
    }
    for (let seconds = 0; seconds < 120; seconds += 10) {
      pipe.now += 10_000;
      session.tick(pipe.now);
      pipe.turn(to);
    }
    expect(problems).toEqual([]);
    expect(session.isClosed).toBe(true);
    expect(session.inFlight).toBe(0);
  }

  // The handshake was played before: HELLO is cut off.
  const afterHello = (bytes: Buffer): Buffer => bytes.subarray(9 + readU24(bytes, 0));

  test.each(["client", "server"] as const)("mutations of a session neither throw nor hang the %s", (to) => {
    const bytes = afterHello(to === "client" ? recorded.toClient : recorded.toServer);
    expect(bytes.length).toBeGreaterThan(300);
    fc.assert(
      fc.property(fc.array(mutation, { maxLength: 6 }), chunkSizes, (mutations, sizes) => {
        feed(to, mutate(bytes, mutations), sizes);
      }),
      { numRuns: 600 },
    );
  });

  test.each(["client", "server"] as const)("random bytes and random frames neither throw nor hang the %s", (to) => {
    const frame = fc
      .tuple(
        fc.integer({ min: 0, max: 0x18 }),
        fc.nat({ max: 255 }),
        fc.nat({ max: 6 }),
        fc.uint8Array({ maxLength: 60 }),
      )
      .map(([type, flags, stream, payload]) =>
        Buffer.concat([Buffer.of(0, 0, payload.length, type, flags, 0, 0, 0, stream), payload]),
      );
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 400 }).map((raw) => Buffer.from(raw)),
      fc.array(frame, { maxLength: 12 }).map((frames) => Buffer.concat(frames)),
    );
    fc.assert(
      fc.property(bytes, chunkSizes, (given, sizes) => feed(to, given, sizes)),
      { numRuns: 600 },
    );
  });
});

/** Follows the frames of one direction, and adds up what each stream may still send. */
class WindowAuditor {
  readonly #initial: number;
  readonly outstanding = new Map<number, number>();
  worst = 0;

  constructor(initial: number) {
    this.#initial = initial;
  }

  sent(bytes: Buffer): void {
    forEachFrame(bytes, (type, stream, payload) => {
      if (type !== FRAME.DATA && type !== FRAME.REQUEST && type !== FRAME.RESPONSE) return;
      const size = type === FRAME.DATA ? payload.length : inlineBytes(type, payload);
      const now = (this.outstanding.get(stream) ?? 0) + size;
      this.outstanding.set(stream, now);
      this.worst = Math.max(this.worst, now);
      expect(now).toBeLessThanOrEqual(this.#initial);
    });
  }

  granted(bytes: Buffer): void {
    forEachFrame(bytes, (type, stream, payload) => {
      if (type !== FRAME.WINDOW) return;
      const now = (this.outstanding.get(stream) ?? 0) - readU32(payload, 0);
      expect(now).toBeGreaterThanOrEqual(this.#initial - MAX_WINDOW);
      this.outstanding.set(stream, now);
    });
  }
}

function forEachFrame(bytes: Buffer, visit: (type: number, stream: number, payload: Buffer) => void): void {
  for (let at = 0; at < bytes.length;) {
    const end = at + 9 + readU24(bytes, at);
    visit(bytes[at + 3]!, readU32(bytes, at + 5), bytes.subarray(at + 9, end));
    at = end;
  }
}

function inlineBytes(type: number, payload: Buffer): number {
  const fixed = type === FRAME.REQUEST ? 26 : 4;
  const count = payload.readUInt16BE(2);
  let text = 0;
  for (let index = 0; index < count; index++) text += payload.readUInt16BE(fixed + 2 * index);
  return payload.length - fixed - 2 * count - text;
}

type Step =
  | { kind: "open"; size: number; complete: boolean; tunnel: boolean }
  | { kind: "write" | "serverWrite"; which: number; size: number }
  | { kind: "end" | "serverEnd" | "serverPause" | "serverResume" | "serverStart" | "serverRespond"; which: number }
  | { kind: "reset" | "serverAbort"; which: number }
  | { kind: "consume"; which: number; size: number }
  | { kind: "turn"; end: "client" | "server" }
  | { kind: "deliver"; end: "client" | "server"; size: number }
  | { kind: "slow"; end: "client" | "server"; on: boolean }
  | { kind: "drain"; end: "client" | "server" };

// Few streams, so that calls meet: the first ones are chosen most.
const which = fc.oneof(fc.constant(0), fc.nat({ max: 1 }), fc.nat({ max: 6 }));
const size = fc.integer({ min: 0, max: 60_000 });
const end = fc.constantFrom("client" as const, "server" as const);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("open" as const), size, complete: fc.boolean(), tunnel: fc.boolean() }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constantFrom("write" as const, "serverWrite" as const), which, size }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "end" as const,
        "serverEnd" as const,
        "serverPause" as const,
        "serverResume" as const,
        "serverStart" as const,
        "serverRespond" as const,
      ),
      which,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("reset" as const, "serverAbort" as const), which }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("consume" as const), which, size }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("turn" as const), end }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("deliver" as const), end, size: fc.integer({ min: 1, max: 100_000 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("slow" as const), end, on: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("drain" as const), end }) },
);

/** One stream as a model: what was said to each end, and what each end was told. */
class StreamModel {
  stream: UpstreamStream | undefined;
  exchange: LinkExchange | undefined;
  up = 0;
  upGot = 0;
  upEnded = false;
  upEndSeen = 0;
  down = 0;
  downGot = 0;
  unconsumed = 0;
  downEndSeen = 0;
  resets = 0;
  resetByUs = false;
  finishes = 0;
  aborts = 0;
  tunnel = false;

  /** How often the proxy's end was told that it is over. */
  get over(): number {
    return this.resets + this.downEndSeen;
  }
}

describe("any order of calls", () => {
  test("windows are never exceeded, every stream ends exactly once at each end, and bytes are neither lost nor added", () => {
    let worst = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 10, maxLength: 120 }), (steps) => {
        const run = new Run();
        for (const one of steps) run.take(one);
        run.finish();
        worst = Math.max(worst, run.up.worst, run.down.worst);
      }),
      { numRuns: 600 },
    );
    // The windows were reached, or the property says nothing.
    expect(worst).toBeGreaterThan(16_000);
  });
});

const WINDOW = 16_384;
const MAX_WINDOW = 40_000;
/** By how much the windows of one direction grow together: two streams' worth, so that it runs out. */
const GROWTH = 2 * (MAX_WINDOW - WINDOW);

class Run {
  readonly models: StreamModel[] = [];
  readonly up = new WindowAuditor(WINDOW);
  readonly down = new WindowAuditor(WINDOW);
  readonly problems: unknown[] = [];
  readonly pipe: Pipe;
  readonly #byId = new Map<string, StreamModel>();

  constructor() {
    const onError = (error: unknown): void => void this.problems.push(error);
    const limits = { window: WINDOW, maxWindow: MAX_WINDOW, growth: GROWTH };
    this.pipe = new Pipe((exchange) => this.#handle(exchange), { onError, limits }, { onError, limits });
    this.#move("client", undefined);
    this.#move("server", undefined);
    this.#move("client", undefined);
  }

  #handle(exchange: Exchange): void {
    const model = this.#byId.get(exchange.facts.id)!;
    model.exchange = exchange as LinkExchange;
    exchange.observer = {
      onData: (chunk) => void (model.upGot += chunk.length),
      onEnd: () => void model.upEndSeen++,
      onDrain() {},
      onFinish: () => void model.finishes++,
      onAbort: () => void model.aborts++,
    };
  }

  take(one: Step): void {
    try {
      if (one.kind === "open") this.#open(one.size, one.complete, one.tunnel);
      else if (one.kind === "turn") this.#turn(one.end);
      else if (one.kind === "deliver") this.#move(one.end, one.size);
      else if (one.kind === "slow") (one.end === "client" ? this.pipe.clientSink : this.pipe.serverSink).slow = one.on;
      else if (one.kind === "drain") (one.end === "client" ? this.pipe.client : this.pipe.server).drain();
      else if (this.models.length > 0) this.#call(one, this.models[one.which % this.models.length]!);
    } catch (error) {
      // Calls out of order are part of the game, and must say so.
      if (!(error instanceof LinkError)) throw error;
    }
  }

  #open(bytes: number, complete: boolean, tunnel: boolean): void {
    const model = new StreamModel();
    const id = `m${this.models.length}`;
    this.#byId.set(id, model);
    const first = tunnel ? 0 : bytes;
    const asked = { ...plain, id, bodyLength: -1, upgrade: tunnel ? "websocket" : undefined };
    model.stream = this.pipe.client.open(asked, Buffer.alloc(first, 7), complete || tunnel, {
      onInform() {},
      onResponse(status, _headers, inline, isComplete) {
        model.tunnel = status === 101;
        if (model.tunnel) model.upEnded = false;
        model.downGot += inline?.length ?? 0;
        model.unconsumed += inline?.length ?? 0;
        if (isComplete) model.downEndSeen++;
      },
      onData(chunk) {
        model.downGot += chunk.length;
        model.unconsumed += chunk.length;
      },
      onEnd: () => void model.downEndSeen++,
      onDrain() {},
      onReset: () => void model.resets++,
    });
    model.up = first;
    model.upEnded = complete || tunnel;
    this.models.push(model);
  }

  #call(one: Extract<Step, { which: number }>, model: StreamModel): void {
    const { stream, exchange } = model;
    if (one.kind === "write") {
      if (model.upEnded) return;
      stream!.write(Buffer.alloc(one.size, 7));
      model.up += one.size;
    } else if (one.kind === "end") {
      stream!.end();
      model.upEnded = true;
    } else if (one.kind === "reset") {
      if (model.over === 0 || (model.tunnel && model.resets === 0)) model.resetByUs = true;
      stream!.reset("cancelled" satisfies ResetCode);
    } else if (one.kind === "consume") {
      const used = Math.min(one.size, model.unconsumed);
      model.unconsumed -= used;
      stream!.consume(used);
    } else if (exchange !== undefined) this.#serverCall(one, model, exchange);
  }

  #serverCall(one: { kind: string; size?: number }, model: StreamModel, exchange: LinkExchange): void {
    if (one.kind === "serverStart") {
      if (exchange.head.upgrade === undefined) exchange.start(200, []);
      else exchange.upgrade(101, []);
    } else if (one.kind === "serverRespond") {
      const whole = Buffer.alloc(40_000, 9);
      const fresh = !exchange.started && !exchange.ended;
      exchange.respond(200, [], whole);
      if (fresh) model.down += whole.length;
    } else if (one.kind === "serverWrite") {
      exchange.write(Buffer.alloc(one.size!, 9));
      if (!exchange.ended) model.down += one.size!;
    } else if (one.kind === "serverEnd") exchange.end();
    else if (one.kind === "serverPause") exchange.pause();
    else if (one.kind === "serverResume") exchange.resume();
    else exchange.abort("reset");
  }

  #turn(end: "client" | "server"): void {
    const { pipe } = this;
    const sink = end === "client" ? pipe.clientSink : pipe.serverSink;
    const before = sink.bytes.length;
    pipe.turn(end);
    const fresh = sink.bytes.subarray(before);
    (end === "client" ? this.up : this.down).sent(fresh);
    // A WINDOW counts from when it was sent: the peer cannot use it earlier.
    (end === "client" ? this.down : this.up).granted(fresh);
  }

  #move(to: "client" | "server", limit: number | undefined): number {
    this.#turn(to);
    return this.pipe.deliver(to, limit);
  }

  /** Lets everything flow, ends every stream at both ends, and compares with the model. */
  finish(): void {
    const { pipe } = this;
    pipe.clientSink.slow = false;
    pipe.serverSink.slow = false;
    for (let rounds = 0; rounds < 2_000; rounds++) {
      const moved = this.#move("client", undefined) + this.#move("server", undefined);
      for (const model of this.models) this.#wrapUp(model);
      const waiting =
        pipe.clientSink.scheduled || pipe.serverSink.scheduled || pipe.clientSink.kept || pipe.serverSink.kept;
      if (moved === 0 && !waiting && pipe.client.inFlight === 0 && pipe.server.inFlight === 0) break;
    }
    expect(this.problems).toEqual([]);
    expect([pipe.client.inFlight, pipe.server.inFlight]).toEqual([0, 0]);
    for (const { growth } of [pipe.client, pipe.server]) {
      const left = growth.take(Number.MAX_SAFE_INTEGER);
      growth.give(left);
      expect(left).toBe(GROWTH);
    }
    for (const model of this.models) this.#check(model);
    expect(pipe.client.counters.protocolErrors + pipe.server.counters.protocolErrors).toBe(0);
  }

  #wrapUp(model: StreamModel): void {
    const { stream, exchange } = model;
    if (model.unconsumed > 0) {
      stream!.consume(model.unconsumed);
      model.unconsumed = 0;
    }
    stream!.end();
    model.upEnded = true;
    if (exchange === undefined || exchange.ended) return;
    exchange.resume();
    try {
      if (!exchange.started) exchange.respond(200, [], "");
      exchange.end();
    } catch (error) {
      if (!(error instanceof LinkError)) throw error;
    }
  }

  #check(model: StreamModel): void {
    if (model.resetByUs) expect(model.resets).toBe(0);
    // A tunnel may be reset between the end of the worker's half and the end of the proxy's.
    else if (model.tunnel)
      expect([model.downEndSeen <= 1, model.resets <= 1, model.over > 0]).toEqual([true, true, true]);
    else expect(model.over).toBe(1);
    if (model.exchange !== undefined) expect(model.finishes + model.aborts).toBe(1);
    expect(model.upGot).toBeLessThanOrEqual(model.up);
    expect(model.downGot).toBeLessThanOrEqual(model.down);
    // A response that was reported whole is whole.
    if (model.downEndSeen === 1 && !model.resetByUs && model.resets === 0) expect(model.downGot).toBe(model.down);
    if (model.upEndSeen > 0 && model.exchange !== undefined && model.aborts === 0 && !model.tunnel)
      expect(model.upGot).toBe(model.up);
  }
}
