/**
 * The master of a proxy: owns the listening sockets, keeps one proxy process running, passes new configurations on.
 *
 * A configuration is swapped in place: the process gets the sockets that it adds, and lets go of those it takes away.
 * Where the number of threads or the temporary folder differs, the process is replaced instead: the new one is ready
 * before the old one drains.
 */
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { type BoundListener, type ChildHandle, ProcessGroup, SupervisorError } from "@portico/supervisor";
import { type ConfigSource, loadConfig } from "../config/load.ts";
import type { ResolvedConfig } from "../config/schema.ts";
import type { ProxyLog } from "../deps.ts";
import { PorticoProxyError } from "../errors.ts";
import { createErrorLog } from "../log/error-log.ts";
import { LogSinks } from "../log/sinks.ts";
import type { FromProcess, ProcessInit, ProcessStatus, SocketOrder, ToProcess } from "./messages.ts";
import { type Listeners, type Sockets, bindSockets, clientUrl, missingFrom, permitAll } from "./sockets.ts";
import { makeTempDirectory, removeTempDirectory } from "./temp-directory.ts";

/** `graceful` finishes what is under way; `quick` closes in order; `kill` does not ask. */
export type StopMode = "graceful" | "quick" | "kill";

/** A running proxy; the calling process is its master. */
export interface RunningProxy {
  /** Where it listens, for clients on this machine: `http://127.0.0.1:8080`, `unix:/run/portico.sock`. */
  readonly addresses: readonly string[];
  /** What the proxy process says of itself; undefined while there is none that answers. */
  status(): Promise<ProcessStatus | undefined>;
  /** The configuration in force. */
  readonly config: ResolvedConfig;
  /** Threads that serve. */
  readonly threads: number;
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

// A thread compiles ten thousand routes in a fraction of a second; beyond this it hangs.
const RELOAD_TIMEOUT_MS = 30_000;
// What the process itself needs to end after its requests have.
const STOP_MARGIN_MS = 2000;
// libuv's pool reads files for all threads; its default of four would let four slow disks' reads stop every thread.
const POOL_SIZE_PER_THREAD = 4;

const threadsOf = (config: ResolvedConfig): number =>
  config.threads === "auto" ? availableParallelism() : config.threads;

class Master implements RunningProxy {
  #source: ConfigSource;
  #init: { -readonly [Key in keyof ProcessInit]: ProcessInit[Key] };
  #group: ProcessGroup;
  readonly #sinks: LogSinks;
  #listeners: Listeners;
  /** Sockets that a child has open, and their backlog, where they are no longer those it was started with. */
  readonly #open = new WeakMap<ChildHandle, ReadonlyMap<string, number>>();
  #turn = 0;
  #reloading: Promise<void> = Promise.resolve();
  readonly #answers = new Map<number, (answer: FromProcess) => void>();
  #stopped: Promise<void> | undefined;
  /** Temporary folders of earlier configurations, which a process that drains may still use. */
  readonly #abandoned: string[] = [];

  private constructor(source: ConfigSource, init: ProcessInit, listeners: Listeners) {
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
    const { listeners, orders } = await bindSockets(config.listen, new Map());
    let tempDirectory: string | undefined;
    try {
      tempDirectory = await makeTempDirectory(config.tempDirectory);
      const master = new Master(
        source,
        { config, threads: threadsOf(config), tempDirectory, sockets: orders },
        listeners,
      );
      await master.#group.start();
      return master;
    } catch (cause) {
      await Promise.all(Array.from(listeners.values(), (listener) => listener.close()));
      if (tempDirectory !== undefined) await removeTempDirectory(tempDirectory);
      throw startError(cause, listeners);
    }
  }

  get addresses(): readonly string[] {
    return Array.from(this.#listeners.values(), clientUrl);
  }

  get config(): ResolvedConfig {
    return this.#init.config;
  }

  get threads(): number {
    return this.#init.threads;
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
    const sockets = await bindSockets(config.listen, this.#listeners);
    const inPlace = threadsOf(config) === this.#init.threads && config.tempDirectory === this.config.tempDirectory;
    try {
      if (inPlace) await this.#swap(config, sockets);
      else await this.#replace(config, sockets);
    } catch (error) {
      await closeAll(sockets.fresh);
      throw error;
    }
    const removed = missingFrom(this.#listeners, sockets.listeners);
    this.#listeners = sockets.listeners;
    await closeAll(removed);
    await permitAll(sockets.orders, sockets.listeners, config.listen);
    this.#source = source;
    this.#sinks.configure(config.log);
    this.#log(config).info({}, "configuration reloaded");
  }

  /** In place: connections stay where they are. */
  async #swap(config: ResolvedConfig, sockets: Sockets): Promise<void> {
    const before = { config: this.#init.config, sockets: this.#init.sockets };
    // A process that is spawned from now on starts with it.
    Object.assign(this.#init, { config, sockets: sockets.orders });
    this.#group.amend({ listeners: [...sockets.listeners.values()] });
    try {
      for (const child of this.#group.children)
        if (child.state === "starting" || child.state === "ready")
          await this.#give(child, config, sockets, before.sockets);
    } catch (error) {
      Object.assign(this.#init, before);
      this.#group.amend({ listeners: [...this.#listeners.values()] });
      throw error;
    }
  }

  /** Asks a child something, and waits for its answer to this turn. */
  async #ask<Type extends FromProcess["type"]>(
    child: ChildHandle,
    send: (turn: number) => void,
  ): Promise<Extract<FromProcess, { type: Type }>> {
    const turn = ++this.#turn;
    const { promise, resolve, reject } = Promise.withResolvers<FromProcess>();
    promise.catch(() => {});
    const fail = (reason: string): void => reject(new PorticoProxyError("reload-failed", reason));
    const timer = setTimeout(() => fail("the proxy process did not answer"), RELOAD_TIMEOUT_MS);
    this.#answers.set(turn, resolve);
    void child.gone.then(() => fail("the proxy process ended meanwhile"));
    try {
      await child.ready;
      send(turn);
      return (await promise) as Extract<FromProcess, { type: Type }>;
    } finally {
      clearTimeout(timer);
      this.#answers.delete(turn);
    }
  }

  async #give(
    child: ChildHandle,
    config: ResolvedConfig,
    sockets: Sockets,
    before: readonly SocketOrder[],
  ): Promise<void> {
    const has = this.#open.get(child) ?? backlogs(before);
    const wants = backlogs(sockets.orders);
    const { error } = await this.#ask<"reloaded">(child, (turn) => {
      for (const [key, backlog] of wants) {
        // The backlog is said when one begins to listen: another one needs a descriptor to begin with.
        if (has.get(key) === backlog) continue;
        const order: ToProcess = { type: "socket", turn, key };
        for (let thread = 0; thread < this.#init.threads; thread++) child.pass(order, sockets.listeners.get(key)!);
      }
      const order: ToProcess = { type: "reload", turn, config, sockets: sockets.orders };
      child.send(order);
    });
    if (error !== undefined) throw new PorticoProxyError("reload-failed", error);
    this.#open.set(child, wants);
  }

  /** Other threads: a new process, ready before the old one drains. */
  async #replace(config: ResolvedConfig, sockets: Sockets): Promise<void> {
    const before = this.#init.tempDirectory;
    const elsewhere = config.tempDirectory !== this.config.tempDirectory;
    const tempDirectory = elsewhere ? await makeTempDirectory(config.tempDirectory) : before;
    const next: ProcessInit = { config, threads: threadsOf(config), tempDirectory, sockets: sockets.orders };
    try {
      await this.#group.reload(next, { listeners: [...sockets.listeners.values()], copies: next.threads });
    } catch (cause) {
      if (elsewhere) await removeTempDirectory(tempDirectory);
      throw new PorticoProxyError("reload-failed", messageOf(cause), { cause });
    }
    this.#init = next;
    if (elsewhere) this.#abandoned.push(before);
  }

  async status(): Promise<ProcessStatus | undefined> {
    const child = this.#group.children.findLast(({ state }) => state === "ready");
    if (child === undefined) return undefined;
    const order = (turn: number): ToProcess => ({ type: "status", turn });
    return this.#ask<"status">(child, (turn) => void child.send(order(turn))).then(
      ({ status }) => status,
      () => undefined,
    );
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
    for (const folder of [this.#init.tempDirectory, ...this.#abandoned]) await removeTempDirectory(folder);
    await this.#sinks.flush();
  }
}

const backlogs = (orders: readonly SocketOrder[]): ReadonlyMap<string, number> =>
  new Map(orders.map(({ key, backlog }) => [key, backlog]));

async function closeAll(listeners: readonly BoundListener[]): Promise<void> {
  await Promise.all(listeners.map((listener) => listener.close()));
}

/** Two masters may bind one port at once; who begins to listen second hears of it only then. */
function startError(cause: unknown, listeners: Listeners): PorticoProxyError {
  if (cause instanceof PorticoProxyError) return cause;
  const { code } = ((cause instanceof SupervisorError ? cause.cause : undefined) ?? {}) as { code?: unknown };
  if (code === "listen-failed") {
    const where = Array.from(listeners.values(), ({ url }) => url).join(", ");
    return new PorticoProxyError(code, `cannot listen on ${where}: another process already listens there`, { cause });
  }
  return new PorticoProxyError("start-failed", `the proxy did not start: ${messageOf(cause)}`, { cause });
}

function messageOf(error: unknown): string {
  return error instanceof SupervisorError && error.cause instanceof Error
    ? `${error.message}: ${error.cause.message}`
    : error instanceof Error
      ? error.message
      : String(error);
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
