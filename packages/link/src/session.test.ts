/** Handshake, refusal, drain, liveness and bounds of a link as a whole. */
import type { Exchange } from "@portico/gateway/exchange";
import { describe, expect, test } from "vitest";
import type { UpstreamReset } from "./client.ts";
import { ClientSession, type ClientStream } from "./client.ts";
import type { LinkError } from "./error.ts";
import { MemorySink, Pipe } from "./pipe.ts";
import { SILENT, linkError, requestOf } from "./test-rig.ts";

function openCounting(pipe: Pipe, resets: UpstreamReset[] = []): void {
  pipe.client.open(requestOf(), null, true, { ...SILENT, onReset: (error) => resets.push(error) });
}

describe("handshake", () => {
  test("the proxy learns who the worker is, and nothing is opened before", () => {
    const pipe = new Pipe(() => {}, {}, { worker: { id: 7, generation: 3, count: 4, concurrency: 2 } });
    expect(() => pipe.client.open(requestOf(), null, true, SILENT)).toThrow(linkError("not-ready"));
    expect(pipe.client.available).toBe(0);
    pipe.settle();
    expect(pipe.client.hello).toMatchObject({ role: "worker", worker: 7, generation: 3, workers: 4, concurrency: 2 });
    expect(pipe.client.available).toBe(2);
  });

  const random = (size: number): Buffer => Buffer.alloc(size, 5);
  const secret = "sixteen bytes or more";

  test("with a secret both ends prove it, and with two different ones neither is ready", () => {
    const right = new Pipe(() => {}, { secret, random }, { secret, random });
    right.settle();
    expect([right.client.ready, right.server.ready]).toEqual([true, true]);
    const codes: (string | undefined)[] = [];
    const onClosed = (error: LinkError | undefined): void => void codes.push(error?.code);
    const wrong = new Pipe(() => {}, { secret: `${secret}?`, random, onClosed }, { secret, random, onClosed });
    wrong.settle();
    expect([wrong.client.ready, wrong.server.ready]).toEqual([false, false]);
    expect(codes).toEqual(["authentication", "authentication"]);
  });

  test("limits in HELLO are what the proof covers: changed on the way, it is wrong", () => {
    const pipe = new Pipe(() => {}, { secret, random }, { secret, random });
    pipe.turn("server");
    const hello = pipe.serverSink.take();
    const at = hello.indexOf("65536");
    hello.write("99999", at);
    pipe.client.receive(hello);
    pipe.settle();
    expect([pipe.client.isClosed, pipe.server.isClosed]).toEqual([true, true]);
  });

  test("a secret is long enough and comes with randomness, limits are in range", () => {
    expect(() => new ClientSession(new MemorySink(), { now: () => 0, secret: "short", random })).toThrow(
      linkError("option"),
    );
    expect(() => new ClientSession(new MemorySink(), { now: () => 0, secret })).toThrow(linkError("option"));
    expect(() => new ClientSession(new MemorySink(), { now: () => 0, limits: { window: 1 } })).toThrow(
      linkError("option"),
    );
  });

  test("takes no longer than its time", () => {
    const closed: (string | undefined)[] = [];
    const pipe = new Pipe(() => {}, { onClosed: (error) => closed.push(error?.code) });
    pipe.client.tick(pipe.now + 4_999);
    expect(closed).toEqual([]);
    pipe.client.tick(pipe.now + 5_000);
    expect(closed).toEqual(["timeout"]);
  });
});

describe("refusal", () => {
  test("the proxy does not open more than the worker takes", () => {
    const pipe = new Pipe(() => {});
    pipe.settle();
    for (let count = 0; count < 8; count++) openCounting(pipe);
    expect(pipe.client.available).toBe(0);
    expect(() => openCounting(pipe)).toThrow(linkError("busy"));
  });

  test("a request that crossed DRAIN is refused, and can be sent elsewhere", () => {
    const pipe = new Pipe(() => {});
    pipe.settle();
    const resets: UpstreamReset[] = [];
    pipe.server.drain();
    openCounting(pipe, resets);
    pipe.settle();
    expect(resets).toMatchObject([{ code: "refused", refused: true, phase: "request" }]);
    expect([pipe.client.isClosed, pipe.server.isClosed]).toEqual([true, true]);
  });

  test("a request that never left is refused when the link is lost; one that left is not", () => {
    const pipe = new Pipe(() => {});
    pipe.settle();
    const left: UpstreamReset[] = [];
    const stayed: UpstreamReset[] = [];
    openCounting(pipe, left);
    pipe.turn("client");
    openCounting(pipe, stayed);
    pipe.client.closed();
    expect(left).toMatchObject([{ code: "lost", refused: false }]);
    expect(stayed).toMatchObject([{ code: "refused", refused: true }]);
  });

  test("closing the link ourselves: what was gathered is not sent, and is refused", () => {
    const seen: Exchange[] = [];
    const pipe = new Pipe((exchange) => void seen.push(exchange));
    pipe.settle();
    const resets: UpstreamReset[] = [];
    openCounting(pipe, resets);
    pipe.client.close("shutdown", "enough");
    pipe.settle();
    expect(resets).toMatchObject([{ refused: true }]);
    expect(seen).toEqual([]);
    expect(pipe.server.isClosed).toBe(true);
  });
});

describe("drain", () => {
  test("lets streams finish at both ends, then closes in order", () => {
    const closed: unknown[] = [];
    const held: Exchange[] = [];
    const onClosed = (error: unknown): void => void closed.push(error);
    const statuses: number[] = [];
    const pipe = new Pipe((exchange) => void held.push(exchange), { onClosed }, { onClosed });
    pipe.settle();
    pipe.client.open(requestOf(), null, true, { ...SILENT, onResponse: (status) => statuses.push(status) });
    pipe.settle();
    pipe.server.drain();
    pipe.settle();
    expect([pipe.client.draining, pipe.client.isClosed]).toEqual([true, false]);
    held[0]!.respond(200, [], "late");
    pipe.settle();
    expect(statuses).toEqual([200]);
    expect(closed).toEqual([undefined, undefined]);
    expect([pipe.clientSink.ended, pipe.serverSink.ended]).toEqual([true, true]);
  });

  test("before the handshake it is said right after it", () => {
    const pipe = new Pipe(() => {});
    pipe.server.drain();
    pipe.settle();
    expect([pipe.client.isClosed, pipe.server.isClosed]).toEqual([true, true]);
  });

  test("a proxy that does not close is left after a while", () => {
    const pipe = new Pipe(() => {});
    pipe.settle();
    pipe.server.drain();
    for (let second = 0; second < 7; second++) pipe.server.tick((pipe.now += 1_000));
    expect(pipe.server.isClosed).toBe(true);
  });
});

describe("liveness and bounds", () => {
  test("silence is answered by a ping, and no answer by the end of the link", () => {
    const closed: (string | undefined)[] = [];
    const pipe = new Pipe(() => {}, { onClosed: (error) => closed.push(error?.code) });
    pipe.settle();
    pipe.client.tick((pipe.now += 1_000));
    for (let count = 0; count < 3; count++) {
      pipe.client.tick((pipe.now += 15_000));
      pipe.settle();
    }
    expect(closed).toEqual([]);
    pipe.client.tick((pipe.now += 1_000));
    pipe.client.tick((pipe.now += 15_000));
    pipe.turn("client");
    pipe.clientSink.take();
    pipe.client.tick((pipe.now += 29_000));
    expect(closed).toEqual([]);
    pipe.client.tick((pipe.now += 1_000));
    expect(closed).toEqual(["timeout"]);
  });

  test("an owner that throws loses nothing of what comes behind", () => {
    const errors: unknown[] = [];
    const fail = (): never => {
      throw new TypeError("of the owner's");
    };
    const answers: number[] = [];
    const pipe = new Pipe(
      (exchange) => exchange.respond(200, [], ""),
      { onError: (error) => errors.push(error), onReady: fail, onStatus: fail, onDrain: fail, onClosed: fail },
      {},
    );
    pipe.settle();
    pipe.client.open(requestOf(), null, true, { ...SILENT, onResponse: (status) => answers.push(status) });
    pipe.turn("client");
    // STATUS and the answer come in one chunk.
    pipe.server.reportStatus(1, 1, 1);
    pipe.settle();
    expect(answers).toEqual([200]);
    pipe.server.drain();
    pipe.settle();
    expect([errors.length, pipe.client.isClosed]).toEqual([4, true]);
  });

  test("STATUS arrives", () => {
    const pipe = new Pipe(() => {});
    pipe.settle();
    pipe.server.reportStatus(3, 12.5, 4);
    pipe.settle();
    expect(pipe.client.status).toEqual({ inFlight: 3, loopDelayMs: 12.5, workers: 4 });
  });

  test("a peer that sends pings and does not read is given up", () => {
    const closed: (string | undefined)[] = [];
    const pipe = new Pipe(
      () => {},
      {},
      { limits: { maxControlBacklog: 4_096 }, onClosed: (error) => closed.push(error?.code) },
    );
    pipe.settle();
    pipe.serverSink.slow = true;
    const ping = Buffer.concat([Buffer.of(0, 0, 8, 3, 0, 0, 0, 0, 0), Buffer.alloc(8)]);
    pipe.server.receive(ping);
    pipe.server.flush();
    for (let count = 0; count < 300 && !pipe.server.isClosed; count++) pipe.server.receive(ping);
    expect(closed).toEqual(["overload"]);
  });

  test("what a worker keeps unread is bounded for the whole link, and every stream goes on", () => {
    const STREAMS = 100;
    const BODY_BYTES = 400_000;
    const WINDOW = 16_384;
    const GROWTH = 1_048_576;
    let read = 0;
    const exchanges: Exchange[] = [];
    const limits = { window: WINDOW, growth: GROWTH };
    const worker = { id: 1, generation: 1, count: 1, concurrency: STREAMS };
    const take = (exchange: Exchange): void => {
      exchanges.push(exchange);
      exchange.observer = {
        // Reads a little, so that its window has a reason to grow, and stops.
        onData(chunk) {
          read += chunk.length;
          if (!going) exchange.pause();
        },
        onEnd: () => exchange.respond(200, [], "done"),
        onDrain() {},
        onFinish() {},
        onAbort() {},
      };
      exchange.resume();
    };
    let going = false;
    const pipe = new Pipe(take, {}, { worker, limits });
    pipe.settle();
    const body = Buffer.alloc(BODY_BYTES);
    const streams = Array.from({ length: STREAMS }, () => {
      const post = requestOf({ method: "POST", bodyLength: BODY_BYTES });
      return pipe.client.open(post, body, true, SILENT) as ClientStream;
    });
    pipe.settle();
    const waiting = streams.reduce((sum, stream) => sum + stream.queuedBytes, 0);
    const unread = STREAMS * BODY_BYTES - waiting - read;
    expect(unread).toBeLessThanOrEqual(STREAMS * WINDOW + GROWTH);
    // Some have grown, as far as there was room.
    expect(unread).toBeGreaterThan(STREAMS * WINDOW + GROWTH / 2);
    going = true;
    for (const exchange of exchanges) exchange.resume();
    pipe.settle();
    expect([read, pipe.server.inFlight]).toEqual([STREAMS * BODY_BYTES, 0]);
  });

  test("while the sink is slow, bodies wait in their streams and writers are told", () => {
    const pipe = new Pipe(() => {});
    pipe.settle();
    pipe.clientSink.slow = true;
    let drains = 0;
    const post = { ...requestOf(), method: "POST", bodyLength: -1 };
    const stream = pipe.client.open(post, null, false, { ...SILENT, onDrain: () => drains++ });
    pipe.client.flush();
    expect(pipe.client.out.blocked).toBe(true);
    expect(stream.write(Buffer.from("x"))).toBe(false);
    pipe.settle();
    expect(drains).toBe(1);
  });

  test("faults are counted", () => {
    const pipe = new Pipe(() => {});
    pipe.settle();
    pipe.server.receive(Buffer.of(0, 0, 0, 0x7f, 0, 0, 0, 0, 0));
    expect(pipe.server.counters.protocolErrors).toBe(1);
    expect(pipe.server.isClosed).toBe(true);
  });
});
