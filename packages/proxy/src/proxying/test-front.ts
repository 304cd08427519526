/** Backends and a front in one process, over real sockets, for the tests of this folder. Not part of the package. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serverHandler } from "@portico/gateway/node";
import { HttpListener } from "@portico/http1/socket";
import { acceptLink } from "@portico/link/socket";
import type { ServerSession, WorkerFacts } from "@portico/link";
import { respondError } from "../answer/error.ts";
import { configSchema, type ProxyConfig } from "../config/schema.ts";
import type { UpstreamFacts } from "../deps.ts";
import { createConnector } from "../upstream/connect.ts";
import type { HealthNews } from "../upstream/context.ts";
import { UpstreamRegistry } from "../upstream/registry.ts";
import type { NameResolver } from "../upstream/resolver.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { Wheel } from "../upstream/wheel.ts";
import { Zone } from "../upstream/zone.ts";
import { createProxyHandler } from "./handler.ts";

export type Transport = "tcp" | "unix" | "link";

/** Something that must be closed when a test is over. */
type Cleanup = () => Promise<void> | void;

/** Everything a test has started; `close` it in `afterEach`. */
export class Stage {
  readonly folder: string = mkdtempSync(join(tmpdir(), "portico-proxying-"));
  readonly #cleanups: Cleanup[] = [];
  #sockets = 0;

  onClose(cleanup: Cleanup): void {
    this.#cleanups.push(cleanup);
  }

  socketPath(): string {
    return join(this.folder, `${++this.#sockets}.sock`);
  }

  async close(): Promise<void> {
    for (const cleanup of this.#cleanups.splice(0).reverse()) await cleanup();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** An application behind the given transport. */
  async backend(transport: Transport, application: http.Server | http.RequestListener): Promise<Backend> {
    const server = typeof application === "function" ? http.createServer(application) : application;
    // As our own server does: longer than the front keeps a connection.
    server.keepAliveTimeout = 75_000;
    if (transport === "link") return this.linkBackend(serverHandler(server));
    const path = this.socketPath();
    await new Promise<void>((resolve) => {
      if (transport === "unix") server.listen(path, resolve);
      else server.listen(0, "127.0.0.1", resolve);
    });
    const stop = async (): Promise<void> => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    };
    this.onClose(stop);
    const port = transport === "tcp" ? (server.address() as AddressInfo).port : 0;
    return {
      address: transport === "unix" ? `http+unix:${path}` : `http://127.0.0.1:${port}`,
      sessions: [],
      stop,
      cut: () => server.closeAllConnections(),
    };
  }

  /** Workers behind a link: each connection goes to the one with the fewest links, as the server's master does it. */
  async linkBackend(
    handler: ReturnType<typeof serverHandler>,
    workers: Partial<WorkerFacts>[] = [{}],
  ): Promise<Backend> {
    const path = this.socketPath();
    const sockets = new Set<net.Socket>();
    const sessions: ServerSession[] = [];
    const links = workers.map(() => 0);
    const server = net.createServer((socket) => {
      sockets.add(socket);
      const index = links.indexOf(Math.min(...links));
      links[index]!++;
      socket.on("close", () => {
        links[index]!--;
        sockets.delete(socket);
      });
      const worker = { id: index + 1, generation: 1, count: workers.length, concurrency: 1000, ...workers[index] };
      sessions.push(acceptLink(socket, handler, { worker }));
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const cut = (): void => {
      for (const socket of sockets) socket.destroy();
    };
    const stop = async (): Promise<void> => {
      cut();
      await new Promise((resolve) => server.close(resolve));
    };
    this.onClose(stop);
    return { address: `link+unix:${path}`, sessions, stop, cut };
  }

  /** A server of raw sockets, for those that break the protocol. */
  async rawBackend(onConnection: (socket: net.Socket) => void): Promise<Backend> {
    const sockets = new Set<net.Socket>();
    const server = net.createServer((socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      socket.on("error", () => {});
      onConnection(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const cut = (): void => {
      for (const socket of sockets) socket.destroy();
    };
    const stop = async (): Promise<void> => {
      cut();
      await new Promise((resolve) => server.close(resolve));
    };
    this.onClose(stop);
    return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sessions: [], stop, cut };
  }

  /** The front: HTTP/1.1 on a port, forwarding everything. */
  async front(options: FrontOptions): Promise<Front> {
    const config = configSchema.parse({
      upstreams: { app: { ...options.upstream, servers: options.servers } },
      sites: [{ hosts: ["*"], routes: [{ path: "/*", proxy: { ...options.proxy, upstream: "app" } }] }],
    } satisfies ProxyConfig);
    const tempDirectory = join(this.folder, "temporary");
    const wheel = new Wheel();
    const records: UpstreamFacts[] = [];
    const logged: Record<string, unknown>[] = [];
    const faults: unknown[] = [];
    const keep = (fields: Record<string, unknown>, message: string): void => {
      logged.push({ ...fields, message });
    };
    const log = { debug: keep, info: keep, warn: keep, error: keep };
    const told: HealthNews[] = [];
    const none = (): Promise<never[]> => Promise.resolve([]);
    const registry = new UpstreamRegistry({
      wheel,
      zone: new Zone(),
      probes: true,
      tell: (news) => told.push(news),
      resolver: options.resolver ?? { addresses: options.lookup ?? none, services: none },
      lookupInterval: () => undefined,
      connect: createConnector({
        wheel,
        linkSecret: options.linkSecret,
        onError: (error) => faults.push(error),
      }),
      log,
    });
    registry.apply(config.upstreams, 1_000);
    const upstream = registry.get("app")!;
    const handler = createProxyHandler({
      settings: config.sites[0]!.routes[0]!.proxy!,
      upstream,
      ...(options.bodyLimit === undefined ? {} : { bodyLimit: options.bodyLimit }),
      wheel,
      deps: {
        log,
        tempDirectory,
        thread: 0,
        answerError: (exchange, status, reason, retryAfter) =>
          respondError(exchange, status, reason, retryAfter === undefined ? [] : ["Retry-After", String(retryAfter)]),
        noteUpstream: (_exchange, facts) => {
          records.push({
            upstream: facts.upstream,
            server: facts.server,
            attempts: facts.attempts,
            queuedMs: facts.queuedMs,
            headMs: facts.headMs,
            status: facts.status,
            failure: facts.failure,
          });
        },
      },
    });
    const listener = new HttpListener(handler, {});
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => listener.attach(socket));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    this.onClose(async () => {
      listener.destroy();
      registry.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    const port = (server.address() as AddressInfo).port;
    return {
      port,
      url: `http://127.0.0.1:${port}`,
      upstream,
      registry,
      wheel,
      records,
      logged,
      faults,
      told,
      resolved: () => until(() => upstream.members.length > 0, "the name is resolved"),
      temporaryFiles: () => {
        try {
          return readdirSync(tempDirectory);
        } catch {
          return [];
        }
      },
    };
  }
}

export interface Backend {
  readonly address: string;
  readonly sessions: ServerSession[];
  /** Gone: connections are refused from now on. */
  stop(): Promise<void>;
  /** Connections under way break. */
  cut(): void;
}

export interface FrontOptions {
  readonly servers: NonNullable<ProxyConfig["upstreams"]>[string]["servers"];
  readonly upstream?: Omit<NonNullable<ProxyConfig["upstreams"]>[string], "servers">;
  readonly proxy?: Omit<NonNullable<ProxyConfig["sites"][number]["routes"][number]["proxy"]>, "upstream">;
  readonly bodyLimit?: number;
  readonly lookup?: NameResolver["addresses"];
  readonly resolver?: NameResolver;
  readonly linkSecret?: string | undefined;
}

export interface Front {
  readonly port: number;
  readonly url: string;
  readonly upstream: Upstream;
  readonly registry: UpstreamRegistry;
  readonly wheel: Wheel;
  readonly records: UpstreamFacts[];
  readonly logged: Record<string, unknown>[];
  readonly faults: unknown[];
  /** What the other threads would be told. */
  readonly told: HealthNews[];
  /** The names of the servers are resolved. */
  resolved(): Promise<void>;
  temporaryFiles(): string[];
}

/** An answer, read whole. */
export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly trailers: NodeJS.Dict<string>;
  readonly body: Buffer;
  readonly text: string;
}

export interface AskOptions {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: Uint8Array | string;
  /** Without a Content-Length, in these parts. */
  readonly chunks?: readonly (Uint8Array | string)[];
  readonly onInformation?: (status: number, headers: NodeJS.Dict<string | string[]>) => void;
}

/** One request on a connection of its own. */
export function ask(port: number, options: AskOptions = {}): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const request = http.request({
    port,
    host: "127.0.0.1",
    method: options.method ?? "GET",
    path: options.path ?? "/",
    headers: {
      ...(options.body === undefined ? {} : { "Content-Length": Buffer.byteLength(options.body) }),
      ...options.headers,
    },
    agent: false,
    maxHeaderSize: 1024 * 1024,
  });
  request.on("error", reject);
  if (options.onInformation !== undefined) {
    const { onInformation } = options;
    request.on("information", (information) => onInformation(information.statusCode, information.headers));
  }
  request.on("response", (response) => {
    const parts: Buffer[] = [];
    response.on("data", (part: Buffer) => parts.push(part));
    response.on("error", reject);
    response.on("end", () => {
      const body = Buffer.concat(parts);
      resolve({
        status: response.statusCode!,
        headers: response.headers,
        trailers: response.trailers,
        body,
        text: body.toString(),
      });
    });
  });
  if (options.chunks !== undefined) {
    request.flushHeaders();
    for (const chunk of options.chunks) request.write(chunk);
  }
  request.end(options.body);
  return promise;
}

/** Waits until something holds; fails after five seconds. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 5_000;
  while (!holds()) {
    if (performance.now() > end) throw new DOMException(`it did not come about: ${what}`, "TimeoutError");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
