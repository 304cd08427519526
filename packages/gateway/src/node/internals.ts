/**
 * What this adapter relies on inside Node's `http` module, named once and checked when it is loaded.
 *
 * `OutgoingMessage` and `IncomingMessage` do their own work here: storing headers, errors, callbacks, events. Only the
 * ends that touch a socket are replaced, on each object itself, since Express and its like exchange the prototypes.
 * These ends (`_storeHeader`, `_send`, `_writeRaw`, `_finish`, `_read`, `_addHeaderLines`, `_dump`) have kept their
 * meaning since Node 8; the test runs every behaviour against `node:http` itself, so a change there shows.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { HeaderList } from "../exchange.ts";
import { PorticoGatewayError } from "../errors.ts";
import { http } from "./builtins.ts";

/** An error that `node:http` itself would raise; it carries Node's code and message, because applications compare them. */
export class NodeStreamError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "Error";
    this.code = code;
  }
}

/** What `node:http` gives to a request whose connection broke. */
export function connectionReset(): NodeStreamError {
  return new NodeStreamError("ECONNRESET", "aborted");
}

export type Callback = (error?: Error | null) => void;

/** Parts of `ServerResponse` that are not in its public types. */
export interface ResponseInternals {
  _header: string | null;
  _headerSent: boolean;
  _hasBody: boolean;
  _contentLength: number | null;
  _removedContLen: boolean;
  _removedTE: boolean;
  _last: boolean;
  _trailer: string;
  _closed: boolean;
  _sent100: boolean;
  _expect_continue: boolean;
  _keepAliveTimeout: number;
  destroyed: boolean;
  finished: boolean;
  socket: unknown;
  _storeHeader(firstLine: string, headers: unknown): void;
  _send(data: string | Uint8Array, encoding?: BufferEncoding | null, callback?: Callback | null): boolean;
  _writeRaw(
    data: string | Uint8Array,
    encoding?: BufferEncoding | Callback | null,
    callback?: Callback | null,
  ): boolean;
  _finish(): void;
  [OUT_HEADERS]: Record<string, [name: string, value: unknown]> | null;
  [NEED_DRAIN]: boolean;
}

/** Parts of `IncomingMessage` that are not in its public types. */
export interface RequestInternals {
  client: unknown;
  upgrade: boolean | null;
  joinDuplicateHeaders: boolean;
  _consuming: boolean;
  _dumped: boolean;
  _eventsCount: number;
  readonly _readableState: { ended: boolean; resumeScheduled: boolean };
  _addHeaderLines(headers: HeaderList, count: number): void;
  _dump(): void;
  _dumpAndCloseReadable?(): void;
}

export type InternalRequest = IncomingMessage & RequestInternals;
export type InternalResponse = Omit<ServerResponse, keyof ResponseInternals> & ResponseInternals;

function symbolOf(holder: object, description: string): symbol | undefined {
  return Object.getOwnPropertySymbols(holder).find((symbol) => symbol.description === description);
}

function requiredSymbol(holder: object, description: string): symbol {
  const symbol = symbolOf(holder, description);
  if (symbol === undefined) {
    throw new PorticoGatewayError(
      "CAPABILITY_ABSENT",
      `This version of Node has no ${description} in http.OutgoingMessage; @portico/gateway/node supports Node 24 to 26.`,
    );
  }
  return symbol;
}

const probe = new http.OutgoingMessage();
/** Where a message keeps the headers that were set: `{ lowercase: [name, value] }`. */
export const OUT_HEADERS: unique symbol = requiredSymbol(probe, "kOutHeaders") as never;
/** Set by `write` when it returned false. */
export const NEED_DRAIN: unique symbol = requiredSymbol(probe, "kNeedDrain") as never;

/** Lets the abort signal of a request go when its response is complete (Node ≥ 26; absent before). */
const DETACH_SIGNAL = symbolOf(http.IncomingMessage.prototype, "kDetachAbortSignal");

export function detachAbortSignal(request: IncomingMessage): void {
  if (DETACH_SIGNAL !== undefined) {
    (request as unknown as Record<symbol, () => void>)[DETACH_SIGNAL]?.();
  }
}

/** The classes and the list of unique headers that a server was created with. */
export interface ServerOptionsInside {
  readonly Request: typeof IncomingMessage | undefined;
  readonly Response: typeof ServerResponse | undefined;
  /** Symbol and value to copy onto each response, where `uniqueHeaders` was given. */
  readonly unique: { readonly symbol: symbol; readonly value: unknown } | undefined;
}

const plainServer = new http.Server();
const REQUEST_CLASS = symbolOf(plainServer, "IncomingMessage");
const RESPONSE_CLASS = symbolOf(plainServer, "ServerResponse");
const UNIQUE_HEADERS = symbolOf(plainServer, "kUniqueHeaders");

export function serverOptionsInside(server: object): ServerOptionsInside {
  const inside = server as Record<symbol, unknown>;
  const plain = plainServer as unknown as Record<symbol, unknown>;
  const own = (symbol: symbol | undefined): unknown =>
    symbol !== undefined && inside[symbol] !== plain[symbol] ? inside[symbol] : undefined;
  const value = UNIQUE_HEADERS === undefined ? null : inside[UNIQUE_HEADERS];
  return {
    Request: own(REQUEST_CLASS) as typeof IncomingMessage | undefined,
    Response: own(RESPONSE_CLASS) as typeof ServerResponse | undefined,
    unique: UNIQUE_HEADERS !== undefined && value ? { symbol: UNIQUE_HEADERS, value } : undefined,
  };
}

/** The names that the server of this response sends on one line, however many values they have. */
export function uniqueHeaders(response: object): ReadonlySet<string> | undefined {
  return UNIQUE_HEADERS === undefined
    ? undefined
    : ((response as Record<symbol, ReadonlySet<string> | null | undefined>)[UNIQUE_HEADERS] ?? undefined);
}
