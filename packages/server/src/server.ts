/**
 * The master as a library: owns the listening sockets and the group of workers, runs no application code, installs no
 * signal handler and ends no process. `portico-server` and `portico` add those.
 */
import type { Socket } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Logger } from "@portico/gateway";
import { ProcessGroup } from "@portico/supervisor";
import { compileCacheFolder } from "@portico/supervisor/compile-cache";
import type { ChildHandle, Identity, StackReport } from "@portico/supervisor";
import { checkConfiguration, restartOnlyChanges } from "./configuration.ts";
import type { LoadedHooks } from "./configuration.ts";
import { PorticoServerError } from "./error.ts";
import { HOOKS } from "./hooks.ts";
import type { HookName, HookServer } from "./hooks.ts";
import { LinkDispatcher } from "./link-dispatch.ts";
import { MasterHooks } from "./master-hooks.ts";
import { checkAddresses, Listeners } from "./listeners.ts";
import type { PreparedListeners } from "./listeners.ts";
import { openLog } from "./log.ts";
import type { ServerLog } from "./log.ts";
import type { FromWorker, ToWorker, WorkerInit, WorkerQuestion, WorkerResults } from "./messages.ts";
import { MetricsRegistry, type MetricsSnapshot } from "./metrics/registry.ts";
import { resolveModule } from "./module-specifier.ts";
import { makeLogFiles, workerIdentity } from "./privileges.ts";
import type { ResolvedConfig, ServerConfig } from "./settings.ts";
import { trustTest } from "./trust.ts";
import { SessionRegistry } from "./sessions/registry.ts";
import { StartLog } from "./start-log.ts";
import { type NewMaster, Upgrade } from "./upgrade.ts";
import { WorkerAnswers } from "./worker-answers.ts";
import { type BootFacts, workerFailure } from "./worker-failure.ts";

/** Node's word on a package.json without "type": four lines, from every worker, about something that works. */
const NO_TYPE_WARNING = "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON";

/** What a server is started with beside its configuration. */
export interface ServerOptions {
  /** Folder that relative names start from. Default: the process's working folder. */
  readonly cwd?: string;
  /** Name in logs and process lists. Default `portico-server`. */
  readonly name?: string;
  /** Logger of the master; workers log by the configuration. Default: as the configuration says. */
  readonly log?: Logger;
  /** Hooks, and the module that workers find theirs in; `loadConfiguration` gives both. */
  readonly hooks?: LoadedHooks | undefined;
  /** False: binds nothing, for a check that the application starts. Default true. */
  readonly listen?: boolean;
  /** Gets the server before it is up, so that a signal can stop a start. */
  readonly onStarting?: (server: RunningServer) => void;
  /** With `reload` set: files that the application has loaded. */
  readonly onFiles?: (files: readonly string[]) => void;
}

/** One worker process as the master sees it. */
export interface WorkerInfo {
  /** From 1; a replacement has the id of the one it replaces. */
  readonly id: number;
  readonly pid: number;
  readonly generation: number;
  readonly state: "starting" | "ready" | "draining" | "gone";
  /** Connections of the link that it holds. */
  readonly links: number;
  /** How late its event loop was at the last beat, milliseconds; undefined before the first. */
  readonly lag: number | undefined;
  /** Resident memory at the last beat, bytes; undefined before the first. */
  readonly rss: number | undefined;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  /** Milliseconds since the epoch; undefined while it starts. */
  readonly readyAt: number | undefined;
}

/** A server that is up. */
export interface RunningServer {
  /** Where it listens, with real ports: `http://127.0.0.1:8000`, `link+unix:/run/app.sock`. */
  readonly addresses: readonly string[];
  /** What the application turned out to be: `express`, `fetch`, `tsgi`. */
  readonly application: string;
  /**
   * Loads the application again in new workers, with a new configuration where one is given; the old ones leave when
   * their replacements are ready. Rejects with the reason, and the old ones stay, where a replacement does not come up.
   */
  reload(config?: ServerConfig, hooks?: LoadedHooks): Promise<void>;
  /** How many workers there should be. */
  readonly wanted: number;
  /** Changes the number of workers, from 1. Resolves when the new ones are ready, or the surplus ones are gone. */
  scale(workers: number): Promise<void>;
  /**
   * Replaces one worker in order: another is ready before it leaves. Rejects, and it stays, where none comes up.
   * @param id as in {@link WorkerInfo}
   * @throws PorticoServerError `control` where there is no such worker
   */
  restart(id: number): Promise<void>;
  /** Kills one worker (SIGKILL) and resolves when it is gone; another takes its place at once. Throws as `restart`. */
  kill(id: number): Promise<void>;
  /** The JavaScript stack that a worker is in, blocked or not; undefined: nothing in the process answers. Throws as `restart`. */
  stack(pid: number): Promise<StackReport | undefined>;
  /**
   * Asks a worker, by process id. Throws as `restart`, and where it cannot do what was asked.
   * @param waitMs how long it may take; else as long as the worker lives
   */
  ask<What extends WorkerQuestion["what"]>(
    pid: number,
    question: Extract<WorkerQuestion, { what: What }>,
    waitMs?: number,
  ): Promise<WorkerResults[What]>;
  /** What the workers have counted, and what became of them. Statuses and durations where `metrics` or `statsd` is set. */
  metrics(): MetricsSnapshot;
  /** Workers off (SIGWINCH): all leave in order, connections wait in the backlog. `reload` brings them back. */
  suspend(): Promise<void>;
  /**
   * Starts a second master, from what is on the disk now, on the same sockets (SIGUSR2). Resolves when it serves; rejects with its reason where it does not come up, and nothing has changed then. After it, `stop`
   * here confirms the new one; `stop` of the new one brings everything back to this one.
   */
  upgrade(): Promise<NewMaster>;
  /** There is another master on the same sockets, newer or older: this one's end is not the end of the service. */
  readonly shared: boolean;
  /**
   * `graceful`: requests under way, `waitUntil` work and shutdown finish first, bounded by gracefulTimeout. `quick`:
   * connections are closed. May be called again to escalate. Nothing is left behind when it resolves.
   */
  stop(mode?: "graceful" | "quick" | "kill"): Promise<void>;
  workers(): WorkerInfo[];
  /** With `reload` set: workers show this to browsers, until they are replaced. */
  showBroken(text: string): void;
  /** Opens log files anew, here and in the workers. */
  reopenLogs(): void;
}

const CHILD_ENTRY = "@portico/server/worker";
const LOOPBACK_URL = /^http:\/\/(127\.|\[::1\]|localhost)/;
const MS = 1_000;
/** `timeout` 0 turns the watch over hangs off; a day is beyond any worker's life without a beat. */
const NEVER_MS = 2 ** 31 - 1;

/**
 * Starts the workers, and resolves when all are ready and the addresses are served.
 * @throws PorticoServerError with the exit code that a command should end with; nothing is left running then
 */
export async function startServer(config: ServerConfig, options: ServerOptions = {}): Promise<RunningServer> {
  const checked = checkConfiguration(config, "configuration");
  // Not waited for where nobody is named: who starts a server may stop it at once.
  const named = checked.user !== undefined || checked.group !== undefined;
  const identity = named ? await workerIdentity(checked) : undefined;
  makeLogFiles(checked, identity);
  const server = new Master(checked, options, identity);
  options.onStarting?.(server);
  await server.start(options.listen ?? true);
  return server;
}

class Master implements RunningServer {
  readonly #options: ServerOptions;
  readonly #cwd: string;
  readonly #name: string;
  readonly #files: ServerLog;
  readonly #log: Logger;
  readonly #startLog: StartLog;
  readonly #listeners: Listeners;
  readonly #links: LinkDispatcher;
  readonly #answers = new WorkerAnswers();
  readonly #upgrade: Upgrade;
  readonly #hooks: MasterHooks;
  #hooksFile: string | undefined;
  readonly #sessions = new SessionRegistry();
  readonly #metrics = new MetricsRegistry();
  #config: ResolvedConfig;
  #group: ProcessGroup | undefined;
  /** Of the workers; undefined: as the master's. */
  readonly #identity: Identity | undefined;
  #stopped: Promise<void> | undefined;
  /** A worker of the start or reload under way has loaded the application. */
  #loaded = false;
  application = "unknown";

  constructor(config: ResolvedConfig, options: ServerOptions, identity: Identity | undefined) {
    this.#config = config;
    this.#options = options;
    this.#identity = identity;
    const cwd = options.cwd ?? process.cwd();
    this.#cwd = config.chdir === undefined ? cwd : resolve(cwd, config.chdir);
    this.#name = options.name ?? "portico-server";
    this.#files = openLog(logOptions(config), { name: this.#name, pid: process.pid });
    this.#log = options.log ?? this.#files.log;
    this.#startLog = new StartLog(this.#log);
    this.#links = new LinkDispatcher(() => this.#group?.children ?? []);
    this.#listeners = new Listeners(this.#cwd, (socket, unixPath) =>
      this.#acceptLink(socket, { kind: "link", secret: unixPath === undefined, unixPath }),
    );
    this.#hooks = new MasterHooks(hookServer(this, this.#log), options.hooks?.hooks);
    this.#hooksFile = workerHooksFile(options.hooks);
    this.#upgrade = new Upgrade({
      log: this.#log,
      listeners: () => this.#listeners.named,
      before: () => this.#hooks.call("preExec"),
      onRolledBack: () => void this.#resume(),
      onLink: (socket, message) => this.#links.accept(socket, message),
    });
  }

  get addresses(): readonly string[] {
    return this.#listeners.urls;
  }

  async start(listen: boolean): Promise<void> {
    const config = this.#config;
    const init = this.#initOf(config);
    checkAddresses(config, this.#cwd);
    await this.#hooks.call("onStarting");
    const prepared = await this.#listeners.prepare(listen ? config : { ...config, bind: [] });
    if (this.#stopped !== undefined) {
      await prepared.abandon();
      throw stoppedWhileStarting();
    }
    const group = new ProcessGroup({
      name: "worker",
      entry: fileURLToPath(import.meta.resolve(CHILD_ENTRY)),
      count: workerCount(config),
      listeners: prepared.inherited,
      init: this.#initFor(init, prepared),
      ...(config.umask !== undefined && { umask: Number.parseInt(config.umask, 8) }),
      cwd: this.#cwd,
      env: workerEnvironment(config, this.#identity),
      execArgv: [...process.execArgv.filter((flag) => !flag.startsWith("--inspect")), NO_TYPE_WARNING],
      args: [`${this.#name}: worker`],
      readyTimeout: config.bootTimeout * MS,
      heartbeat: { timeout: config.timeout === 0 ? NEVER_MS : config.timeout * MS },
      gracefulTimeout: config.gracefulTimeout * MS,
      maxSurge: config.maxSurge,
      probation: config.probation * MS,
      ...reportsOf(config),
      reportsOwner: this.#identity,
      log: this.#startLog.log,
      ...(config.captureOutput && {
        onOutput: (child, stream, line) => this.#log.info({ worker: child.slot, pid: child.pid, stream }, line),
      }),
      onSpawn: (id, generation) => void this.#hooks.call("preFork", { id, generation }),
      onMessage: (child, message, handle) => this.#onMessage(child, message as FromWorker, handle),
      onEvent: (event) => {
        this.#metrics.count(event);
        if (event.type === "ready") this.#links.offer();
        this.#hooks.take(event);
      },
    });
    this.#group = group;
    try {
      await group.start();
      this.#hooks.began(group.count);
      await prepared.commit();
      if (this.#stopped !== undefined) throw stoppedWhileStarting();
      this.#upgrade.served();
      this.#startLog.release();
      await this.#hooks.call("whenReady");
      this.#warnOfPublicAddresses();
    } catch (error) {
      await group.stop("kill");
      await prepared.abandon();
      await this.#listeners.close();
      throw workerFailure(error, this.#bootFacts(config));
    }
  }

  async reload(config?: ServerConfig, hooks?: LoadedHooks): Promise<void> {
    const group = this.#running();
    const next = config === undefined ? this.#config : checkConfiguration(config, "configuration");
    const waiting = restartOnlyChanges(this.#config, next);
    if (waiting.length > 0) this.#log.warn({ settings: waiting }, `a restart is needed for: ${waiting.join(", ")}`);
    if (hooks !== undefined) this.#hooks.replace(hooks.hooks);
    await this.#hooks.call("onReload");
    const hooksFile = hooks === undefined ? this.#hooksFile : workerHooksFile(hooks);
    const init = { ...this.#initOf(next), hooks: hooksFile };
    const prepared = await this.#listeners.prepare(next);
    this.#loaded = false;
    try {
      await group.reload(this.#initFor(init, prepared), {
        listeners: prepared.inherited,
        env: workerEnvironment(next, this.#identity),
      });
      await prepared.commit();
      if (workerCount(next) !== workerCount(this.#config) || group.count === 0) await group.scale(workerCount(next));
    } catch (error) {
      await prepared.abandon();
      throw workerFailure(error, this.#bootFacts(next));
    }
    this.#config = next;
    this.#hooksFile = hooksFile;
    this.#files.setLevel(next.logLevel);
    this.#warnOfPublicAddresses();
  }

  get wanted(): number {
    return this.#group?.count ?? 0;
  }

  async scale(workers: number): Promise<void> {
    await this.#running().scale(Math.max(1, workers));
  }

  async restart(id: number): Promise<void> {
    const group = this.#running();
    try {
      await group.retire(
        this.#worker((child) => child.slot === id, `worker ${id}`),
        "it was asked for",
      );
    } catch (error) {
      throw workerFailure(error, this.#bootFacts(this.#config));
    }
  }

  async kill(id: number): Promise<void> {
    await this.#running().kill(
      this.#worker((child) => child.slot === id, `worker ${id}`),
      "it was asked for",
    );
  }

  async stack(pid: number): Promise<StackReport | undefined> {
    return await this.#worker((child) => child.pid === pid, `worker with pid ${pid}`).stack();
  }

  async ask<What extends WorkerQuestion["what"]>(
    pid: number,
    question: Extract<WorkerQuestion, { what: What }>,
    waitMs?: number,
  ): Promise<WorkerResults[What]> {
    const child = this.#worker((candidate) => candidate.pid === pid, `worker with pid ${pid}`);
    return await this.#answers.ask(child, question, waitMs);
  }

  metrics(): MetricsSnapshot {
    return this.#metrics.snapshot(this.#group?.children ?? []);
  }

  async suspend(): Promise<void> {
    await this.#running().scale(0);
  }

  get shared(): boolean {
    return this.#upgrade.shared;
  }

  async upgrade(): Promise<NewMaster> {
    this.#running();
    return await this.#upgrade.start();
  }

  stop(mode: "graceful" | "quick" | "kill" = "graceful"): Promise<void> {
    if (this.#stopped === undefined) this.#upgrade.leaving();
    const stopping = this.#group?.stop(mode) ?? Promise.resolve();
    this.#stopped ??= this.#finish(stopping);
    return this.#stopped;
  }

  workers(): WorkerInfo[] {
    return (this.#group?.children ?? []).map((child) => ({
      id: child.slot,
      pid: child.pid,
      generation: child.generation,
      state: child.state,
      links: this.#links.links(child),
      lag: child.beat?.lagMs,
      rss: child.beat?.rss,
      startedAt: child.startedAt,
      readyAt: child.readyAt,
    }));
  }

  showBroken(text: string): void {
    const message: ToWorker = { kind: "broken", text };
    for (const child of this.#group?.children ?? []) child.send(message);
  }

  reopenLogs(): void {
    makeLogFiles(this.#config, this.#identity);
    this.#files.reopen();
    const message: ToWorker = { kind: "reopen-logs" };
    for (const child of this.#group?.children ?? []) child.send(message);
  }

  /** The sockets close first, so nobody is accepted whom no worker will serve; then the workers finish. */
  async #finish(stopping: Promise<void>): Promise<void> {
    this.#links.close();
    await this.#listeners.close(this.#upgrade.heir || undefined);
    await stopping;
    await this.#hooks.call("onExit");
  }

  /** Without workers a connection waits for them here, unless there is a new master that has some. */
  #acceptLink(socket: Socket, message: Extract<ToWorker, { kind: "link" }>): void {
    if (this.#group?.count === 0 && this.#upgrade.pass(socket, message)) return;
    this.#links.accept(socket, message);
  }

  /** The new master is gone, and the workers here had been sent away for it. */
  async #resume(): Promise<void> {
    if (this.#stopped !== undefined || this.#group === undefined || this.#group.count > 0) return;
    try {
      await this.#group.scale(workerCount(this.#config));
    } catch (error) {
      this.#log.error({ err: error }, "the workers did not come back: reload (SIGHUP) to try again");
    }
  }

  /** Slow clients, TLS and limits are the front's business: on an open network this server should not stand alone. */
  #warnOfPublicAddresses(): void {
    const open = this.addresses.filter((url) => url.startsWith("http://") && !LOOPBACK_URL.test(url));
    if (open.length > 0)
      this.#log.warn(
        { open },
        `${open.join(", ")} is open to the network without TLS: put a front such as portico-proxy before it`,
      );
  }

  #bootFacts(config: ResolvedConfig): BootFacts {
    return { app: config.app ?? "", loaded: this.#loaded, bootTimeout: config.bootTimeout };
  }

  /** Of several in one place (a replacement starts, an old one drains) the one that serves. */
  #worker(fits: (child: ChildHandle) => boolean, what: string): ChildHandle {
    const found = (this.#group?.children ?? []).filter(fits);
    const child = found.find(({ state }) => state === "ready") ?? found[0];
    if (child !== undefined) return child;
    const ids = [...new Set(this.workers().map(({ id }) => id))].toSorted((a, b) => a - b);
    throw new PorticoServerError("control", `there is no ${what} (there are: ${ids.join(", ") || "none"})`);
  }

  #running(): ProcessGroup {
    if (this.#group === undefined || this.#stopped !== undefined)
      throw new PorticoServerError("internal", "the server is not running");
    return this.#group;
  }

  #onMessage(child: ChildHandle, message: FromWorker, handle: unknown): void {
    switch (message.kind) {
      case "loaded":
        this.application = message.application;
        this.#loaded = true;
        if (message.asked.length > 0 && child.generation === 1 && child.slot === 1)
          this.#log.info(
            { asked: message.asked },
            `the application asked to listen on ${message.asked.join(", ")}; it serves ${this.#config.bind.join(", ")} instead`,
          );
        return;
      case "link-closed":
        this.#links.closed(child);
        return;
      case "session-opened":
        this.#sessions.opened(message.key, child.id);
        return;
      case "find-session": {
        const { key } = message;
        this.#sessions.find(key, (owner) => child.send({ kind: "session-found", key, owner } satisfies ToWorker));
        return;
      }
      case "introduce":
        introduce(this.#group?.children ?? [], message.to, handle as Socket | undefined);
        return;
      case "leaving":
        this.#links.leaving(child);
        return;
      case "files":
        this.#options.onFiles?.(message.files);
        return;
      case "counts":
        this.#metrics.take(child, message.report);
        return;
      case "answer":
        this.#answers.take(child, message);
    }
  }

  /** With what is known only when the sockets are bound. */
  #initFor(init: WorkerInit, prepared: PreparedListeners): WorkerInit {
    const identity = this.#identity;
    const compileCache = identity === undefined ? undefined : compileCacheOf(this.#config, identity);
    return { ...init, identity, compileCache, proxied: prepared.proxied };
  }

  /** @throws PorticoServerError `usage`, `app-missing`, `config` */
  #initOf(config: ResolvedConfig): WorkerInit {
    if (config.app === undefined)
      throw new PorticoServerError(
        "usage",
        "no application was named: portico-server MODULE, or app in the configuration",
      );
    trustTest(config.forwardedAllowIps);
    return {
      module: resolveModule(config.app, this.#cwd),
      interface: config.interface,
      env: config.env,
      concurrency: config.concurrency,
      queue: config.queue,
      keepAliveMs: config.keepAlive * MS,
      gracefulMs: config.gracefulTimeout * MS,
      forwardedAllowIps: config.forwardedAllowIps,
      linkSecret: config.linkSecret,
      accel: config.accel,
      identity: undefined,
      compileCache: undefined,
      proxied: [],
      accessLog: config.accessLog === undefined ? undefined : logPath(config.accessLog),
      accessLogFormat: config.accessLogFormat,
      development: config.reload,
      metrics: counts(config),
      name: this.#name,
      log: logOptions(config),
      retirement: {
        maxRequests: config.maxRequests,
        maxRequestsJitter: config.maxRequestsJitter,
        maxLifetimeMs: config.maxLifetime * MS,
        maxRss: config.maxRss,
        maxHeap: config.maxHeap,
      },
      hooks: this.#hooksFile,
    };
  }
}

/** Passes one end of a connection on to a sibling of the worker that made it; where that one has gone, the connection ends. */
function introduce(children: readonly ChildHandle[], to: number, socket: Socket | undefined): void {
  const owner = children.find(({ id, state }) => id === to && state !== "gone");
  if (socket !== undefined && owner?.send({ kind: "sibling" } satisfies ToWorker, socket) !== true) socket.destroy();
}

/** What hooks see of the master. */
function hookServer(server: RunningServer, log: Logger): HookServer {
  return {
    log,
    get addresses() {
      return server.addresses;
    },
    get application() {
      return server.application;
    },
    get wanted() {
      return server.wanted;
    },
    workers: () => server.workers(),
  };
}

/** Workers load the configuration module only where it has something for them. */
function workerHooksFile(loaded: LoadedHooks | undefined): string | undefined {
  const names = Object.keys(loaded?.hooks ?? {}) as HookName[];
  return names.some((name) => HOOKS[name].process === "worker") ? loaded?.file : undefined;
}

function stoppedWhileStarting(): PorticoServerError {
  return new PorticoServerError("internal", "the server was stopped while it started");
}

/** `auto` follows affinity and the cgroup's CPU quota, as libuv reads them. */
function workerCount(config: ResolvedConfig): number {
  return config.workers === "auto" ? availableParallelism() : config.workers;
}

/** By default a folder of this server's own: it goes with the server where nothing was reported. */
function reportsOf({ reports, user }: ResolvedConfig): { reports?: string } {
  if (reports === false) return {};
  return {
    reports:
      reports === true ? join(tmpdir(), `portico-reports-${user ?? process.geteuid?.() ?? 0}-${process.pid}`) : reports,
  };
}

function counts({ metrics, statsd }: ResolvedConfig): boolean {
  return metrics !== false || statsd !== undefined;
}

/** As the master sees it: a worker may have another working folder. */
function logPath(file: string): string {
  return file === "-" ? file : resolve(file);
}

function logOptions(config: ResolvedConfig): WorkerInit["log"] {
  return { level: config.logLevel, file: logPath(config.logFile), format: config.logFormat };
}

/** What is ours, and not the application's: what shows its environment, or starts programs, would tell it. */
const OWN_VARIABLES = [
  "PORTICO_LINK_SECRET",
  "LISTEN_FDS",
  "LISTEN_PID",
  "LISTEN_FDNAMES",
  "NOTIFY_SOCKET",
  "WATCHDOG_PID",
  "WATCHDOG_USEC",
  "PORTICO_SERVER_DAEMON",
];

/**
 * Node reads the compile cache's folder before the first module, so it is given by the environment. Not so where the
 * worker becomes somebody else: until then it is root, and must run nothing that the other could have written.
 */
function workerEnvironment(config: ResolvedConfig, identity: Identity | undefined): NodeJS.ProcessEnv {
  const inherited = { ...process.env };
  for (const name of OWN_VARIABLES) delete inherited[name];
  if (identity !== undefined) {
    delete inherited["NODE_COMPILE_CACHE"];
    return inherited;
  }
  const folder = compileCacheOf(config, undefined);
  return folder === undefined
    ? { ...inherited, NODE_DISABLE_COMPILE_CACHE: "1" }
    : { ...inherited, NODE_COMPILE_CACHE: folder };
}

function compileCacheOf({ compileCache }: ResolvedConfig, identity: Identity | undefined): string | undefined {
  if (compileCache === true) return compileCacheFolder(process.env, identity?.uid);
  return compileCache === false ? undefined : compileCache;
}
