/** The rules of forwarding, against a transport that does what the test says. */
import { Buffer } from "node:buffer";
import type { HeaderList } from "@portico/gateway/exchange";
import { describe, expect, it } from "vitest";
import { configSchema, type ProxyConfig } from "../config/schema.ts";
import type { UpstreamFacts } from "../deps.ts";
import { TestExchange, type TestRequest } from "../test-exchange.ts";
import type {
  ServerTransport,
  TransportEvents,
  UpstreamObserver,
  UpstreamRequest,
  UpstreamReset,
  UpstreamStream,
} from "../upstream/transport.ts";
import { Upstream } from "../upstream/upstream.ts";
import { Zone } from "../upstream/zone.ts";
import { Wheel } from "../upstream/wheel.ts";
import { createProxyHandler } from "./handler.ts";

/** One attempt, as the server sees it. */
interface Attempt {
  readonly server: string;
  readonly request: UpstreamRequest;
  readonly headers: HeaderList;
  readonly body: Uint8Array | null;
  readonly complete: boolean;
  readonly observer: UpstreamObserver;
  readonly written: Buffer[];
  ended: boolean;
  cancelled: boolean;
}

class FakeTransport implements ServerTransport {
  readonly kind = "link";
  readonly inlineLimit = 1_000;
  readonly #name: string;
  readonly #attempts: Attempt[];
  readonly events: TransportEvents;
  inFlight = 0;
  free = Infinity;
  hopeful = true;
  responsive = true;

  constructor(name: string, attempts: Attempt[], events: TransportEvents) {
    this.#name = name;
    this.#attempts = attempts;
    this.events = events;
  }
  load(): number {
    return this.free > 0 ? 1 : Infinity;
  }
  wake(): void {}
  suspect(): void {}
  open(
    request: UpstreamRequest,
    body: Uint8Array | null,
    complete: boolean,
    observer: UpstreamObserver,
  ): UpstreamStream {
    this.free--;
    const attempt: Attempt = {
      server: this.#name,
      request,
      headers: request.headers,
      body,
      complete,
      observer,
      written: [],
      ended: complete,
      cancelled: false,
    };
    this.#attempts.push(attempt);
    return {
      tunnelling: false,
      write: (chunk) => {
        attempt.written.push(Buffer.from(chunk));
        return true;
      },
      end: () => {
        attempt.ended = true;
      },
      consume: () => {},
      reset: () => {
        attempt.cancelled = true;
      },
    };
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
  destroy(): void {}
}

interface Scene {
  readonly attempts: Attempt[];
  readonly transports: FakeTransport[];
  readonly records: UpstreamFacts[];
  readonly errors: { status: number; retryAfter: number | undefined }[];
  readonly logged: Record<string, unknown>[];
  /** Milliseconds pass. */
  advance: (ms: number) => void;
  request: (request?: TestRequest, body?: readonly string[]) => TestExchange;
}

function scene(
  options: {
    servers?: number;
    upstream?: Omit<NonNullable<ProxyConfig["upstreams"]>[string], "servers">;
    proxy?: Omit<NonNullable<ProxyConfig["sites"][number]["routes"][number]["proxy"]>, "upstream">;
    tempDirectory?: string;
  } = {},
): Scene {
  let now = 0;
  let tick: (() => void) | undefined;
  const wheel = new Wheel({
    now: () => now,
    every: (_ms, callback) => {
      tick = callback;
      return () => {
        tick = undefined;
      };
    },
  });
  const names = Array.from({ length: options.servers ?? 1 }, (_, at) => `http://10.0.0.${at + 1}`);
  const config = configSchema.parse({
    upstreams: { app: { balance: "round-robin", ...options.upstream, servers: names } },
    sites: [{ hosts: ["*"], routes: [{ path: "/*", proxy: { ...options.proxy, upstream: "app" } }] }],
  } satisfies ProxyConfig);
  const attempts: Attempt[] = [];
  const transports: FakeTransport[] = [];
  const logged: Record<string, unknown>[] = [];
  const log = (fields: Record<string, unknown>): void => void logged.push(fields);
  const upstream = new Upstream("app", config.upstreams["app"]!, {
    wheel,
    zone: new Zone(),
    probes: false,
    tell: () => {},
    resolver: { addresses: () => Promise.resolve([]), services: () => Promise.resolve([]) },
    lookupInterval: () => undefined,
    connect: (address, _place, _settings, _tls, events) => {
      const transport = new FakeTransport(address.text, attempts, events);
      transports.push(transport);
      return transport;
    },
    log: { warn: log, info: log },
  });
  const records: UpstreamFacts[] = [];
  const errors: { status: number; retryAfter: number | undefined }[] = [];
  const handler = createProxyHandler({
    settings: config.sites[0]!.routes[0]!.proxy!,
    upstream,
    wheel,
    deps: {
      log: { debug: log, info: log, warn: log, error: log },
      tempDirectory: options.tempDirectory ?? "/nonexistent",
      thread: 0,
      answerError: (exchange, status, _reason, retryAfter) => {
        errors.push({ status, retryAfter });
        exchange.respond(status, [], null);
      },
      noteUpstream: (_exchange, facts) => {
        records.push({
          ...facts,
          attempts: facts.attempts,
          status: facts.status,
          failure: facts.failure,
          headMs: facts.headMs,
        });
      },
    },
  });
  return {
    attempts,
    transports,
    records,
    errors,
    logged,
    advance: (ms) => {
      for (const end = now + ms; now < end;) {
        now = Math.min(end, now + 50);
        tick?.();
      }
    },
    request: (request = {}, body) => {
      const exchange = new TestExchange(body === undefined ? request : { method: "POST", bodyLength: -1, ...request });
      handler(exchange);
      if (body !== undefined) {
        for (const part of body) exchange.observer?.onData(Buffer.from(part));
        exchange.observer?.onEnd([]);
      }
      return exchange;
    },
  };
}

const reset = (code: UpstreamReset["code"], refused = false): UpstreamReset => ({
  code,
  refused,
  phase: refused && code !== "refused" ? "connect" : "request",
  message: "as the test says",
});

describe("forwarding", () => {
  it("sends a small body whole, in one piece with the head", () => {
    const { attempts, request } = scene();
    request({}, ["he", "llo"]);
    expect(attempts).toHaveLength(1);
    expect(attempts[0]).toMatchObject({ complete: true, request: { method: "POST", bodyLength: 5 } });
    expect(Buffer.from(attempts[0]!.body!).toString()).toBe("hello");
    expect(attempts[0]!.headers).toContain("Content-Length");
  });

  it("sends a body beyond the inline limit behind the head", () => {
    const { attempts, request } = scene();
    request({}, ["x".repeat(1_500)]);
    expect(attempts[0]).toMatchObject({ complete: false, ended: true, body: null });
    expect(Buffer.concat(attempts[0]!.written)).toHaveLength(1_500);
  });

  it("answers with what came, all at once", () => {
    const { attempts, request, records } = scene();
    const exchange = request();
    attempts[0]!.observer.onResponse(201, ["X-A", "b"], Buffer.from("body"), true);
    expect(exchange).toMatchObject({ status: 201, headers: ["X-A", "b"], text: "body", ended: true });
    expect(records).toHaveLength(1);
    expect(records[0]).toMatchObject({ attempts: 1, status: 201 });
  });

  it("passes interim responses on, except 100", () => {
    const { attempts, request } = scene();
    const exchange = request();
    attempts[0]!.observer.onInform(100, []);
    attempts[0]!.observer.onInform(103, ["Link", "<a>"]);
    expect(exchange.informed).toEqual([{ status: 103, headers: ["Link", "<a>"] }]);
  });

  it.each([
    ["a contradictory length", 200, ["Content-Length", "1", "Content-Length", "2"]],
    ["a tunnel that was not asked for", 101, []],
    ["a status beyond 599", 600, []],
    ["a status below 200", 150, []],
  ])("answers 502 to %s", (_what, status, headers) => {
    const { attempts, request, errors } = scene();
    request();
    attempts[0]!.observer.onResponse(status, headers, null, true);
    expect(errors).toEqual([{ status: 502, retryAfter: undefined }]);
  });

  it("answers 501 to CONNECT and reaches no server", () => {
    const { attempts, request, errors } = scene();
    request({ method: "CONNECT", target: "a:1" });
    expect(attempts).toHaveLength(0);
    expect(errors[0]!.status).toBe(501);
  });

  it("answers for itself where Max-Forwards is 0, and reaches no server", () => {
    const { attempts, request, errors } = scene();
    expect(request({ method: "OPTIONS", headers: ["max-forwards", "0"] }).status).toBe(204);
    request({ method: "TRACE", headers: ["Max-Forwards", "0"] });
    expect(errors[0]!.status).toBe(501);
    expect(attempts).toHaveLength(0);
    request({ method: "GET", headers: ["Max-Forwards", "0"] });
    expect(attempts).toHaveLength(1);
  });

  it("answers 508 to a request that goes round in a circle, and reaches no server", () => {
    const { attempts, request, errors } = scene();
    request({ headers: ["Via", "1.1 portico-1, ".repeat(40)] });
    expect(errors[0]!.status).toBe(508);
    expect(attempts).toHaveLength(0);
  });

  it("passes no trailer on that Connection names in its head, either way", () => {
    const { attempts, request } = scene();
    const exchange = request({ headers: ["Connection", "x-hop"] });
    const [attempt] = attempts;
    expect(attempt!.headers).not.toContain("x-hop");
    attempt!.observer.onResponse(200, ["Connection", "X-Gone"], null, false);
    attempt!.observer.onEnd(["X-Gone", "1", "X-Kept", "2"]);
    expect(exchange.trailers).toEqual(["X-Kept", "2"]);
  });

  it("breaks off what has begun when the server breaks off", () => {
    const { attempts, request, errors } = scene();
    const exchange = request();
    attempts[0]!.observer.onResponse(200, [], Buffer.from("a"), false);
    attempts[0]!.observer.onReset(reset("lost"));
    expect(exchange).toMatchObject({ aborted: "reset", text: "a" });
    expect(errors).toEqual([]);
  });

  it("cancels at the server what the client gave up", () => {
    const { attempts, request } = scene();
    const exchange = request();
    exchange.abort("client-disconnected");
    expect(attempts[0]!.cancelled).toBe(true);
    attempts[0]!.observer.onResponse(200, [], null, true);
    expect(exchange.started).toBe(false);
  });

  it("answers 500 when a body cannot be stored", async () => {
    const { attempts, request, errors, logged } = scene({ tempDirectory: "/dev/null/nowhere" });
    const exchange = request({}, ["x".repeat(100_000)]);
    await exchange.done;
    expect(errors[0]!.status).toBe(500);
    expect(attempts).toHaveLength(0);
    expect(logged.at(-1)).toMatchObject({ code: "spill-failed", phase: "receive", side: "internal" });
  });
});

describe("retries", () => {
  it("go to another server after a failed connection, whatever the method, body and all", () => {
    const { attempts, request } = scene({ servers: 3 });
    const exchange = request({}, ["once"]);
    attempts[0]!.observer.onReset(reset("connect", true));
    attempts[1]!.observer.onReset(reset("connect", true));
    attempts[2]!.observer.onResponse(200, [], null, true);
    expect(new Set(attempts.map((attempt) => attempt.server)).size).toBe(3);
    expect(attempts.map((attempt) => Buffer.from(attempt.body!).toString())).toEqual(["once", "once", "once"]);
    expect(exchange.status).toBe(200);
  });

  it("end when every server and the one retry have failed", () => {
    const { attempts, request, errors } = scene({ servers: 1 });
    request();
    for (let at = 0; at < attempts.length; at++) attempts[at]!.observer.onReset(reset("connect", true));
    expect(attempts).toHaveLength(2);
    expect(errors).toEqual([{ status: 502, retryAfter: undefined }]);
  });

  it("follow every refusal while there is time: it was certainly not processed", () => {
    const { attempts, request, advance, errors } = scene();
    request({}, ["x"]);
    for (let at = 0; at < 5; at++) attempts[at]!.observer.onReset(reset("refused", true));
    expect(attempts).toHaveLength(6);
    advance(10_050);
    attempts[5]!.observer.onReset(reset("refused", true));
    expect(attempts).toHaveLength(6);
    expect(errors).toEqual([{ status: 503, retryAfter: 1 }]);
  });

  it.each([
    ["GET", 2],
    ["HEAD", 2],
    ["PUT", 2],
    ["DELETE", 2],
    ["OPTIONS", 2],
    ["POST", 1],
    ["PATCH", 1],
    ["LOCK", 1],
  ])("of %s after a lost connection: %i attempts in all", (method, count) => {
    const { attempts, request, errors } = scene({ servers: 3 });
    request({ method });
    for (let at = 0; at < attempts.length; at++) attempts[at]!.observer.onReset(reset("lost"));
    expect(attempts).toHaveLength(count);
    expect(errors[0]!.status).toBe(502);
  });

  it("are none where the configuration says so", () => {
    const { attempts, request } = scene({ servers: 3, upstream: { retries: { attempts: 0 } } });
    request();
    attempts[0]!.observer.onReset(reset("connect", true));
    expect(attempts).toHaveLength(1);
  });

  it("are none once a part of a streamed body has left", () => {
    const { attempts, request, errors } = scene({ servers: 2, proxy: { request: { mode: "stream" } } });
    const exchange = request({ method: "PUT", bodyLength: 10 });
    exchange.observer!.onData(Buffer.from("12345"));
    attempts[0]!.observer.onReset(reset("refused", true));
    expect(attempts).toHaveLength(1);
    expect(errors[0]!.status).toBe(503);
  });

  it("are none once the response has begun", () => {
    const { attempts, request } = scene({ servers: 2 });
    const exchange = request();
    attempts[0]!.observer.onResponse(200, [], null, false);
    attempts[0]!.observer.onReset(reset("lost"));
    expect(attempts).toHaveLength(1);
    expect(exchange.aborted).toBe("reset");
  });
});

describe("time", () => {
  it("for the head: 504, and the server hears of it", () => {
    const { attempts, request, errors, advance } = scene({ upstream: { responseTimeout: "20s" } });
    request();
    advance(19_900);
    expect(errors).toEqual([]);
    advance(300);
    expect(errors).toEqual([{ status: 504, retryAfter: undefined }]);
    expect(attempts[0]!.cancelled).toBe(true);
  });

  it("between two parts of the body; each part begins it anew", () => {
    const { attempts, request, advance } = scene({ upstream: { idleTimeout: "5s" } });
    const exchange = request();
    attempts[0]!.observer.onResponse(200, [], null, false);
    for (let part = 0; part < 4; part++) {
      advance(4_000);
      attempts[0]!.observer.onData(Buffer.from("."));
    }
    expect(exchange.aborted).toBeUndefined();
    advance(5_200);
    expect(exchange.aborted).toBe("reset");
  });

  it("is not counted while it is the client that does not take its response", () => {
    const { attempts, request, advance } = scene({ upstream: { idleTimeout: "5s" } });
    const exchange = request();
    exchange.writable = false;
    attempts[0]!.observer.onResponse(200, [], Buffer.from("a"), false);
    attempts[0]!.observer.onData(Buffer.from("b"));
    advance(60_000);
    expect(exchange.aborted).toBeUndefined();
    exchange.writable = true;
    exchange.observer!.onDrain();
    attempts[0]!.observer.onEnd([]);
    expect(exchange).toMatchObject({ text: "ab", ended: true });
  });

  it("in the queue is told to the server", async () => {
    const { attempts, transports, request, advance } = scene();
    transports[0]!.free = 0;
    request();
    advance(700);
    transports[0]!.free = 1;
    transports[0]!.events.onAvailable();
    await Promise.resolve();
    expect(attempts[0]!.request.queuedMs).toBe(700);
  });
});

describe("the queue", () => {
  it("is left with 502 when the last server is lost", () => {
    const { transports, request, errors } = scene({ upstream: { ejection: { failures: 0 } } });
    transports[0]!.free = 0;
    request();
    transports[0]!.hopeful = false;
    transports[0]!.events.onConnectFailed("gone", false);
    expect(errors).toEqual([{ status: 502, retryAfter: undefined }]);
  });

  it("is not entered where there is no server at all: 503", () => {
    const { transports, request, errors } = scene();
    transports[0]!.free = 0;
    transports[0]!.hopeful = false;
    request();
    expect(errors).toEqual([{ status: 503, retryAfter: 1 }]);
  });
});
