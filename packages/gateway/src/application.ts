import type { Context, Logger, Specification, UpgradeReply, WorkerFacts } from "./context.ts";

/**
 * Header fields of a response record, in any of these forms:
 *
 * - an object `{ name: value }`, an array as value for a field that is sent several times (`set-cookie`);
 * - pairs `[[name, value], …]`, or anything that iterates over pairs (`Headers`, `Map`);
 * - a flat list `[name, value, name, value, …]`, which costs least.
 *
 * Values are latin1 strings without control characters.
 */
export type RecordHeaders =
  | Readonly<Record<string, string | number | readonly string[]>>
  | Iterable<readonly [string, string]>
  | readonly string[];

/** Body of a response record. A string is sent as UTF-8; a stream or async iterable gives bytes or strings. */
export type RecordBody =
  | string
  | Uint8Array
  | ArrayBuffer
  | ReadableStream<Uint8Array | string>
  | AsyncIterable<Uint8Array | string>
  | Blob
  | FormData
  | URLSearchParams
  | null;

/** The plainest response: costs no object of the fetch standard. `status` defaults to 200. */
export interface ResponseRecord {
  readonly status?: number | undefined;
  readonly headers?: RecordHeaders | undefined;
  readonly body?: RecordBody | undefined;
}

/** What an application answers with. */
export type Reply = Response | ResponseRecord | UpgradeReply;

/** The heart of an application: a request and its context in, a response out, at once or later. */
export type FetchHandler<State = unknown> = (request: Request, ctx: Context<State>) => Reply | Promise<Reply>;

/** What `lifespan` is told; there is no request yet. */
export interface LifespanContext {
  readonly spec: Specification;
  readonly worker: WorkerFacts;
  readonly log: Logger;
}

/** What an application does once per worker, before its first request and after its last. */
export interface Lifespan<State = unknown> {
  /** Its result is `ctx.state` of every request of this worker. When it throws or rejects, the worker does not start. */
  startup?(context: LifespanContext): State | Promise<State>;
  /** Runs after the last response and all `waitUntil` work, with what `startup` returned. */
  shutdown?(state: State, context: LifespanContext): void | Promise<void>;
}

/** An application as an object: what Hono, h3, Elysia and the modules of Bun, Deno and Workers export, and more. */
export interface ApplicationObject<State = unknown> {
  fetch(request: Request, ctx: Context<State>): Reply | Promise<Reply>;
  readonly lifespan?: Lifespan<State>;
  /** Gets requests that ask to upgrade to WebSocket in place of `fetch`: returns `ctx.upgrade(…)`, or any response to deny. */
  websocket?(request: Request, ctx: Context<State>): Reply | Promise<Reply>;
  /** Makes the response to an error that `fetch` or `websocket` threw. May throw itself: then the host answers 500. */
  onError?(error: unknown, request: Request, ctx: Context<State>): Reply | Promise<Reply>;
}

/** Every form a TSGI application may have. */
export type Application<State = unknown> = FetchHandler<State> | ApplicationObject<State>;

/**
 * Gives an application its types, with `State` taken from what `lifespan.startup` returns. Returns its argument.
 *
 * @example
 * export default defineApplication({
 *   lifespan: { startup: async () => ({ greeting: "Hello" }) },
 *   fetch: (request, ctx) => ({ body: `${ctx.state.greeting} from worker ${ctx.worker.id}` }),
 * });
 */
export function defineApplication<State>(application: ApplicationObject<State>): ApplicationObject<State>;
export function defineApplication<State = unknown>(application: FetchHandler<State>): FetchHandler<State>;
export function defineApplication(application: Application): Application {
  return application;
}
