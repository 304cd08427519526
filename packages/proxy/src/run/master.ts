/**
 * The master of a proxy: owns the listening sockets, keeps one proxy process running, passes new configurations on.
 *
 * A configuration is swapped in place. Where its listening addresses or its number of threads differ, the process is
 * replaced instead: the new one is ready before the old one drains.
 */
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import {
  BoundListener,
  type ChildHandle,
  type ListenAddress,
  ProcessGroup,
  SupervisorError,
} from "@portico/supervisor";
import { type ConfigSource, loadConfig } from "../config/load.ts";
import type { ListenSettings, ResolvedConfig } from "../config/schema.ts";
import type { ProxyLog } from "../deps.ts";
import { PorticoProxyError } from "../errors.ts";
import { createErrorLog } from "../log/error-log.ts";
import { LogSinks } from "../log/sinks.ts";
import type { FromProcess, ProcessInit, ToProcess } from "./messages.ts";
import { makeTempDirectory, removeTempDirectory } from "./temp-directory.ts";

/** `graceful` finishes what is under way; `quick` closes in order; `kill` does not ask. */
export type StopMode = "graceful" | "quick" | "kill";

/** A running proxy; the calling process is its master. */
export interface RunningProxy {
  /** Where it listens, for clients: `http://127.0.0.1:8080`, `unix:/run/portico.sock`. */
  readonly addresses: readonly string[];
  /** The configuration in force. */
  readonly config: ResolvedConfig;
  /** Process id of the proxy process; changes when it is replaced. Undefined while there is none. */
  readonly pid: number | undefined;
  /**
   * Reads the configuration again (or takes this one) and puts it in force. On any error nothing has changed.
   *
   * @throws PorticoProxyError `config-…`, `listen-failed`, `reload-failed`
   */
  reload(source?: ConfigSource): Promise<void>;
  /** Opens the log files again, after they were moved away. */
  reopenLogs(): void;
  /**
   * Stops and leaves nothing behind. `graceful` finishes what is under way, for at most `timeouts.graceful`; the
   * others do not. May be called again with a harder mode.
   */
  stop(mode?: StopMode): Promise<void>;
}

// The children of a master that was killed leave its addresses within a moment.
const ADDRESS_WAIT_MS = 1000;
// A thread compiles ten thousand routes in a fraction of a second; beyond this it hangs.
const RELOAD_TIMEOUT_MS = 30_000;
// What the process itself needs to end after its requests have.
const STOP_MARGIN_MS = 2000;
// libuv's pool reads files for all threads; its default of four would let four slow disks' reads stop every thread.
const POOL_SIZE_PER_THREAD = 4;

function addressOf(listen: ListenSettings): ListenAddress {
  if (listen.unix !== undefined) return { protocol: "http", kind: "unix", path: listen.unix };
  return { protocol: "http", kind: "tcp", host: listen.host ?? "", port: listen.port! };
}

const listenKey = (listen: ListenSettings): string =>
  JSON.stringify([listen.unix, listen.host, listen.port, listen.mode, listen.backlog]);

async function bindOne(listen: ListenSettings): Promise<BoundListener> {
  try {
    const mode = listen.mode === undefined ? {} : { mode: Number.parseInt(listen.mode, 8) };
    return await BoundListener.bind(addressOf(listen), { backlog: listen.backlog, waitMs: ADDRESS_WAIT_MS, ...mode });
  } catch (cause) {
    throw new PorticoProxyError("listen-failed", cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

const threadsOf = (config: ResolvedConfig): number =>
  config.threads === "auto" ? availableParallelism() : config.threads;

class Master implements RunningProxy {
  #source: ConfigSource;
  #init: { -readonly [Key in keyof ProcessInit]: ProcessInit[Key] };
  #group: ProcessGroup;
  readonly #sinks: LogSinks;
  #listeners: ReadonlyMap<string, BoundListener>;
  #turn = 0;
  #reloading: Promise<void> = Promise.resolve();
  readonly #answers = new Map<number, (answer: FromProcess) => void>();
  #stopped: Promise<void> | undefined;

  private constructor(source: ConfigSource, init: ProcessInit, listeners: ReadonlyMap<string, BoundListener>) {
    this.#source = source;
    this.#init = { ...init };
    this.#listeners = listeners;
    this.#sinks = new LogSinks(init.config.log);
    this.#group = new ProcessGroup({
      name: "proxy",
      entry: fileURLToPath(import.meta.resolve("@portico/proxy/process")),
      count: 1,
      listeners: [...listeners.values()],
      copies: init.threads,
      // Read at every spawn: a process that replaces a dead one gets the configuration in force.
      init: this.#init,
      env: {
        ...process.env,
        UV_THREADPOOL_SIZE: process.env["UV_THREADPOOL_SIZE"] ?? String(init.threads * POOL_SIZE_PER_THREAD),
      },
      gracefulTimeout: init.config.timeouts.graceful + STOP_MARGIN_MS,
      onEvent: ({ level, message, ...fields }) => this.#log(this.config)[level](fields, message),
      onMessage: (_child, message) => {
        const answer = message as FromProcess;
        this.#answers.get(answer.turn)?.(answer);
      },
    });
  }

  /** Binds, starts, and is ready when it resolves; leaves nothing behind when it rejects. */
  static async start(source: ConfigSource): Promise<Master> {
    const config = await loadConfig(source);
    const listeners = await bindAll(config.listen, new Map());
    let tempDirectory: string | undefined;
    try {
      tempDirectory = await makeTempDirectory(config.tempDirectory);
      const master = new Master(source, { config, threads: threadsOf(config), tempDirectory }, listeners);
      await master.#group.start();
      return master;
    } catch (cause) {
      await Promise.all(Array.from(listeners.values(), (listener) => listener.close()));
      if (tempDirectory !== undefined) await removeTempDirectory(tempDirectory);
      throw cause instanceof PorticoProxyError
        ? cause
        : new PorticoProxyError("start-failed", `the proxy did not start: ${messageOf(cause)}`, { cause });
    }
  }

  get addresses(): readonly string[] {
    return Array.from(this.#listeners.values(), (listener) => listener.url);
  }

  get config(): ResolvedConfig {
    return this.#init.config;
  }

  get pid(): number | undefined {
    return this.#group.children.findLast((child) => child.state === "ready")?.pid;
  }

  #log(config: ResolvedConfig): ProxyLog {
    return createErrorLog(config.log, { process: "master" }, (line) => this.#sinks.write("error", line));
  }

  reload(source: ConfigSource = this.#source): Promise<void> {
    const run = this.#reloading.then(() => this.#reload(source));
    this.#reloading = run.catch(() => {});
    return run;
  }

  async #reload(source: ConfigSource): Promise<void> {
    if (this.#stopped !== undefined) throw new PorticoProxyError("reload-failed", "the proxy is stopping");
    const config = await loadConfig(source);
    const sameListeners =
      config.listen.length === this.#listeners.size &&
      config.listen.every((listen) => this.#listeners.has(listenKey(listen)));
    if (sameListeners && threadsOf(config) === this.#init.threads) await this.#swap(config);
    else await this.#replace(config);
    this.#source = source;
    this.#sinks.configure(config.log);
    this.#log(config).info({}, "configuration reloaded");
  }

  /** In place: connections stay where they are. */
  async #swap(config: ResolvedConfig): Promise<void> {
    const before = this.#init.config;
    // A process that is spawned from now on starts with it.
    this.#init.config = config;
    try {
      for (const child of this.#group.children)
        if (child.state === "starting" || child.state === "ready") await this.#give(child, config);
    } catch (error) {
      this.#init.config = before;
      throw error;
    }
  }

  async #give(child: ChildHandle, config: ResolvedConfig): Promise<void> {
    const turn = ++this.#turn;
    const { promise, resolve, reject } = Promise.withResolvers<FromProcess>();
    const fail = (reason: string): void => reject(new PorticoProxyError("reload-failed", reason));
    const timer = setTimeout(() => fail("the proxy process did not answer"), RELOAD_TIMEOUT_MS);
    this.#answers.set(turn, resolve);
    void child.gone.then(() => fail("the proxy process ended meanwhile"));
    try {
      await child.ready;
      const order: ToProcess = { type: "reload", turn, config };
      child.send(order);
      const { error } = await promise;
      if (error !== undefined) throw new PorticoProxyError("reload-failed", error);
    } finally {
      clearTimeout(timer);
      this.#answers.delete(turn);
      promise.catch(() => {});
    }
  }

  /** Other sockets or threads: a new process, ready before the old one drains. */
  async #replace(config: ResolvedConfig): Promise<void> {
    const listeners = await bindAll(config.listen, this.#listeners);
    const init: ProcessInit = { config, threads: threadsOf(config), tempDirectory: this.#init.tempDirectory };
    const before = this.#listeners;
    const unused = (a: ReadonlyMap<string, BoundListener>, b: ReadonlyMap<string, BoundListener>): BoundListener[] =>
      Array.from(a).flatMap(([key, listener]) => (b.has(key) ? [] : [listener]));
    const next = { ...init };
    try {
      await this.#group.reload(next, { listeners: [...listeners.values()], copies: init.threads });
    } catch (cause) {
      await Promise.all(unused(listeners, before).map((listener) => listener.close()));
      throw new PorticoProxyError("reload-failed", messageOf(cause), { cause });
    }
    this.#init = next;
    this.#listeners = listeners;
    await Promise.all(unused(before, listeners).map((listener) => listener.close()));
  }

  reopenLogs(): void {
    this.#sinks.reopen();
    const order: ToProcess = { type: "reopen" };
    for (const child of this.#group.children) child.send(order);
  }

  async stop(mode: StopMode = "graceful"): Promise<void> {
    // Ours first: once the threads have closed theirs, clients are refused instead of waiting for nobody.
    const closed = Promise.all(Array.from(this.#listeners.values(), (listener) => listener.close()));
    const gone = this.#group.stop(mode);
    this.#stopped ??= Promise.all([gone, closed]).then(() => this.#clean());
    await this.#stopped;
  }

  async #clean(): Promise<void> {
    await removeTempDirectory(this.#init.tempDirectory);
    await this.#sinks.flush();
  }
}

function messageOf(error: unknown): string {
  return error instanceof SupervisorError && error.cause instanceof Error
    ? `${error.message}: ${error.cause.message}`
    : error instanceof Error
      ? error.message
      : String(error);
}

/** Binds what is not bound yet. On failure closes what it bound. */
async function bindAll(
  wanted: readonly ListenSettings[],
  bound: ReadonlyMap<string, BoundListener>,
): Promise<Map<string, BoundListener>> {
  const listeners = new Map<string, BoundListener>();
  const fresh: BoundListener[] = [];
  try {
    for (const listen of wanted) {
      let key = listenKey(listen);
      // Port 0 twice is two sockets.
      while (listeners.has(key)) key += "+";
      const known = bound.get(key);
      const listener = known ?? (await bindOne(listen));
      if (known === undefined) fresh.push(listener);
      listeners.set(key, listener);
    }
    return listeners;
  } catch (error) {
    await Promise.all(fresh.map((listener) => listener.close()));
    throw error;
  }
}

/**
 * Starts a proxy. The calling process becomes its master: it holds the listening sockets and starts the proxy process;
 * it installs no signal handlers.
 *
 * @param source a configuration file (read again by `reload`), or a configuration
 * @throws PorticoProxyError `config-…`, `listen-failed`, `start-failed`; nothing is left running then
 */
export async function startProxy(source: ConfigSource): Promise<RunningProxy> {
  return Master.start(source);
}
