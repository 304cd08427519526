import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { ApplicationObject, Reply } from "../application.ts";
import type { Capability, Context } from "../context.ts";

/** What the cases cannot see in a response is noted here under a token of the case, and asked for afterwards. */
const notes = new Map<string, string[]>();
/** Handlers that wait for another request with the same token. */
const waiting = new Map<string, () => void>();

/** An error with a message that no client may ever see. */
class SecretError extends TypeError {}

type Handler = (request: Request, ctx: Context<KitState>, query: URLSearchParams) => Reply | Promise<Reply>;

interface KitState {
  startups: number;
}

function note(token: string, what: string): void {
  notes.set(token, [...(notes.get(token) ?? []), what]);
}

function json(value: unknown): Reply {
  return { headers: { "content-type": "application/json" }, body: JSON.stringify(value) };
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | null)?.code);
}

function tokenOf(query: URLSearchParams): string {
  return query.get("token") ?? "";
}

/** Replies that break a rule, by name. Each must become a 500. */
const BAD_REPLIES: Record<string, () => unknown> = {
  undefined: () => undefined,
  number: () => 42,
  string: () => "text",
  null: () => null,
  "other-object": () => ({ code: 200, text: "no" }),
  "status-99": () => ({ status: 99 }),
  "status-101": () => ({ status: 101 }),
  "status-600": () => ({ status: 600 }),
  "status-text": () => ({ status: "200" }),
  "name-space": () => ({ headers: { "bad name": "x" } }),
  "name-empty": () => ({ headers: [["", "x"]] }),
  "name-newline": () => ({ headers: { "x\r\ny": "x" } }),
  "value-cr": () => ({ headers: { "x-a": "a\rb" } }),
  "value-lf": () => ({ headers: { "x-a": "a\nset-cookie: stolen=1" } }),
  "value-nul": () => ({ headers: { "x-a": "a\0b" } }),
  "value-wide": () => ({ headers: { "x-a": "\u20ac" } }),
  "hop-connection": () => ({ headers: { connection: "close" } }),
  "hop-te": () => ({ headers: { "Transfer-Encoding": "chunked" } }),
  "hop-upgrade": () => ({ headers: { upgrade: "h2c" } }),
  "hop-keep-alive": () => ({ headers: { "keep-alive": "timeout=5" } }),
  "length-text": () => ({ headers: { "content-length": "five" }, body: "12345" }),
  "length-twice": () => ({
    headers: [
      ["content-length", "5"],
      ["Content-Length", "5"],
    ],
    body: "12345",
  }),
  "length-more": () => ({ headers: { "content-length": "6" }, body: "12345" }),
  "length-less": () => ({ headers: { "content-length": "4" }, body: "12345" }),
  "body-number": () => ({ body: 42 }),
  "body-object": () => ({ body: { a: 1 } }),
};

const BODIES: Record<string, () => Reply | Promise<Reply>> = {
  string: () => ({ body: "gr\u00fc\u00dfe" }),
  bytes: () => ({ body: new Uint8Array([0, 255, 10]) }),
  buffer: () => ({ body: new Uint8Array([1, 2, 3]).buffer }),
  null: () => ({ body: null }),
  absent: () => ({}),
  stream: () => ({ body: new Blob(["one", "two"]).stream() }),
  iterable: () => ({ body: parts("one", "two") }),
  "iterable-bytes": () => ({ body: parts(new Uint8Array([1]), new Uint8Array([2])) }),
  "iterable-empty": () => ({ body: parts() }),
  blob: () => ({ body: new Blob(["blob"], { type: "text/x-blob" }) }),
  query: () => ({ body: new URLSearchParams({ a: "1 2" }) }),
  "response-string": () => new Response("text"),
  "response-bytes": () => new Response(new Uint8Array([0, 255])),
  "response-json": () => Response.json({ a: 1 }),
  "response-null": () => new Response(null),
  "response-stream": () => new Response(new Blob(["one"]).stream()),
  "response-redirect": () => Response.redirect("http://example.com/there", 302),
  promise: async () => ({ body: "later" }),
  large: () => ({ body: "x".repeat(1 << 20) }),
};

let kitFolder: Promise<{ folder: string; path: string }> | undefined;

/** A file of 200,000 bytes in a folder of its own, removed when the process ends. */
function kitFile(): Promise<{ folder: string; path: string }> {
  kitFolder ??= (async () => {
    const { mkdtemp, writeFile } = await import("node:fs/promises");
    const { tmpdir } = await import("node:os");
    const { join } = await import("node:path");
    const { rmSync } = await import("node:fs");
    const folder = await mkdtemp(join(tmpdir(), "tsgi-kit-"));
    process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, "a file.bin");
    await writeFile(path, Buffer.alloc(200_000, "0123456789abcdef"));
    return { folder, path };
  })();
  return kitFolder;
}

async function* parts(...values: (string | Uint8Array)[]): AsyncGenerator<string | Uint8Array> {
  for (const value of values) {
    await delay(1);
    yield value;
  }
}

/** Yields until it is closed, and notes how much it made and that it was closed. */
async function* endless(token: string, size: number): AsyncGenerator<Uint8Array> {
  let made = 0;
  try {
    for (;;) {
      yield new Uint8Array(size);
      made += size;
      notes.set(`${token}-made`, [String(made)]);
      await delay(0);
    }
  } finally {
    note(token, "closed");
  }
}

const ABSENT_CALLS: Partial<Record<Capability, (ctx: Context) => unknown>> = {
  upgrade: (ctx) => ctx.upgrade(() => {}),
  earlyHints: (ctx) => ctx.earlyHints({ link: "</a>; rel=preload" }),
  trailers: (ctx) => ctx.trailers({ "x-a": "1" }),
  requestTrailers: (ctx) => ctx.requestTrailers,
  waitUntil: (ctx) => ctx.waitUntil(Promise.resolve()),
  buffering: (ctx) => ctx.buffering(false),
  file: (ctx) => ctx.file("/nowhere"),
  internalRedirect: (ctx) => ctx.internalRedirect("/nowhere"),
  cache: (ctx) => ctx.cache.tags("a"),
  compress: (ctx) => ctx.compress(false),
};

const ROUTES: Record<string, Handler> = {
  "/notes": (_request, _ctx, query) => json(notes.get(tokenOf(query)) ?? []),
  "/count": (_request, _ctx, query) => {
    note(tokenOf(query), "run");
    return { body: "counted" };
  },
  "/rendezvous": async (_request, _ctx, query) => {
    const token = tokenOf(query);
    const other = waiting.get(token);
    if (other !== undefined) other();
    else await new Promise<void>((resolve) => waiting.set(token, resolve));
    return { body: "met" };
  },
  "/state": (_request, ctx) => json({ startups: ctx.state.startups }),
  "/throw": () => {
    throw new SecretError("the secret of the house");
  },
  "/reject": async () => {
    await delay(1);
    throw new SecretError("the secret of the house");
  },
  "/reject-nothing": () => Promise.reject(undefined),
  "/handled": () => {
    throw new RangeError("handled");
  },
  "/spec": (_request, ctx) => json({ ...ctx.spec }),
  "/absent": (_request, ctx) => {
    const results: Record<string, string> = {};
    for (const [name, call] of Object.entries(ABSENT_CALLS)) {
      if (ctx.spec.capabilities[name as Capability]) continue;
      try {
        call(ctx);
        results[name] = "nothing";
      } catch (error) {
        results[name] = codeOf(error);
      }
    }
    return json(results);
  },
  "/facts": (_request, ctx) =>
    json({
      id: ctx.id,
      trace: ctx.trace,
      http: ctx.http,
      mount: ctx.mount,
      connection: ctx.connection,
      time: ctx.time,
      worker: ctx.worker,
      now: Date.now(),
    }),
  "/hang": async (_request, ctx, query) => {
    const token = tokenOf(query);
    ctx.onFinished((reason) => note(token, `finished ${reason?.code}`));
    note(token, "begun");
    await new Promise<void>((resolve) => ctx.signal.addEventListener("abort", () => resolve(), { once: true }));
    const reason = ctx.signal.reason as Error;
    note(token, `aborted ${reason.name} ${codeOf(reason)}`);
    return { body: "too late" };
  },
  "/completes": (_request, ctx, query) => {
    const token = tokenOf(query);
    ctx.signal.addEventListener("abort", () => note(token, "aborted"));
    ctx.onFinished((reason) => note(token, `finished ${reason?.code}`));
    return { body: "complete" };
  },
  "/timeout": async (_request, ctx, query) => {
    ctx.limits.set({ time: 50 });
    await new Promise<void>((resolve) => ctx.signal.addEventListener("abort", () => resolve(), { once: true }));
    note(tokenOf(query), codeOf(ctx.signal.reason));
    return { body: "too late" };
  },
  "/log": (_request, ctx) => {
    ctx.log.debug({ kit: true }, "the conformance kit says hello");
    ctx.log.child({ part: "kit" }).debug("the conformance kit says hello");
    ctx.errors.write("");
    return json([typeof ctx.log.info, typeof ctx.log.warn, typeof ctx.log.error]);
  },
  "/request": (request) =>
    json({
      instance: request instanceof Request,
      headersInstance: request.headers instanceof Headers,
      method: request.method,
      url: request.url,
      a: request.headers.get("X-A"),
      all: [...request.headers].filter(([name]) => name.startsWith("x-")),
      body: request.body === null ? "null" : "stream",
      redirect: request.redirect,
    }),
  "/request/again": async (request) => {
    const again = new Request(request, { headers: { "x-again": "yes" } });
    return json({
      method: again.method,
      again: again.headers.get("x-again"),
      text: await again.text(),
      used: request.bodyUsed,
    });
  },
  "/request/clone": async (request) => {
    const clone = request.clone();
    return json([await request.text(), await clone.text()]);
  },
  "/request/twice": async (request) => {
    const text = await request.text();
    const second = await request.text().then(
      () => "read twice",
      () => "rejected",
    );
    return json({ text, second, used: request.bodyUsed });
  },
  "/request/json": async (request) => json(await request.json()),
  "/request/form": async (request) =>
    json(
      [...(await request.formData())].map(([name, value]) => [name, typeof value === "string" ? value : value.name]),
    ),
  "/echo": async (request) => ({ body: await request.bytes() }),
  "/echo/stream": (request) => ({ body: request.body }),
  "/digest": async (request) => {
    const hash = createHash("sha256");
    let bytes = 0;
    if (request.body !== null) {
      for await (const chunk of request.body) {
        hash.update(chunk as Uint8Array);
        bytes += (chunk as Uint8Array).length;
      }
    }
    return json({ bytes, digest: hash.digest("hex") });
  },
  "/refuse": () => ({ status: 403, body: "refused unread" }),
  "/unread": async (_request, ctx, query) => {
    await new Promise<void>((resolve) => {
      waiting.set(tokenOf(query), resolve);
      ctx.signal.addEventListener("abort", () => resolve(), { once: true });
    });
    return { body: "never read" };
  },
  "/release": (_request, _ctx, query) => {
    waiting.get(tokenOf(query))?.();
    return { body: "released" };
  },
  "/truncated": async (request, _ctx, query) => {
    note(tokenOf(query), "begun");
    note(
      tokenOf(query),
      await request.bytes().then(
        () => "read whole",
        (error: unknown) => `rejected ${codeOf(error)}`,
      ),
    );
    return { body: "" };
  },
  "/request-trailers": async (request, ctx) => {
    const trailers = ctx.requestTrailers;
    const text = await request.text();
    return json({ text, trailers: [...(await trailers)] });
  },
  "/limited": async (request, ctx) => {
    ctx.limits.set({ bodySize: 10 });
    return { body: await request.text() };
  },
  "/raise": (_request, ctx) => {
    ctx.limits.set({ bodySize: 10 });
    try {
      ctx.limits.set({ bodySize: 11 });
      return { body: "raised" };
    } catch (error) {
      return { body: codeOf(error) };
    }
  },
  "/headers/object": () => ({ headers: { "X-A": "1", "x-n": 2, "set-cookie": ["a=1", "b=2"] }, body: "" }),
  "/headers/pairs": () => ({
    headers: [
      ["x-a", "1"],
      ["set-cookie", "a=1"],
      ["set-cookie", "b=2"],
    ],
    body: "",
  }),
  "/headers/flat": () => ({ headers: ["x-a", "1", "set-cookie", "a=1", "set-cookie", "b=2"], body: "" }),
  "/headers/headers": () => ({
    headers: new Headers([
      ["x-a", "1"],
      ["set-cookie", "a=1"],
      ["set-cookie", "b=2"],
    ]),
    body: "",
  }),
  "/headers/response": () =>
    new Response("", {
      headers: [
        ["x-a", "1"],
        ["set-cookie", "a=1"],
        ["set-cookie", "b=2"],
      ],
    }),
  "/headers/framework": () =>
    new Response("framed", { headers: { connection: "keep-alive", "transfer-encoding": "chunked", "x-a": "1" } }),
  "/headers/latin1": () => ({ headers: { "x-a": "gr\u00fc\u00dfe" }, body: "" }),
  "/used": async () => {
    const response = new Response("text");
    await response.text();
    return response;
  },
  "/length/stream-short": () => ({ headers: { "content-length": "10" }, body: parts("one", "two") }),
  "/length/stream-long": () => ({ headers: { "content-length": "4" }, body: parts("one", "two") }),
  "/length/stream-exact": () => ({ headers: { "content-length": "6" }, body: parts("one", "two") }),
  "/stream-fails": () => ({
    body: (async function* () {
      yield "one";
      await delay(20);
      throw new SecretError("the secret of the house");
    })(),
  }),
  "/status": (_request, _ctx, query) => ({
    status: Number(query.get("status")),
    ...(query.get("length") === null ? {} : { headers: { "content-length": query.get("length") as string } }),
    body: query.get("body"),
  }),
  "/endless": (_request, ctx, query) => {
    if (ctx.spec.capabilities.buffering) ctx.buffering(false);
    return { body: endless(tokenOf(query), 65_536) };
  },
  "/endless-stream": (_request, ctx, query) => {
    if (ctx.spec.capabilities.buffering) ctx.buffering(false);
    return new Response(
      new ReadableStream({
        async pull(controller): Promise<void> {
          await delay(1);
          controller.enqueue(new Uint8Array(1024));
        },
        cancel: (reason: unknown) => note(tokenOf(query), `cancelled ${codeOf(reason)}`),
      }),
    );
  },
  "/drip": (_request, ctx, query) => {
    if (ctx.spec.capabilities.buffering) ctx.buffering(false);
    const token = tokenOf(query);
    return {
      body: (async function* () {
        yield "first";
        await new Promise<void>((resolve) => waiting.set(token, resolve));
        yield "second";
      })(),
    };
  },
  "/late-first": (_request, ctx, query) => {
    if (ctx.spec.capabilities.buffering) ctx.buffering(false);
    const token = tokenOf(query);
    return {
      headers: { "x-early": "yes" },
      body: (async function* () {
        await new Promise<void>((resolve) => waiting.set(token, resolve));
        yield "first";
      })(),
    };
  },
  "/early-hints": (_request, ctx) => {
    ctx.earlyHints({ link: "</style.css>; rel=preload" });
    return { body: "after the hints" };
  },
  "/trailers": (_request, ctx) => {
    ctx.trailers({ "x-sum": "given" });
    return { body: "body" };
  },
  "/trailers/computed": (_request, ctx) => {
    let length = 0;
    ctx.trailers(() => ({ "x-sum": String(length) }));
    return {
      body: (async function* () {
        for (const part of ["one", "two"]) {
          length += part.length;
          yield part;
        }
      })(),
    };
  },
  "/buffering": (_request, ctx) => {
    ctx.buffering(false);
    return { body: "unbuffered" };
  },
  "/file": async (_request, ctx, query) => {
    const { folder, path } = await kitFile();
    if (query.has("missing")) return ctx.file(`${path}.missing`);
    return ctx.file(query.has("folder") ? folder : path, { headers: { "content-type": "application/x-kit" } });
  },
  "/redirect": (_request, ctx) => ctx.internalRedirect("/body/string?a=%20b", { headers: { "x-kept": "yes" } }),
  "/compress": (_request, ctx) => {
    ctx.compress(false);
    return { headers: { "cache-control": "private" }, body: "x".repeat(10_000) };
  },
  "/cached": (_request, ctx) => {
    ctx.cache.tags("a", "b");
    ctx.cache.ttl(60);
    ctx.cache.staleWhileRevalidate(30);
    return { body: "cached" };
  },
  "/purges": (_request, ctx, query) => {
    const done = ctx.cache.purge({ url: '/a"b', prefix: "/c/" });
    void Promise.all([done, ctx.cache.purge({ tag: "news" }, "hard")]).then(() => note(tokenOf(query), "purged"));
    return { body: "purging" };
  },
  "/too-late": (_request, ctx, query) => {
    setTimeout(() => {
      try {
        ctx.earlyHints({ link: "</a>; rel=preload" });
        note(tokenOf(query), "nothing");
      } catch (error) {
        note(tokenOf(query), codeOf(error));
      }
    }, 50);
    return { body: "replied" };
  },
  "/upgrade-here": (_request, ctx) => ctx.upgrade(() => {}),
  "/work": (_request, ctx, query) => {
    const token = tokenOf(query);
    ctx.waitUntil(delay(50).then(() => note(token, "work done")));
    ctx.waitUntil(delay(1).then(() => Promise.reject(new SecretError("the secret of the house"))));
    ctx.onFinished(() => {
      throw new SecretError("the secret of the house");
    });
    return { body: "replied" };
  },
};

/**
 * The application that the cases talk to. Serve it with any TSGI server, in one worker, at the root.
 */
export const conformanceApplication: ApplicationObject<KitState> & { readonly name: string } = {
  name: "conformance",
  lifespan: {
    startup: async (): Promise<KitState> => {
      await delay(5);
      startups += 1;
      return { startups };
    },
  },
  fetch(request, ctx) {
    const url = new URL(request.url);
    if (url.pathname === "/this") return { body: this === conformanceApplication ? "itself" : "something else" };
    const bad = /^\/bad\/(.+)$/.exec(url.pathname)?.[1];
    if (bad !== undefined) return BAD_REPLIES[bad]?.() as Reply;
    const body = /^\/body\/(.+)$/.exec(url.pathname)?.[1];
    if (body !== undefined) return (BODIES[body] as () => Reply)();
    if (url.pathname.startsWith("/raw/")) return json(ctx.http);
    const route = ROUTES[url.pathname];
    return route === undefined ? { status: 404, body: "no such case" } : route(request, ctx, url.searchParams);
  },
  websocket(request, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname === "/ws/deny") return { status: 403, headers: { "x-denied": "yes" }, body: "denied" };
    if (pathname === "/ws/own") {
      return ctx.upgrade(
        (tunnel, upgrade) => {
          const { "sec-websocket-key": key = "" } = upgrade.headers;
          const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
          tunnel.write(
            `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nX-Own: yes\r\n\r\n`,
          );
          tunnel.pipe(tunnel);
        },
        { handshake: "application" },
      );
    }
    return ctx.upgrade((tunnel) => void tunnel.pipe(tunnel), { headers: { "x-accepted": "yes" } });
  },
  onError(error) {
    if (error instanceof RangeError && error.message === "handled")
      return { status: 418, body: "handled by the application" };
    throw error;
  },
};

let startups = 0;

/** Names of the replies under `/bad/` by rule, for the cases. */
export const BAD_REPLY_NAMES: readonly string[] = Object.keys(BAD_REPLIES);
