/** A proxy thread: sockets in front, the compiled configuration behind, one engine between them. */
import net from "node:net";
import type { MessagePort } from "node:worker_threads";
import type { Exchange } from "@portico/gateway/exchange";
import { HttpListener } from "@portico/http1/socket";
import { compileTrust } from "../config/trust.ts";
import type { ResolvedConfig } from "../config/schema.ts";
import { LineBatch, type LogName } from "../log/batch.ts";
import { createConnector } from "../upstream/connect.ts";
import { UpstreamRegistry } from "../upstream/registry.ts";
import { systemLookup } from "../upstream/resolve.ts";
import { Wheel } from "../upstream/wheel.ts";
import { type Compiled, prepare } from "./compile.ts";
import { listenerOptions } from "./listener-options.ts";
import type { FromThread, ThreadInit, ToThread } from "./messages.ts";

export class ServingThread {
  readonly #init: ThreadInit;
  readonly #port: MessagePort;
  readonly #connections: Int32Array;
  readonly #logs: Readonly<Record<LogName, LineBatch>>;
  readonly #wheel = new Wheel();
  readonly #registry: UpstreamRegistry;
  readonly #servers: net.Server[] = [];
  /** In force. Exchanges and connections that began under an earlier one end under it. */
  #current: Compiled;
  #next: Compiled | undefined;
  #listener: HttpListener;
  /** Listeners of earlier configurations, whose connections live on. */
  readonly #earlier = new Set<HttpListener>();

  constructor(init: ThreadInit, port: MessagePort) {
    this.#init = init;
    this.#port = port;
    this.#connections = new Int32Array(init.connections);
    this.#logs = {
      access: new LineBatch((lines) => this.#post({ type: "log", log: "access", lines })),
      error: new LineBatch((lines) => this.#post({ type: "log", log: "error", lines })),
    };
    this.#registry = this.#createRegistry();
    this.#current = this.#prepare(init.config);
    this.#current.commit();
    this.#listener = this.#createListener(init.config);
  }

  start(): void {
    this.#port.on("message", (message: ToThread) => this.#receive(message));
    let opening = this.#init.listeners.length;
    for (const { fd, backlog } of this.#init.listeners) {
      const server = net.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: false }, (socket) =>
        this.#accept(socket),
      );
      this.#servers.push(server);
      server.on("error", (error) => this.#current.log.error({ err: error }, "accepting connections failed"));
      server.listen({ fd, backlog }, () => {
        if (--opening === 0) this.#post({ type: "ready" });
      });
    }
  }

  #post(message: FromThread): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#port.postMessage(message);
  }

  #prepare(config: ResolvedConfig): Compiled {
    return prepare(config, {
      thread: this.#init.thread,
      threads: this.#init.threads,
      tempDirectory: this.#init.tempDirectory,
      registry: this.#registry,
      wheel: this.#wheel,
      writeLog: (log, line) => this.#logs[log].write(line),
    });
  }

  /** Lives through reloads, so the log and the secret are looked up each time. */
  #createRegistry(): UpstreamRegistry {
    const current = (): Compiled => this.#current;
    const connect = createConnector({
      wheel: this.#wheel,
      get linkSecret() {
        return current().config.linkSecret;
      },
      onError: (error) => current().log.error({ err: error }, "handling an upstream's response failed"),
    });
    return new UpstreamRegistry({
      now: () => this.#wheel.now(),
      lookup: systemLookup,
      connect,
      log: {
        warn: (fields, message) => current().log.warn(fields, message),
        info: (fields, message) => current().log.info(fields, message),
      },
    });
  }

  #createListener(config: ResolvedConfig): HttpListener {
    const trust = compileTrust(config.trustedProxies);
    // The handler looks the configuration up for each exchange: a connection that lives on meets the new routes.
    return new HttpListener(
      (exchange: Exchange) => this.#current.handler(exchange),
      listenerOptions(config, trust, () => this.#current.log),
    );
  }

  #accept(socket: net.Socket): void {
    const open = Atomics.add(this.#connections, 0, 1) + 1;
    const closed = (): void => void Atomics.sub(this.#connections, 0, 1);
    if (open > this.#current.config.limits.connections) socket.once("close", closed).destroy();
    else this.#listener.attach(socket).once("close", closed);
  }

  #receive(message: ToThread): void {
    switch (message.type) {
      case "prepare":
        return this.#post({ type: "prepared", error: this.#tryPrepare(message.config) });
      case "commit":
        this.#commit();
        return this.#post({ type: "committed" });
      case "discard":
        this.#next = undefined;
        return;
      case "drain":
        void this.#drain(message.graceMs);
    }
  }

  #tryPrepare(config: ResolvedConfig): string | undefined {
    try {
      this.#next = this.#prepare(config);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  #commit(): void {
    const next = this.#next;
    if (next === undefined) return;
    this.#next = undefined;
    const before = this.#current.config;
    // Compiled and bound in one turn of the event loop: no request meets half of it.
    next.commit();
    this.#current = next;
    for (const listener of this.#earlier) if (listener.connections === 0) this.#earlier.delete(listener);
    const settings = ({ limits, timeouts, trustedProxies }: ResolvedConfig): string =>
      JSON.stringify([limits, timeouts, trustedProxies]);
    if (settings(before) === settings(next.config)) return;
    this.#earlier.add(this.#listener);
    this.#listener = this.#createListener(next.config);
  }

  async #drain(graceMs: number): Promise<void> {
    for (const server of this.#servers) server.close();
    const listeners = [this.#listener, ...this.#earlier];
    if (graceMs > 0) await Promise.all(listeners.map((listener) => listener.drain(graceMs)));
    for (const listener of listeners) listener.destroy();
    this.#registry.destroy();
    for (const log of Object.values(this.#logs)) log.flush();
    this.#post({ type: "drained" });
  }
}
