import type { Server } from "node:http";
import net, { type AddressInfo } from "node:net";
import type { ExchangeHandler } from "../exchange.ts";
import { http, isHttpServer } from "./builtins.ts";
import type { ReportError } from "./run.ts";
import { serverHandler } from "./server.ts";

/** What a program asked for when it called `listen`. All undefined: any port. */
export interface AskedAddress {
  readonly port: number | undefined;
  readonly host: string | undefined;
  /** Path of a unix socket. */
  readonly path: string | undefined;
}

/** A server that believes it listens. */
export interface CapturedServer {
  readonly server: Server;
  readonly asked: AskedAddress;
  /** The program made an `https` server. Its certificate is not used: TLS is the front's, and `req.socket.encrypted` says what the front saw. */
  readonly tls: boolean;
  /** Answers exchanges with the server's listeners; 503 once the program has closed it. */
  readonly handler: ExchangeHandler;
  /** Closes the server as `server.close()` does: resolves when the exchanges under way have ended. */
  close(): Promise<void>;
}

export interface CaptureOptions {
  readonly onError?: ReportError;
  /** A server beyond the application's, with a port of its own (metrics, say). It is left to listen for real. */
  readonly onElsewhere?: (server: Server, asked: AskedAddress) => void;
}

export interface ListenCapture {
  /** The application's server first; then those that asked for the same port (Fastify makes one per address of `localhost`), which get no requests. */
  readonly servers: readonly CapturedServer[];
  /** Resolves when the program has called `listen` for the first time. Never rejects; pending while it does not. */
  readonly application: Promise<CapturedServer>;
  /** Gives `listen` back. Servers captured so far stay captured. */
  release(): void;
}

/** What `address()` says where any port was asked for: the first of the dynamic ports (RFC 6335 §6), which nobody is told to connect to. */
const DYNAMIC_PORT = 49_152;

/** The parts of `net.Server` that its own `address`, `listening`, `close`, `ref` work on. */
interface ServerInside {
  _handle: object | null;
  _pipeName?: string;
  _connections: number;
  _emitCloseIfDrained(): void;
}

type Listen = typeof net.Server.prototype.listen;

/**
 * Takes over `listen` of `http` and `https` servers, however the program came to them (`import`, `require`, a
 * framework), until released. The first server that calls it is the application: it gets its 'listening' event, its
 * callback and an `address()`, and opens no port. Servers of other kinds (`net`, `http2`) are left alone.
 */
export function captureListen(options: CaptureOptions = {}): ListenCapture {
  const servers: CapturedServer[] = [];
  const { promise, resolve } = Promise.withResolvers<CapturedServer>();
  const { prototype } = net.Server;
  // oxlint-disable-next-line typescript/unbound-method -- called with the server as `this`, and put back as it was
  const original = prototype.listen as (...given: unknown[]) => net.Server;

  function listen(this: net.Server, ...given: unknown[]): net.Server {
    const asked = askedAddress(given);
    if (!isHttpServer(this) || this.listening || !isPossible(asked)) {
      return original.apply(this, given);
    }
    const first = servers[0];
    if (first !== undefined && !sameAddress(first.asked, asked)) {
      options.onElsewhere?.(this, asked);
      return original.apply(this, given);
    }
    const captured = capture(this, asked, options.onError);
    servers.push(captured);
    beginListening(this, asked, given);
    if (first === undefined) {
      resolve(captured);
    }
    return this;
  }

  prototype.listen = listen as Listen;
  return {
    servers,
    application: promise,
    release() {
      if ((prototype.listen as unknown) === listen) {
        prototype.listen = original as Listen;
      }
    },
  };
}

function capture(server: Server, asked: AskedAddress, onError: ReportError | undefined): CapturedServer {
  const inside = server as unknown as ServerInside;
  let serve: ExchangeHandler | undefined;
  return {
    server,
    asked,
    tls: !(server instanceof http.Server),
    handler(exchange) {
      if (!server.listening) {
        exchange.respond(503, ["Retry-After", "1"], null);
        return;
      }
      // Made with the first exchange: by then the program has attached its listeners.
      serve ??= serverHandler(server, {
        ...(onError === undefined ? {} : { onError }),
        onBegin() {
          inside._connections++;
        },
        onEnded() {
          inside._connections--;
          inside._emitCloseIfDrained();
        },
      });
      serve(exchange);
    },
    close() {
      return new Promise((resolve) => {
        if (server.listening) {
          server.close(() => resolve());
        } else if (inside._connections > 0) {
          server.once("close", () => resolve());
        } else {
          resolve();
        }
      });
    },
  };
}

/** Gives the server a handle that is none, with which everything in `net.Server` works, and says that it listens. */
function beginListening(server: Server, asked: AskedAddress, given: readonly unknown[]): void {
  const inside = server as unknown as ServerInside;
  const callback = given.at(-1);
  if (typeof callback === "function") {
    server.once("listening", callback as () => void);
  }
  const signal = (given[0] as { signal?: AbortSignal } | null | undefined)?.signal;
  signal?.addEventListener("abort", () => server.close(), { once: true });
  if (asked.path !== undefined) {
    inside._pipeName = asked.path;
  }
  inside._handle = idleHandle(asked);
  process.nextTick(() => {
    if (server.listening) {
      server.emit("listening");
    }
  });
}

function idleHandle(asked: AskedAddress): object {
  const nothing = (): void => {};
  const handle = { close: nothing, ref: nothing, unref: nothing, hasRef: () => false, getAsyncId: () => 0, fd: -1 };
  return asked.path !== undefined
    ? handle
    : { ...handle, getsockname: (into: Partial<AddressInfo>) => void Object.assign(into, addressInfo(asked)) };
}

function addressInfo({ host, port }: AskedAddress): AddressInfo {
  const numeric = host !== undefined && (host.includes(":") || /^[\d.]+$/.test(host));
  const address = numeric ? host : host === undefined ? "::" : "127.0.0.1";
  return { address, family: address.includes(":") ? "IPv6" : "IPv4", port: port || DYNAMIC_PORT };
}

/** Reads the arguments of `listen` as `net.Server` does: (port, host, backlog), (path), (options), (handle), or none. */
function askedAddress(given: readonly unknown[]): AskedAddress {
  const [first, second] = given;
  if (typeof first === "object" && first !== null) {
    const { port, host, path } = first as { port?: unknown; host?: unknown; path?: unknown };
    return {
      port: portNumber(port),
      host: typeof host === "string" && host !== "" ? host : undefined,
      path: port === undefined && typeof path === "string" ? path : undefined,
    };
  }
  if (typeof first === "string" && Number.isNaN(Number(first))) {
    return { port: undefined, host: undefined, path: first };
  }
  return { port: portNumber(first), host: typeof second === "string" ? second : undefined, path: undefined };
}

function portNumber(given: unknown): number | undefined {
  return typeof given === "number" || (typeof given === "string" && given.trim() !== "") ? Number(given) : undefined;
}

/** False where `listen` would throw: it may then do so itself. */
function isPossible({ port }: AskedAddress): boolean {
  return port === undefined || (Number.isInteger(port) && port >= 0 && port <= 65_535);
}

function sameAddress(one: AskedAddress, other: AskedAddress): boolean {
  if (one.path !== undefined || other.path !== undefined) {
    return one.path === other.path;
  }
  return (one.port || DYNAMIC_PORT) === (other.port || DYNAMIC_PORT);
}
