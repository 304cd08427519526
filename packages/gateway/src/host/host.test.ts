import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import * as fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import type { Application, Reply } from "../application.ts";
import type { Context } from "../context.ts";
import type { PorticoGatewayError } from "../errors.ts";
import type { AbortReason, Exchange, ExchangeFacts, ExchangeObserver, HeaderList, RequestHead } from "../exchange.ts";
import { createHost, type HostOptions } from "../host.ts";
import { LazyHeaders } from "./headers.ts";
import { silentLogger } from "./log.ts";
import { urlOf } from "./request.ts";

const END = { address: "127.0.0.1", port: 1 };

/** An exchange in memory that keeps what it is told. */
class FakeExchange implements Exchange {
  readonly head: RequestHead;
  readonly facts: ExchangeFacts = {
    id: "test-id",
    traceparent: undefined,
    tracestate: undefined,
    peer: END,
    local: END,
    client: { ...END, vouchedBy: "socket" },
    tls: undefined,
    receivedAt: Date.now(),
    queuedMs: 0,
    deadline: undefined,
  };
  observer: ExchangeObserver | undefined;
  started = false;
  ended = false;
  resumed = 0;
  paused = 0;
  /** What `write` answers. */
  roomy = true;
  readonly calls: unknown[][] = [];

  constructor(head: Partial<RequestHead> = {}) {
    this.head = {
      method: "GET",
      scheme: "http",
      authority: "example.com",
      target: "/",
      version: "1.1",
      headers: ["Host", "example.com"],
      bodyLength: 0,
      upgrade: undefined,
      ...head,
    };
  }

  resume(): void {
    this.resumed += 1;
  }
  pause(): void {
    this.paused += 1;
  }
  inform(status: number, headers: HeaderList): void {
    this.calls.push(["inform", status, headers]);
  }
  respond(status: number, headers: HeaderList, body: Uint8Array | string | null): void {
    this.started = true;
    this.calls.push(["respond", status, headers, body]);
    this.finish();
  }
  start(status: number, headers: HeaderList): void {
    this.started = true;
    this.calls.push(["start", status, headers]);
  }
  write(chunk: Uint8Array | string): boolean {
    this.calls.push(["write", Buffer.from(chunk as string).toString()]);
    return this.roomy;
  }
  end(trailers?: HeaderList): void {
    this.calls.push(["end", trailers]);
    this.finish();
  }
  upgrade(status: number): void {
    this.started = true;
    this.calls.push(["upgrade", status]);
  }
  abort(reason: AbortReason): void {
    this.calls.push(["abort", reason]);
    this.lose(reason);
  }
  finish(): void {
    this.ended = true;
    this.observer?.onFinish();
  }
  lose(reason: AbortReason): void {
    if (this.ended) return;
    this.ended = true;
    this.observer?.onAbort(reason);
  }
  get status(): unknown {
    return this.calls.find(([name]) => name === "respond" || name === "start")?.[1];
  }
}

async function hostOf(application: Application, options: HostOptions = {}): ReturnType<typeof createHost> {
  const host = await createHost(application, { log: silentLogger(), ...options });
  await host.startup();
  return host;
}

async function answer(
  application: Application,
  exchange = new FakeExchange(),
  options: HostOptions = {},
): Promise<FakeExchange> {
  const host = await hostOf(application, options);
  host.handler(exchange);
  await host.idle();
  return exchange;
}

describe("the plain path", () => {
  it("answers in the same turn when the application returns a record", async () => {
    const host = await hostOf(() => ({ headers: ["x-a", "1"], body: "text" }));
    const exchange = new FakeExchange();
    host.handler(exchange);
    expect(exchange.calls).toEqual([
      ["respond", 200, ["x-a", "1", "content-type", "text/plain;charset=UTF-8"], "text"],
    ]);
    expect(host.inFlight).toBe(0);
  });

  it("constructs no Request, Headers, Response, URL, AbortController or stream", async () => {
    const names = ["Request", "Headers", "Response", "URL", "AbortController", "ReadableStream", "Promise"] as const;
    const built: string[] = [];
    const real = Object.fromEntries(names.map((name) => [name, globalThis[name]]));
    vi.resetModules();
    for (const name of names) {
      vi.stubGlobal(
        name,
        new Proxy(globalThis[name], {
          construct(target, parameters, newTarget) {
            built.push(name);
            return Reflect.construct(target, parameters, newTarget as never) as object;
          },
        }),
      );
    }
    try {
      const fresh = await import("../host.ts");
      const host = await fresh.createHost(
        (request, ctx) => ({
          body: `${request.method} ${request.url} ${request.headers.get("host")} ${ctx.id} ${ctx.http.target}`,
        }),
        { log: silentLogger(), globals: "untouched" },
      );
      host.handler(new FakeExchange()); // The first learns the origin of its Host by way of a URL.
      built.length = 0;
      const exchange = new FakeExchange({ target: "/a/b?c=d" });
      host.handler(exchange);
      expect(exchange.calls[0]?.[3]).toBe("GET http://example.com/a/b?c=d example.com test-id /a/b?c=d");
      expect(built).toEqual([]);
      const control = await fresh.createHost((request) => ({ body: request.clone().url }), { globals: "untouched" });
      control.handler(new FakeExchange());
      expect(built).toContain("Request");
    } finally {
      Object.assign(globalThis, real);
      vi.unstubAllGlobals();
      vi.resetModules();
    }
  });

  it("sends a small Response as one whole", async () => {
    const exchange = await answer(() => new Response("text"));
    expect(exchange.calls.map(([name]) => name)).toEqual(["respond"]);
  });
});

describe("failures", () => {
  const logged: object[] = [];
  const log = { ...silentLogger(), error: (fields: object | string) => void logged.push(fields as object) };

  it("are a 500 with the id and a log entry, and a stack only in development", async () => {
    const throws = (): Reply => {
      throw new TypeError("the secret");
    };
    const exchange = await answer(throws, undefined, { log });
    expect(exchange.status).toBe(500);
    expect(String(exchange.calls[0]?.[3])).toMatch(/test-id/);
    expect(String(exchange.calls[0]?.[3])).not.toMatch(/secret/);
    expect(logged).toMatchObject([{ id: "test-id", status: 500, err: { message: "the secret" } }]);
    const development = await answer(throws, undefined, { log, development: true });
    expect(String(development.calls[0]?.[3])).toMatch(/TypeError: the secret\n\s+at /);
  });

  it("name the rule that a reply broke", async () => {
    logged.length = 0;
    await answer(() => ({ headers: { connection: "close" } }), undefined, { log });
    expect(logged).toMatchObject([{ err: { code: "HOP_BY_HOP_FIELD", rule: "T5.2.4" } }]);
  });

  it("of a transport that refuses are a 500 as well", async () => {
    const exchange = new FakeExchange();
    const respond = exchange.respond.bind(exchange);
    let first = true;
    exchange.respond = (...parameters) => {
      if (!first) return respond(...parameters);
      first = false;
      throw new RangeError("refused");
    };
    await answer(() => ({ body: "text" }), exchange, { log });
    expect(exchange.status).toBe(500);
  });

  it("of a target that makes no URL are a 400", async () => {
    const exchange = await answer((request) => ({ body: request.url }), new FakeExchange({ authority: "a b" }));
    expect(exchange.status).toBe(400);
  });
});

describe("lifespan", () => {
  it("takes no request before startup, refuses one that fails, and hands the state on", async () => {
    const events: unknown[] = [];
    const application: Application = {
      fetch: (_request, ctx) => ({ body: JSON.stringify(ctx.state) }),
      lifespan: { startup: async () => ({ ready: true }), shutdown: (state) => void events.push(state) },
    };
    const host = await createHost(application, { log: silentLogger() });
    const early = new FakeExchange();
    host.handler(early);
    expect(early.status).toBe(503);
    await host.startup();
    const exchange = new FakeExchange();
    host.handler(exchange);
    expect(exchange.calls[0]?.[3]).toBe('{"ready":true}');
    await host.shutdown();
    await host.shutdown();
    expect(events).toEqual([{ ready: true }]);

    const failing = await createHost({
      fetch: () => ({}),
      lifespan: { startup: () => Promise.reject(new TypeError("no database")) },
    });
    await expect(failing.startup()).rejects.toMatchObject({ code: "STARTUP", cause: { message: "no database" } });
    await expect(failing.startup()).rejects.toMatchObject({ code: "STARTUP" });
  });

  it("refuses what is no application", async () => {
    await expect(createHost({} as never)).rejects.toMatchObject({ code: "BAD_APPLICATION" });
    const both = Object.assign(() => ({ body: "called" }), { fetch: () => ({ body: "fetched" }) });
    expect((await answer(both)).calls[0]?.[3]).toBe("fetched");
  });
});

describe("what is under way", () => {
  it("is waited for: handlers of lost exchanges, and waitUntil", async () => {
    const handler = Promise.withResolvers<Reply>();
    const work = Promise.withResolvers<void>();
    const host = await hostOf((_request, ctx) => {
      ctx.waitUntil(work.promise);
      return handler.promise;
    });
    const exchange = new FakeExchange();
    host.handler(exchange);
    expect(host.inFlight).toBe(1);
    let idle = false;
    const waiting = host.idle().then(() => (idle = true));
    exchange.lose("client-disconnected");
    expect(host.inFlight).toBe(0);
    await new Promise(setImmediate);
    expect(idle).toBe(false);
    handler.resolve({ body: "late" });
    await new Promise(setImmediate);
    expect(idle).toBe(false);
    work.resolve();
    await waiting;
    expect(exchange.calls).toEqual([]);
  });

  it("hears of a shutdown by its signal, and may still answer", async () => {
    const host = await hostOf(async (_request, ctx) => {
      await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));
      return { body: (ctx.signal.reason as Error).name };
    });
    const exchange = new FakeExchange();
    host.handler(exchange);
    host.interrupt();
    await host.idle();
    expect(exchange.calls[0]).toMatchObject(["respond", 200, expect.anything(), "Shutdown"]);
  });

  it("ends at the deadline of the front", async () => {
    const exchange = new FakeExchange();
    Object.assign(exchange.facts, { deadline: Date.now() + 20 });
    const reasons: unknown[] = [];
    await answer(async (_request, ctx) => {
      await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));
      reasons.push((ctx.signal.reason as PorticoGatewayError).code);
      return {};
    }, exchange);
    expect(reasons).toEqual(["TIMEOUT"]);
    expect(exchange.status).toBe(503);
  });
});

describe("streams", () => {
  it("wait while the transport is full", async () => {
    const made: number[] = [];
    const host = await hostOf(() => ({
      body: (async function* () {
        for (let part = 0; part < 3; part += 1) {
          made.push(part);
          yield `${part}`;
          await new Promise(setImmediate);
        }
      })(),
    }));
    const exchange = new FakeExchange();
    exchange.roomy = false;
    host.handler(exchange);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(made.length).toBeLessThanOrEqual(2); // One is sent, one may be in hand.
    expect(exchange.calls.filter(([name]) => name === "write").length).toBe(1);
    exchange.roomy = true;
    exchange.observer?.onDrain();
    await host.idle();
    expect(exchange.calls.map(([name, what]) => (name === "write" ? what : name))).toEqual([
      "start",
      "0",
      "1",
      "2",
      "end",
    ]);
  });

  it("are let go of with the reason when the reply comes too late", async () => {
    const reasons: unknown[] = [];
    const reply = Promise.withResolvers<Reply>();
    const host = await hostOf(() => reply.promise);
    const exchange = new FakeExchange();
    host.handler(exchange);
    exchange.lose("reset");
    reply.resolve(
      new Response(new ReadableStream({ cancel: (reason: PorticoGatewayError) => void reasons.push(reason.code) })),
    );
    await host.idle();
    expect(reasons).toEqual(["CLIENT_DISCONNECTED"]);
  });

  it("of a request pause the transport at the read-ahead, and go on when read", async () => {
    let body: ReadableStream<Uint8Array> | null = null;
    const host = await hostOf((request) => {
      body = request.body;
      return new Promise<Reply>(() => {});
    });
    const exchange = new FakeExchange({ method: "POST", bodyLength: -1 });
    host.handler(exchange);
    expect(exchange.resumed).toBe(0);
    const reader = (body as unknown as ReadableStream<Uint8Array>).getReader();
    const first = reader.read();
    await new Promise(setImmediate);
    expect(exchange.resumed).toBe(1);
    exchange.observer?.onData(new Uint8Array(10));
    expect((await first).value?.length).toBe(10);
    exchange.observer?.onData(new Uint8Array(70_000));
    expect(exchange.paused).toBe(1);
    expect((await reader.read()).value?.length).toBe(70_000);
    const last = reader.read();
    await new Promise(setImmediate);
    expect(exchange.resumed).toBe(2);
    exchange.observer?.onEnd([]);
    expect((await last).done).toBe(true);
  });
});

describe("the lazy request", () => {
  /** Runs `use` with a request of the host. */
  async function withRequest<T>(
    head: Partial<RequestHead>,
    use: (request: Request, ctx: Context, exchange: FakeExchange) => T,
  ): Promise<T> {
    const result = Promise.withResolvers<T>();
    const exchange = new FakeExchange(head);
    const host = await hostOf((request, ctx) => {
      // The host answers what is thrown here; the test must hear of it as well.
      try {
        result.resolve(use(request, ctx, exchange));
      } catch (error) {
        result.reject(error);
      }
      return {};
    });
    host.handler(exchange);
    return result.promise;
  }

  it("is accepted by Request, by classes that extend it, and shows every member", async () => {
    class Mine extends Request {}
    await withRequest({ method: "PUT", headers: ["X-A", "1"], target: "/a" }, (request) => {
      for (const made of [new Request(request), new Mine(request), new Mine(request, { headers: { "x-b": "2" } })]) {
        expect([made.method, made.url, made instanceof Request]).toEqual(["PUT", "http://example.com/a", true]);
      }
      for (const key of Reflect.ownKeys(Request.prototype)) expect(() => Reflect.get(request, key)).not.toThrow();
      expect([request.redirect, request.credentials, Object.prototype.toString.call(request)]).toEqual([
        "follow",
        "same-origin",
        "[object Request]",
      ]);
      expect(new Headers(request.headers).get("x-a")).toBe("1");
    });
  });

  it("shares changes of its headers with the real one", async () => {
    await withRequest({ headers: ["X-A", "1"] }, (request) => {
      const { headers } = request;
      headers.set("x-b", "2");
      const clone = request.clone();
      headers.set("x-c", "3");
      expect([clone.headers.get("x-b"), request.headers.get("x-c"), new Request(request).headers.get("x-c")]).toEqual([
        "2",
        "3",
        "3",
      ]);
    });
  });

  it("keeps methods that the constructor of Request refuses", async () => {
    await withRequest({ method: "TRACE" }, (request) =>
      expect([request.method, request.clone() !== null]).toEqual(["TRACE", true]),
    );
  });

  it("has the URL that the URL standard writes, whatever the target", () => {
    const character = fc.constantFrom(...Array.from(String.raw`abcAZ09/.?%2eE~!$&'()*+,;=:@-_"<>[\]^{|}#`));
    fc.assert(
      fc.property(
        fc.array(character, { maxLength: 12 }),
        fc.constantFrom("example.com", "EXAMPLE.com:80", "a.b:8080", "127.1", "[::1]:3000"),
        (characters, authority) => {
          const target = `/${characters.join("")}`;
          const head = { ...new FakeExchange().head, authority, target };
          expect(urlOf(head)).toBe(new URL(`http://${authority}${target}`).href);
        },
      ),
      { numRuns: 5_000 },
    );
  });

  it("has the headers that the fetch standard makes of the fields", () => {
    const name = fc.constantFrom("a", "A", "x-b", "X-B", "Cookie", "cookie", "Accept", "Set-Cookie");
    fc.assert(
      fc.property(
        fc.array(fc.tuple(name, fc.stringMatching(/^[a-z0-9]([ -~]{0,4}[a-z0-9])?$/)), { maxLength: 6 }),
        (pairs) => {
          const lazy = new LazyHeaders(pairs.flat()) as unknown as Headers;
          const real = new Headers(pairs);
          for (const asked of ["a", "X-b", "cookie", "ACCEPT", "set-cookie", "absent"]) {
            expect([lazy.get(asked), lazy.has(asked)]).toEqual([real.get(asked), real.has(asked)]);
          }
          expect([...lazy]).toEqual([...real]);
        },
      ),
    );
    expect(() => (new LazyHeaders([]) as unknown as Headers).get("bad name")).toThrow(TypeError);
  });
});

describe("what a front does", () => {
  const ask = async (options: HostOptions, said: string[] | undefined, path = "/srv/files/a b/ü.bin") => {
    const exchange = new FakeExchange();
    Object.assign(exchange.facts, { front: said });
    return await answer(
      (_request, ctx) => {
        const { file, internalRedirect, cache } = ctx.spec.capabilities;
        return path === "" ? { body: JSON.stringify([file, internalRedirect, cache]) } : ctx.file(path);
      },
      exchange,
      options,
    );
  };
  const capabilities = async (options: HostOptions, said?: string[]): Promise<unknown> =>
    JSON.parse(String((await ask(options, said, "")).calls[0]?.[3]));

  it("is a capability where it says so, over the link or by the operator, and was not taken away", async () => {
    expect(await capabilities({})).toEqual([true, false, false]);
    expect(await capabilities({}, ["tunnel"])).toEqual([true, false, false]);
    expect(await capabilities({}, ["accel", "cache"])).toEqual([true, true, true]);
    expect(await capabilities({ front: { files: { "/srv": "/x/" } } })).toEqual([true, true, false]);
    expect(await capabilities({ capabilities: { cache: false, file: false } }, ["cache"])).toEqual([
      false,
      false,
      false,
    ]);
  });

  it("is to send the files of its folders; others the host reads itself", async () => {
    const front = { files: { "/srv/files": "/protected" } };
    const sent = await ask({ front }, undefined);
    expect(sent.calls[0]).toEqual(["respond", 200, ["x-accel-redirect", "/protected/a%20b/%C3%BC.bin"], null]);
    for (const path of ["/srv/filesystem/a", "/srv/files/../secret", "/srv/files//a", "/nowhere"])
      expect([path, (await ask({ front }, undefined, path)).status]).toEqual([path, 404]);
  });
});

describe("frameworks", () => {
  const test = createRequire(new URL("../../../../test/package.json", import.meta.url));
  const load = (name: string): Promise<Record<string, never>> =>
    import(pathToFileURL(test.resolve(name)).href) as Promise<Record<string, never>>;

  async function post(application: Application, target: string, body: string): Promise<FakeExchange> {
    const exchange = new FakeExchange({
      method: "POST",
      target,
      bodyLength: body.length,
      headers: ["Content-Type", "application/json", "Content-Length", String(body.length)],
    });
    const host = await hostOf(application);
    exchange.resume = () => {
      queueMicrotask(() => {
        exchange.observer?.onData(Buffer.from(body));
        exchange.observer?.onEnd([]);
      });
      exchange.resume = () => {};
    };
    host.handler(exchange);
    await host.idle();
    return exchange;
  }

  it("Hono: JSON, a middleware that makes a new Request of ours, and the context as env", async () => {
    interface HonoContext {
      req: { json(): Promise<unknown> };
      env: Context;
      json(value: unknown): Response;
    }
    const { Hono } = (await load("hono")) as unknown as {
      Hono: new () => {
        use(...handlers: unknown[]): void;
        post(path: string, handler: (c: HonoContext) => Promise<Response>): void;
        fetch: Application;
      };
    };
    const { bodyLimit } = (await load("hono/body-limit")) as unknown as { bodyLimit: (options: object) => unknown };
    const hono = new Hono();
    hono.use(bodyLimit({ maxSize: 20 }));
    hono.post("/json", async (c) => c.json({ body: await c.req.json(), id: c.env.id }));
    const exchange = await post(hono as never, "/json", '{"a":1}');
    expect([exchange.status, Buffer.from(exchange.calls[0]?.[3] as Uint8Array).toString()]).toEqual([
      200,
      '{"body":{"a":1},"id":"test-id"}',
    ]);
    expect((await post(hono as never, "/json", JSON.stringify("x".repeat(30)))).status).toBe(413);
  });

  it("h3: JSON", async () => {
    const { H3, readBody } = (await load("h3")) as unknown as {
      H3: new () => { post(path: string, handler: (event: unknown) => unknown): unknown; fetch: Application };
      readBody: (event: unknown) => Promise<unknown>;
    };
    const h3 = new H3();
    h3.post("/json", async (event: unknown) => ({ body: await readBody(event) }));
    const exchange = await post(h3 as never, "/json", '{"a":1}');
    expect(exchange.status).toBe(200);
    const body = exchange.calls
      .map(([name, , , whole]) => (name === "respond" ? Buffer.from(whole as Uint8Array).toString() : ""))
      .join("");
    expect(JSON.parse(body)).toEqual({ body: { a: 1 } });
  });
});
