import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { FetchExchange } from "./adapters/exchange.ts";
import type { Application, FetchHandler } from "./application.ts";
import type { Context } from "./context.ts";
import { PorticoGatewayError } from "./errors.ts";
import type { ExchangeFacts, ExchangeHandler, HeaderList, RequestHead } from "./exchange.ts";
import { createHost, type Host, type HostOptions } from "./host.ts";

/** A TSGI application as a listener for `http.createServer`. */
export interface NodeListener {
  (request: IncomingMessage, response: ServerResponse): void;
  /** For the server's `upgrade` event; without it upgrades never reach the application. */
  readonly upgrade: (request: IncomingMessage, socket: Duplex, early: Buffer) => void;
  /** For the server's `checkContinue` event; without it node:http answers 100 Continue itself, at once. */
  readonly checkContinue: (request: IncomingMessage, response: ServerResponse) => void;
  /** Resolves when `lifespan.startup` has; rejects with its failure. Requests that come earlier wait for it. */
  readonly ready: Promise<void>;
  /** Waits for what is under way, then runs `lifespan.shutdown`. */
  shutdown(): Promise<void>;
}

/**
 * Application → listener of `node:http`.
 *
 * @example
 * const listener = toNodeListener(application);
 * const server = createServer(listener).on("upgrade", listener.upgrade).on("checkContinue", listener.checkContinue);
 * await listener.ready;
 * server.listen(3000);
 */
export function toNodeListener<State>(application: Application<State>, options: HostOptions = {}): NodeListener {
  const starting = start(application, options);
  const feeding = Promise.all([starting, import("./reference/feed.ts")]).then(([host, { feedOf }]) => feedOf(host));
  feeding.catch(() => {}); // `ready` is where a failure is told; here each request tells its client.
  const ready = feeding.then(() => {});
  ready.catch(() => {});
  const whenReady = (response: ServerResponse | Duplex, run: (feed: Awaited<typeof feeding>) => void): void => {
    feeding.then(run, () => refuse(response));
  };
  return Object.assign(
    (request: IncomingMessage, response: ServerResponse) =>
      whenReady(response, (feed) => feed.request(request, response)),
    {
      upgrade: (request: IncomingMessage, socket: Duplex, early: Buffer) =>
        whenReady(socket, (feed) => feed.upgrade(request, socket, early)),
      checkContinue: (request: IncomingMessage, response: ServerResponse) =>
        whenReady(response, (feed) => feed.checkContinue(request, response)),
      ready,
      shutdown: async () => stop(await starting),
    },
  );
}

/** What Workers give beside a request. */
interface ExecutionContext {
  waitUntil(work: Promise<unknown>): void;
}

/** A TSGI application as a module for Bun, Deno and Workers. */
export interface FetchModule {
  fetch(request: Request, env?: unknown, execution?: ExecutionContext): Promise<Response>;
  /** Waits for what is under way, then runs `lifespan.shutdown`. */
  shutdown(): Promise<void>;
}

/** What fetch handlers of other platforms have no way for. */
const FETCH_CAPABILITIES = {
  upgrade: false,
  earlyHints: false,
  trailers: false,
  requestTrailers: false,
  buffering: false,
};

/**
 * Application → `{ fetch }` module. `lifespan.startup` runs before the first request; its failure is that of every request.
 * The addresses of peer and client are empty: fetch does not tell them.
 *
 * @example
 * export default toFetchModule(application);
 */
export function toFetchModule<State>(application: Application<State>, options: HostOptions = {}): FetchModule {
  let starting: Promise<Host> | undefined;
  const hostOf = (): Promise<Host> => {
    return (starting ??= start(application, {
      ...options,
      capabilities: { ...options.capabilities, ...FETCH_CAPABILITIES },
    }));
  };
  return {
    async fetch(request, _env, execution): Promise<Response> {
      const host = await hostOf();
      const exchange = new FetchExchange(request, headOf(request), new FetchFacts(request));
      host.handler(exchange);
      const { status = 200, headers, body = null } = await exchange.reply;
      execution?.waitUntil(host.idle());
      return new Response(body as string | Uint8Array<ArrayBuffer> | ReadableStream | null, {
        status,
        headers: pairsOf(headers as HeaderList),
      });
    },
    async shutdown(): Promise<void> {
      if (starting !== undefined) await stop(await starting);
    },
  };
}

/**
 * Listener of `node:http` → application: Express, Koa, Fastify's handler, or a plain function. It gets the real `IncomingMessage`
 * and `ServerResponse`. Upgrades are not passed on: attach the server itself for those.
 *
 * @example
 * export default fromNodeListener(express());
 */
export function fromNodeListener(listener: (request: IncomingMessage, response: ServerResponse) => void): FetchHandler {
  let loading: Promise<ExchangeHandler> | undefined;
  return async (request, ctx) => {
    loading ??= import("./node.ts").then(({ nodeHandler }) => nodeHandler(listener));
    const handler = await loading;
    const exchange = new FetchExchange(request, rawHeadOf(request, ctx), factsOf(ctx));
    handler(exchange);
    return exchange.reply;
  };
}

async function start<State>(application: Application<State>, options: HostOptions): Promise<Host> {
  const host = await createHost(application, options);
  await host.startup();
  return host;
}

async function stop(host: Host): Promise<void> {
  await host.idle();
  await host.shutdown();
}

function refuse(response: ServerResponse | Duplex): void {
  if ("writeHead" in response)
    response.writeHead(503, { "content-type": "text/plain" }).end("503 Service Unavailable\n");
  else response.end("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
}

/** The head of a request that only fetch has seen: its URL normalised, its fields joined and sorted. */
function headOf(request: Request): RequestHead {
  const url = new URL(request.url);
  const headers: HeaderList = [];
  for (const [name, value] of request.headers) headers.push(name, value);
  const declared = request.headers.get("content-length");
  let bodyLength = 0;
  if (request.body !== null) bodyLength = declared === null ? -1 : Number(declared);
  return {
    method: request.method,
    scheme: url.protocol === "https:" ? "https" : "http",
    authority: url.host,
    target: url.pathname + url.search,
    version: "1.1",
    headers,
    bodyLength,
    upgrade: undefined,
  };
}

const UNKNOWN_END = { address: "", port: 0 };

class FetchFacts implements ExchangeFacts {
  readonly id: string = crypto.randomUUID();
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
  readonly peer: ExchangeFacts["peer"] = UNKNOWN_END;
  readonly local: ExchangeFacts["local"] = UNKNOWN_END;
  readonly client: ExchangeFacts["client"] = { ...UNKNOWN_END, vouchedBy: "socket" };
  readonly tls: undefined = undefined;
  readonly receivedAt: number = Date.now();
  readonly queuedMs = 0;
  readonly deadline: undefined = undefined;

  constructor(request: Request) {
    const given = request.headers.get("traceparent");
    const valid = given !== null && /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/.test(given);
    this.traceparent = valid ? given : undefined;
    this.tracestate = valid ? (request.headers.get("tracestate") ?? undefined) : undefined;
  }
}

function rawHeadOf(request: Request, ctx: Context): RequestHead {
  const { http } = ctx;
  const declared = request.headers.get("content-length");
  let bodyLength = 0;
  if (request.body !== null) bodyLength = declared === null ? -1 : Number(declared);
  return { ...http, headers: [...http.headers], bodyLength, upgrade: undefined };
}

function factsOf(ctx: Context): ExchangeFacts {
  const { connection, time, trace } = ctx;
  return {
    id: ctx.id,
    ...trace,
    ...connection,
    receivedAt: time.received,
    queuedMs: time.queued,
    deadline: time.deadline,
  };
}

function pairsOf(list: HeaderList): [string, string][] {
  if (list.length % 2 !== 0) throw new PorticoGatewayError("BAD_FIELD", "A flat header list has a name without value");
  const pairs: [string, string][] = [];
  for (let at = 0; at < list.length; at += 2) pairs.push([list[at] as string, list[at + 1] as string]);
  return pairs;
}
