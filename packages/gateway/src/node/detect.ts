import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { ExchangeHandler } from "../exchange.ts";
import { PorticoGatewayError } from "../errors.ts";
import { isHttpServer } from "./builtins.ts";
import { type NodeHandlerOptions, nodeHandler, type NodeListener } from "./handler.ts";
import { serverHandler } from "./server.ts";

const LISTENER: unique symbol = Symbol.for("portico.node.listener");

/**
 * Marks a function as a `node:http` listener. A bare `(req, res) => {}` that a module exports cannot be told from a
 * TSGI application `(request, ctx) => …`, which has two parameters as well: without the mark it is taken for TSGI.
 */
export function fromNode<Listener extends NodeListener>(listener: Listener): Listener {
  Object.defineProperty(listener, LISTENER, { value: true, configurable: true });
  return listener;
}

/** Something written for `node:http`, found in what a module exports. */
export interface NodeApplication {
  /** What it was recognised as, for people: `express`, `koa`, … */
  readonly kind: string;
  /** Makes it ready and gives what answers its exchanges. Call once. Rejects with what the framework rejects with. */
  open(options?: Pick<NodeHandlerOptions, "onError">): Promise<ExchangeHandler>;
  /** Closes it in its framework's own way, where it has one. */
  close(): Promise<void>;
}

type Shape = Record<string, unknown>;
type OpenOptions = Pick<NodeHandlerOptions, "onError">;

interface Recognition {
  readonly kind: string;
  readonly matches: (shape: Shape, value: object) => boolean;
  readonly open: (shape: Shape, options: OpenOptions) => Promise<ExchangeHandler>;
  readonly close?: (shape: Shape) => unknown;
}

const has = (shape: Shape, ...methods: string[]): boolean =>
  methods.every((method) => typeof shape[method] === "function");
const call = (shape: Shape, method: string): unknown => (shape[method] as () => unknown)();

/** In this order: each is told by what the later ones lack. Objects with `fetch` (Hono, h3, Elysia) are TSGI's own. */
const RECOGNISED: readonly Recognition[] = [
  {
    kind: "http.Server",
    matches: (_shape, value) => isHttpServer(value),
    open: async (shape, options) => serverHandler(shape as unknown as Server, options),
    close: (shape) => {
      const server = shape as unknown as Server;
      return server.listening ? new Promise((resolve) => server.close(resolve)) : undefined;
    },
  },
  {
    kind: "node listener",
    matches: (shape, value) => typeof value === "function" && Object.hasOwn(shape, LISTENER),
    open: async (shape, options) => nodeHandler(shape as unknown as NodeListener, options),
  },
  {
    // Express 4 and 5, Connect, and what is built on them.
    kind: "express",
    matches: (shape, value) => typeof value === "function" && has(shape, "handle", "use") && !has(shape, "fetch"),
    open: async (shape, options) => nodeHandler(shape as unknown as NodeListener, options),
  },
  {
    kind: "koa",
    matches: (shape) => has(shape, "callback", "use") && Array.isArray(shape["middleware"]),
    open: async (shape, options) => nodeHandler(call(shape, "callback") as NodeListener, options),
  },
  {
    kind: "fastify",
    matches: (shape) => has(shape, "ready", "inject", "close") && isHttpServer(shape["server"]),
    open: async (shape, options) => {
      await call(shape, "ready");
      return serverHandler(shape["server"] as Server, options);
    },
    close: (shape) => call(shape, "close"),
  },
  {
    kind: "nest",
    matches: (shape) => has(shape, "getHttpServer", "init", "close"),
    open: async (shape, options) => {
      await call(shape, "init");
      return serverHandler(serverOf(call(shape, "getHttpServer")), options);
    },
    close: (shape) => call(shape, "close"),
  },
  {
    kind: "hapi",
    matches: (shape) => has(shape, "initialize", "stop") && isHttpServer(shape["listener"]),
    open: async (shape, options) => {
      await call(shape, "initialize");
      return serverHandler(shape["listener"] as Server, options);
    },
    close: (shape) => call(shape, "stop"),
  },
  {
    kind: "polka",
    matches: (shape) => has(shape, "handler", "use", "listen") && !has(shape, "fetch"),
    open: async (shape, options) => {
      const handler = shape["handler"] as NodeListener;
      return nodeHandler(
        (request: IncomingMessage, response: ServerResponse) => handler.call(shape, request, response),
        options,
      );
    },
  },
];

/** Recognises what is written for `node:http`; undefined for anything else, a bare function included. */
export function detectNodeApplication(value: unknown): NodeApplication | undefined {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) {
    return undefined;
  }
  const shape = value as Shape;
  const found = RECOGNISED.find((one) => one.matches(shape, value));
  return (
    found && {
      kind: found.kind,
      open: (options = {}) => found.open(shape, options),
      async close() {
        await found.close?.(shape);
      },
    }
  );
}

function serverOf(value: unknown): Server {
  if (!isHttpServer(value)) {
    throw new PorticoGatewayError("BAD_APPLICATION", "The application's getHttpServer() gave no http.Server.");
  }
  return value;
}
