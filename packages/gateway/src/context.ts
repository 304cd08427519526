import type { Duplex } from "node:stream";
import type { RecordHeaders, Reply } from "./application.ts";
import type { PorticoGatewayError } from "./errors.ts";
import type { ClientFacts, Endpoint, HeaderList, TlsFacts } from "./exchange.ts";

/** Optional features. A host that lacks one says so in `ctx.spec.capabilities`, and its methods throw `CAPABILITY_ABSENT`. */
export interface Capabilities {
  /** `ctx.upgrade()` */
  readonly upgrade: boolean;
  /** `ctx.earlyHints()` */
  readonly earlyHints: boolean;
  /** `ctx.trailers()` */
  readonly trailers: boolean;
  /** `ctx.requestTrailers` */
  readonly requestTrailers: boolean;
  /** `ctx.waitUntil()` */
  readonly waitUntil: boolean;
  /** `ctx.buffering()` */
  readonly buffering: boolean;
  /** `ctx.limits` may be raised, not only lowered. */
  readonly raiseLimits: boolean;
  /** `ctx.file()` */
  readonly file: boolean;
  /** `ctx.internalRedirect()` */
  readonly internalRedirect: boolean;
  /** `ctx.cache` */
  readonly cache: boolean;
  /** `ctx.compress()` */
  readonly compress: boolean;
}

export type Capability = keyof Capabilities;

export interface Specification {
  readonly name: "TSGI";
  readonly version: "1.0";
  readonly capabilities: Capabilities;
}

/** The worker process that runs the application. */
export interface WorkerFacts {
  /** Number of the worker, from 1; a replacement has the number of the one it replaces. */
  readonly id: number;
  readonly pid: number;
  /** Counts reloads, from 1. */
  readonly generation: number;
  /** How many workers there are. */
  readonly count: number;
}

/** A structured logger, as pino's: fields first, then the message; or the message alone. */
export interface Logger {
  debug(fields: object, message?: string): void;
  debug(message: string): void;
  info(fields: object, message?: string): void;
  info(message: string): void;
  warn(fields: object, message?: string): void;
  warn(message: string): void;
  error(fields: object, message?: string): void;
  error(message: string): void;
  child(bindings: Record<string, unknown>): Logger;
}

/** WSGI's `wsgi.errors`: text for people, line by line into the error log. */
export interface ErrorStream {
  write(text: string): void;
}

/** The request exactly as it came: nothing decoded, normalised or reordered. */
export interface RawHttp {
  readonly version: "1.0" | "1.1" | "2";
  readonly scheme: "http" | "https";
  readonly authority: string;
  readonly method: string;
  readonly target: string;
  /** `[name, value, …]` in order, with duplicates, in the case received. */
  readonly headers: Readonly<HeaderList>;
}

/** WSGI's SCRIPT_NAME and PATH_INFO, undecoded: `root + path` is the target without its query. */
export interface Mount {
  readonly root: string;
  readonly path: string;
}

export interface Connection {
  readonly peer: Endpoint;
  readonly local: Endpoint;
  /** The client, and which hop vouches for it: the socket, or a trusted front; nobody else. */
  readonly client: ClientFacts;
  readonly tls: TlsFacts | undefined;
}

export interface Times {
  /** When the first tier received the head, milliseconds since the epoch. */
  readonly received: number;
  /** Milliseconds the request waited for a free worker. */
  readonly queued: number;
  /** Milliseconds since the epoch after which nobody waits for the answer; undefined: none. */
  readonly deadline: number | undefined;
}

export interface Trace {
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
}

/** Limits of this request. `Infinity` where there is none. */
export interface Limits {
  /** Bytes of the request body. */
  readonly bodySize: number;
  /** Milliseconds from now until the signal aborts with Timeout. */
  readonly time: number;
  /** Lowers a limit for this request; raises it where the host has `raiseLimits`. Throws `BAD_LIMIT`, `TOO_LATE`. */
  set(limits: { readonly bodySize?: number; readonly time?: number }): void;
}

/** Marks in the shared cache of the front what this response is about, and removes from it what is out of date. */
export interface CacheControl {
  tags(...tags: string[]): void;
  ttl(seconds: number): void;
  staleWhileRevalidate(seconds: number): void;
  /** `soft` (default): what is found is stale from now on; `hard`: it is removed. Travels with the response of this request; resolves when that is out. */
  purge(what: { url?: string; prefix?: string; tag?: string }, mode?: "soft" | "hard"): Promise<void>;
}

/** Result of `ctx.upgrade()`, to be returned as the reply. Opaque. */
export interface UpgradeReply {
  readonly kind: "tsgi.upgrade";
}

/** The request as the `upgrade` event of `node:http` would give it; what the `ws` package asks for. */
export interface UpgradeRequest {
  readonly method: string;
  readonly url: string;
  readonly httpVersion: string;
  /** Lower-case names; duplicates joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  readonly rawHeaders: readonly string[];
  readonly socket: Duplex;
}

export interface UpgradeOptions {
  /** Fields of the response that accepts, such as `sec-websocket-protocol`. Only with the host's handshake. */
  readonly headers?: RecordHeaders;
  /**
   * `host` (default): the host accepts, with `Sec-WebSocket-Accept` where it is due; the tunnel carries frames from its
   * first byte. `application`: whoever has the tunnel writes an HTTP/1.1 response head first, as `ws` does in
   * `handleUpgrade`; the host reads that head and answers the exchange with it.
   */
  readonly handshake?: "host" | "application";
}

/**
 * What fetch cannot say about a request and its response. One per request.
 *
 * Everything is read lazily: nothing is computed for a field that nobody asks for. Methods need their receiver
 * (`ctx.waitUntil(p)`, not `const { waitUntil } = ctx`).
 */
export interface Context<State = unknown> {
  readonly spec: Specification;
  /** Request id, from a trusted front or generated: 1 to 128 visible ASCII characters. */
  readonly id: string;
  /** W3C Trace Context as received. */
  readonly trace: Trace;
  /** What `lifespan.startup` returned, once per worker. */
  readonly state: State;
  readonly http: RawHttp;
  readonly mount: Mount;
  readonly connection: Connection;
  readonly time: Times;
  readonly worker: WorkerFacts;
  /**
   * Aborts at most once, with a {@link PorticoGatewayError} named ClientDisconnected, Timeout or Shutdown as reason;
   * never because the response completed.
   */
  readonly signal: AbortSignal;
  /** Logger with the request's id. */
  readonly log: Logger;
  readonly errors: ErrorStream;
  readonly limits: Limits;

  /** Sends 103 Early Hints, now. Throws `TOO_LATE` once the response is on its way. */
  earlyHints(headers: RecordHeaders): void;
  /** Fields to be sent after the body, given now or computed when the body is complete. Dropped where the client cannot have them. */
  trailers(fields: RecordHeaders | (() => RecordHeaders | Promise<RecordHeaders>)): void;
  /** Resolves with the trailers of the request when its body has been read; rejects with the signal's reason if it never is. */
  readonly requestTrailers: Promise<Headers>;
  /** Says whether a front may hold this response back to send it in larger parts; `false` for server-sent events. */
  buffering(allowed: boolean): void;
  /**
   * Accepts the upgrade that the request asks for. Return the result as reply; `open` is called when the tunnel stands.
   * To deny, return any response instead. Throws `UPGRADE_NOT_REQUESTED`.
   */
  upgrade(open: (tunnel: Duplex, request: UpgradeRequest) => void, options?: UpgradeOptions): UpgradeReply;
  /** Work that goes on after the response. The worker waits for it before it exits; a rejection is logged. */
  waitUntil(work: PromiseLike<unknown>): void;
  /** Calls back once when the exchange has ended: with nothing when the response was complete, else with the signal's reason. */
  onFinished(callback: (reason: PorticoGatewayError | undefined) => void): void;

  /**
   * A file of this machine as the response, with ranges and conditions; the front sends it from disk where it has it.
   * 404 where it is not there or no regular file. Whoever makes the path of what a client sent checks it first.
   */
  file(path: string, options?: { readonly headers?: RecordHeaders }): Reply;
  /** Lets the front answer with another of its routes: a path as a client would send it, percent-encoded. */
  internalRedirect(target: string, options?: { readonly headers?: RecordHeaders }): Reply;
  readonly cache: CacheControl;
  /** Says whether a front may compress this response; `false` adds `no-transform` to its Cache-Control. */
  compress(allowed: boolean): void;
}
