/** A proxy thread: sockets in front, the compiled configuration behind, one engine between them. */
import { closeSync } from "node:fs";
import type { MessagePort } from "node:worker_threads";
import type { Exchange } from "@portico/gateway/exchange";
import { HttpListener, type HttpListenerOptions } from "@portico/http1/socket";
import { compileTrust } from "../config/trust.ts";
import type { ResolvedConfig } from "../config/schema.ts";
import { LineBatch, type LogName } from "../log/batch.ts";
import { createConnector } from "../upstream/connect.ts";
import { UpstreamRegistry } from "../upstream/registry.ts";
import { createResolver } from "../upstream/resolver.ts";
import { Wheel } from "../upstream/wheel.ts";
import { Zone } from "../upstream/zone.ts";
import { type Compiled, prepare } from "./compile.ts";
import { Door, type DoorOwner } from "./door.ts";
import { listenerOptions } from "./listener-options.ts";
import type { FromThread, ThreadInit, ThreadListener, ToThread } from "./messages.ts";
import { HealthNewsChannel } from "./news.ts";
import { beat } from "./thread-watch.ts";

/** A configuration that is ready to be put in force, and the doors it will have. */
interface Prepared {
  readonly compiled: Compiled;
  readonly options: HttpListenerOptions;
  readonly listeners: readonly ThreadListener[];
  readonly doors: ReadonlyMap<string, Door>;
}

export class ServingThread {
  readonly #init: ThreadInit;
  readonly #port: MessagePort;
  readonly #connections: Int32Array;
  readonly #logs: Readonly<Record<LogName, LineBatch>>;
  readonly #wheel = new Wheel();
  readonly #registry: UpstreamRegistry;
  readonly #news: HealthNewsChannel;
  /** In force, or being put in force. */
  #config: ResolvedConfig;
  /** In force. Exchanges that began under an earlier one end under it. */
  #current!: Compiled;
  #options!: HttpListenerOptions;
  #doors: ReadonlyMap<string, Door> = new Map();
  /** Removed, and not empty yet. */
  readonly #leaving = new Set<Door>();
  #requestsOfGone = 0;
  #next: Prepared | undefined;

  constructor(init: ThreadInit, port: MessagePort) {
    this.#init = init;
    this.#port = port;
    this.#connections = new Int32Array(init.connections);
    this.#logs = {
      access: new LineBatch((lines) => this.#post({ type: "log", log: "access", lines })),
      error: new LineBatch((lines) => this.#post({ type: "log", log: "error", lines })),
    };
    this.#config = init.config;
    this.#registry = this.#createRegistry();
    this.#news = new HealthNewsChannel({
      onNews: (news) => this.#registry.hear(news),
      onAsked: () => this.#registry.tellAll(),
    });
  }

  async start(): Promise<void> {
    try {
      const { config } = this.#init;
      this.#current = await this.#prepare(config);
      this.#current.commit();
      this.#options = this.#optionsOf(config);
      this.#port.on("message", (message: ToThread) => void this.#receive(message));
      this.#doors = await this.#open(this.#init.listeners, this.#init.config);
      beat(this.#init.beats, this.#init.thread);
      this.#post({ type: "ready" });
    } catch (error) {
      const { message, code } = error as NodeJS.ErrnoException;
      this.#post({ type: "failed", error: message, code });
    }
  }

  #post(message: FromThread): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#port.postMessage(message);
  }

  #prepare(config: ResolvedConfig): Promise<Compiled> {
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
    const config = (): ResolvedConfig => this.#config;
    const connect = createConnector({
      wheel: this.#wheel,
      get linkSecret() {
        return config().linkSecret;
      },
      onError: (error) => current().log.error({ err: error }, "handling an upstream's response failed"),
    });
    return new UpstreamRegistry({
      wheel: this.#wheel,
      resolver: createResolver(() => config().resolver),
      lookupInterval: () => config().resolver.interval,
      zone: new Zone(this.#init.zone),
      probes: this.#init.thread === 0,
      tell: (news) => this.#news.tell(news),
      connect,
      log: {
        warn: (fields, message) => current().log.warn(fields, message),
        info: (fields, message) => current().log.info(fields, message),
      },
    });
  }

  // --- doors -----------------------------------------------------------------------------------------------------

  #optionsOf(config: ResolvedConfig): HttpListenerOptions {
    return listenerOptions(config, compileTrust(config.trustedProxies), () => this.#current.log);
  }

  readonly #owner: DoorOwner = {
    entered: () => {
      if (Atomics.add(this.#connections, 0, 1) < this.#current.config.limits.connections) return true;
      Atomics.sub(this.#connections, 0, 1);
      return false;
    },
    left: () => void Atomics.sub(this.#connections, 0, 1),
    note: (level, fields, message) => this.#current.log[level](fields, message),
  };

  #createDoor(listener: ThreadListener): Door {
    // The handler looks the configuration up for each exchange: a connection that lives on meets the new routes.
    const http = new HttpListener((exchange: Exchange) => this.#current.handler(exchange), this.#options);
    return new Door(listener, http, this.#owner);
  }

  /** The doors of a configuration: those that are there already, and new ones, open. Rejects with none of them left open. */
  async #open(listeners: readonly ThreadListener[], config: ResolvedConfig): Promise<ReadonlyMap<string, Door>> {
    const doors = new Map<string, Door>();
    const fresh: Door[] = [];
    const waiting = [...listeners];
    try {
      for (let listener = waiting.shift(); listener !== undefined; listener = waiting.shift()) {
        const { key, fd, backlog, index } = listener;
        const known = this.#doors.get(key);
        const door = known ?? this.#createDoor(listener);
        if (known === undefined) {
          fresh.push(door);
          door.configure(config.listen[index]!);
        }
        if (fd !== undefined) await door.open(fd, backlog);
        doors.set(key, door);
      }
      return doors;
    } catch (error) {
      for (const door of fresh) door.close();
      // Nobody else would: they came for us.
      for (const { fd } of waiting) if (fd !== undefined) closeSync(fd);
      throw error;
    }
  }

  #closeDoor(door: Door): void {
    this.#leaving.add(door);
    void door.leave().then(() => {
      this.#leaving.delete(door);
      this.#requestsOfGone += door.http.requests;
    });
  }

  // --- orders ----------------------------------------------------------------------------------------------------

  async #receive(message: ToThread): Promise<void> {
    switch (message.type) {
      case "prepare":
        return this.#post({ type: "prepared", error: await this.#tryPrepare(message.config, message.listeners) });
      case "commit":
        this.#commit();
        return this.#post({ type: "committed" });
      case "discard":
        return this.#discard();
      case "count":
        return this.#post({ type: "counted", requests: this.#requests() });
      case "drain":
        return this.#drain(message.graceMs);
    }
  }

  #requests(): number {
    return [...this.#doors.values(), ...this.#leaving].reduce(
      (sum, { http }) => sum + http.requests,
      this.#requestsOfGone,
    );
  }

  async #tryPrepare(config: ResolvedConfig, listeners: readonly ThreadListener[]): Promise<string | undefined> {
    try {
      const compiled = await this.#prepare(config);
      const options = this.#optionsOf(config);
      this.#next = { compiled, options, listeners, doors: await this.#open(listeners, config) };
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  #discard(): void {
    const next = this.#next;
    this.#next = undefined;
    for (const [key, door] of next?.doors ?? []) if (!this.#doors.has(key)) this.#closeDoor(door);
  }

  /** In one turn of the event loop: no request meets half of it. */
  #commit(): void {
    const next = this.#next;
    if (next === undefined) return;
    this.#next = undefined;
    const before = this.#current.config;
    this.#config = next.compiled.config;
    next.compiled.commit();
    this.#current = next.compiled;
    const doors = this.#doors;
    this.#doors = next.doors;
    for (const [key, door] of doors) if (!next.doors.has(key)) this.#closeDoor(door);
    for (const { key, index } of next.listeners) next.doors.get(key)!.configure(next.compiled.config.listen[index]!);
    const settings = ({ limits, timeouts, trustedProxies }: ResolvedConfig): string =>
      JSON.stringify([limits, timeouts, trustedProxies]);
    if (settings(before) === settings(next.compiled.config)) return;
    this.#options = next.options;
    for (const { http } of [...next.doors.values(), ...this.#leaving]) http.configure(next.options);
  }

  async #drain(graceMs: number): Promise<void> {
    const doors = [...this.#doors.values(), ...this.#leaving];
    for (const door of doors) door.close();
    if (graceMs > 0) await Promise.all(doors.map(({ http }) => http.drain(graceMs)));
    for (const { http } of doors) http.destroy();
    this.#registry.destroy();
    this.#news.close();
    for (const log of Object.values(this.#logs)) log.flush();
    this.#post({ type: "drained" });
  }
}
