import { AsyncResource } from "node:async_hooks";
import { channel } from "node:diagnostics_channel";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Exchange, ExchangeHandler } from "../exchange.ts";
import { http } from "./builtins.ts";
import type { InternalRequest, InternalResponse, ServerOptionsInside } from "./internals.ts";
import { fillRequest, type RequestClass } from "./request.ts";
import { attachResponse } from "./response.ts";
import { type ReportError, Run } from "./run.ts";
import { openTunnel } from "./tunnel.ts";

/** A `node:http` request listener. What it returns is ignored, as `http.Server` does. */
export type NodeListener = (request: IncomingMessage, response: ServerResponse) => unknown;

/** An 'upgrade' or 'connect' listener of an `http.Server`. */
export type NodeUpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => unknown;

export interface NodeHandlerOptions {
  /** The server that messages and sockets refer to (`req.socket.server`). */
  readonly server?: Server;
  /** Answers WebSocket and other upgrades. Without it they are ordinary requests, as in `node:http`. */
  readonly upgrade?: NodeUpgradeListener;
  /** Answers CONNECT. Without it: 501. */
  readonly connect?: NodeUpgradeListener;
  /** Classes in place of `http.IncomingMessage` and `http.ServerResponse`, as in the options of `http.createServer`. */
  readonly IncomingMessage?: typeof IncomingMessage;
  readonly ServerResponse?: typeof ServerResponse;
  /** Told of a response that the transport refused, and of a listener that threw (which is answered with 500). Without it, what a listener throws goes to the transport. */
  readonly onError?: ReportError;
}

const requestStarted = channel("http.server.request.start");

/** Options of `http.createServer` that are kept on the server, but not in its types. */
interface ServerSettings {
  readonly joinDuplicateHeaders?: boolean;
  readonly rejectNonStandardBodyWrites?: boolean;
}

/** Options of `ServerResponse`, the same for every response: one object. */
const RESPONSE_OPTIONS = { highWaterMark: 64 * 1024 };

/**
 * Runs a `node:http` listener on exchanges, with real `IncomingMessage` and `ServerResponse` objects.
 *
 * What differs from a connection of its own, because the connection belongs to the transport: Connection, Keep-Alive,
 * Transfer-Encoding and Upgrade that a handler sets are dropped, Date is the transport's unless set, reason phrases are
 * not carried, `100 Continue` is sent when the body is first read, a wrong Content-Length is an error, and raw bytes
 * cannot be written to `req.socket`.
 */
export function nodeHandler(listener: NodeListener, options: NodeHandlerOptions = {}): ExchangeHandler {
  return serve({
    ...options,
    listener,
    prototypes: expressPrototypes(listener),
    upgradeListener: () => options.upgrade,
    connectListener: () => options.connect,
  });
}

/** What the requests of one handler have in common. */
export interface ServeOptions extends NodeHandlerOptions {
  readonly listener: NodeListener;
  /** Answers a request with an Expect field; false: it is an ordinary one. */
  readonly expectation?: (value: string, request: IncomingMessage, response: ServerResponse) => boolean;
  readonly upgradeListener: (exchange: Exchange) => NodeUpgradeListener | undefined;
  readonly connectListener: () => NodeUpgradeListener | undefined;
  /** Prototypes that the listener will give to messages. */
  readonly prototypes?: Prototypes | undefined;
  readonly inside?: ServerOptionsInside;
  /** Calls these when an exchange begins and when it has ended. */
  readonly onBegin?: () => void;
  readonly onEnded?: () => void;
}

export function serve(options: ServeOptions): ExchangeHandler {
  const { listener, server, onError, onBegin, onEnded, expectation, inside } = options;
  const Request = requestClass(options);
  const Response = responseClass(options);
  const responseOptions =
    (server as ServerSettings | undefined)?.rejectNonStandardBodyWrites === true
      ? { ...RESPONSE_OPTIONS, rejectNonStandardBodyWrites: true }
      : RESPONSE_OPTIONS;
  const unique = inside?.unique;
  // Entered for each exchange, so that `AsyncLocalStorage#enterWith` in one does not reach the next of the same turn.
  const scope = new AsyncResource("PORTICOEXCHANGE");

  // Hot path: one run, one request, one response; nothing else is allocated here.
  return (exchange) => {
    const { head } = exchange;
    if (head.upgrade !== undefined || head.method === "CONNECT") {
      const upgrade = head.method === "CONNECT" ? options.connectListener() : options.upgradeListener(exchange);
      if (upgrade !== undefined) {
        onBegin?.();
        const { request, socket } = openTunnel(exchange, Request, server, onError, onEnded);
        scope.runInAsyncScope(upgrade, server, request, socket, Buffer.alloc(0));
        return;
      }
      if (head.method === "CONNECT") {
        exchange.respond(501, [], null);
        return;
      }
    }
    const run = new Run(exchange, server);
    exchange.observer = run;
    run.report = onError;
    run.onEnded = onEnded;
    onBegin?.();
    const request = fillRequest(new Request(run as never), exchange, run);
    run.request = request;
    const response = new Response(request as never, responseOptions) as unknown as InternalResponse;
    attachResponse(response, run);
    if (unique !== undefined) {
      (response as unknown as Record<symbol, unknown>)[unique.symbol] = unique.value;
    }
    if (server !== undefined) {
      applyServer(server, run, request);
    }
    if (requestStarted.hasSubscribers) {
      requestStarted.publish({ request, response, socket: run, server });
    }
    const expect = expectation === undefined ? undefined : expectOf(exchange);
    if (onError === undefined) {
      scope.runInAsyncScope(call, undefined, listener, expectation, expect, request, response);
      return;
    }
    try {
      scope.runInAsyncScope(call, undefined, listener, expectation, expect, request, response);
    } catch (error) {
      onError(error, exchange);
      run.failed();
    }
  };
}

function call(
  listener: NodeListener,
  expectation: ServeOptions["expectation"],
  expect: string | undefined,
  request: InternalRequest,
  response: InternalResponse,
): void {
  const visible = response as unknown as ServerResponse;
  if (expect === undefined || expectation?.(expect, request, visible) !== true) {
    listener(request, visible);
  }
}

function applyServer(server: Server, run: Run, request: InternalRequest): void {
  if (server.timeout > 0) {
    run.setTimeout(server.timeout);
  }
  if ((server as ServerSettings).joinDuplicateHeaders === true) {
    request.joinDuplicateHeaders = true;
  }
}

function expectOf(exchange: Exchange): string | undefined {
  const { headers, version } = exchange.head;
  if (version === "1.0") {
    return undefined;
  }
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index];
    if (name?.length === 6 && name.toLowerCase() === "expect") {
      return headers[index + 1];
    }
  }
  return undefined;
}

// --- classes ---

/** Prototypes of an Express application's messages. */
export interface Prototypes {
  readonly request: object;
  readonly response: object;
}

/**
 * Express gives each message its own prototypes, which costs V8 more than all else that is done here. Messages that
 * are born with them are left alone by it. Undefined where the listener is no Express application.
 */
export function expressPrototypes(listener: unknown): Prototypes | undefined {
  if (typeof listener !== "function") {
    return undefined;
  }
  const { request, response } = listener as unknown as { request?: unknown; response?: unknown };
  return request instanceof http.IncomingMessage && response instanceof http.ServerResponse
    ? { request, response }
    : undefined;
}

type ResponseClass = new (request: never, options: object) => ServerResponse;

function requestClass(options: ServeOptions): RequestClass {
  const Base = options.IncomingMessage ?? options.inside?.Request;
  if (Base !== undefined) {
    return Base;
  }
  const Plain = http.IncomingMessage as unknown as RequestClass;
  return options.prototypes === undefined ? Plain : BORN_WITH.request(options.prototypes.request);
}

function responseClass(options: ServeOptions): ResponseClass {
  const Base = options.ServerResponse ?? options.inside?.Response;
  if (Base !== undefined) {
    return Base;
  }
  const Plain = http.ServerResponse as unknown as ResponseClass;
  return options.prototypes === undefined ? Plain : BORN_WITH.response(options.prototypes.response);
}

/**
 * Constructors that do what Node's do, on objects with another prototype. Node's are plain functions, so they can be
 * called on it. The names show in stack traces and inspections.
 */
const BORN_WITH = {
  request(prototype: object): RequestClass {
    const construct = http.IncomingMessage as unknown as { call(self: object, socket: unknown): void };
    const born = function IncomingMessage(this: object, socket: unknown): void {
      construct.call(this, socket);
    };
    return withPrototype(born, prototype, construct) as RequestClass;
  },
  response(prototype: object): ResponseClass {
    const construct = http.ServerResponse as unknown as { call(self: object, request: unknown, options: object): void };
    const born = function ServerResponse(this: object, request: unknown, options: object): void {
      construct.call(this, request, options);
    };
    return withPrototype(born, prototype, construct) as ResponseClass;
  },
};

function withPrototype(made: { prototype: unknown }, prototype: object, Base: object): unknown {
  made.prototype = prototype;
  // V8 sizes new objects by the chain of constructors; without this each would grow field by field.
  return Object.setPrototypeOf(made, Base) as unknown;
}
