/** The command that serves: the master with everything around it that a program needs, from its start to its end. */
import { basename, resolve } from "node:path";
import { isatty } from "node:tty";
import { SignalQueue } from "@portico/supervisor";
import { tellReady } from "./daemon.ts";
import { loadConfiguration } from "./configuration.ts";
import type { ConfigurationSources, LoadedConfiguration, LoadedHooks } from "./configuration.ts";
import { PorticoServerError } from "./error.ts";
import { openLog, type ServerLog } from "./log.ts";
import { makeLogFiles, workerIdentity } from "./privileges.ts";
import { startServer } from "./server.ts";
import type { RunningServer } from "./server.ts";
import type { ResolvedConfig } from "./settings.ts";
import type { FileWatch } from "./watch-files.ts";
import { openSurroundings, type Surroundings } from "./surroundings.ts";

const NAME = "portico-server";

/** The file that had some has none any more. */
const NO_HOOKS: LoadedHooks = { hooks: {}, file: "" };
const TERMINAL_FDS = [0, 1, 2];

type StopMode = "graceful" | "quick" | "kill";

/**
 * Serves until it is stopped, and resolves with the exit code.
 * @throws PorticoServerError where it does not come up; nothing is left behind then
 */
export async function serve({ config, hooks }: LoadedConfiguration, sources: ConfigurationSources): Promise<number> {
  const name = config.name ?? NAME;
  makeLogFiles(config, await workerIdentity(config));
  const files = openLog(
    { level: config.logLevel, file: config.logFile, format: config.logFormat },
    { name, pid: process.pid },
  );
  const program = new Program(name, config, hooks, sources, files);
  const around = await openSurroundings(config, {
    name,
    cwd: sources.cwd,
    log: files.log,
    server: () => program.server,
    reload: () => program.reload("command"),
    stop: (mode) => program.stop(mode, "command"),
  });
  program.manager = around.manager;
  const signals = program.answerSignals();
  try {
    return await program.run();
  } finally {
    signals.close();
    await around.close();
  }
}

/** The server with what the command knows of it: the sources of its configuration, its logs, whether it is to end. */
class Program {
  server: RunningServer | undefined;
  manager: Surroundings["manager"];
  readonly #name: string;
  readonly #sources: ConfigurationSources;
  readonly #files: ServerLog;
  readonly #hooks: LoadedHooks | undefined;
  #config: ResolvedConfig;
  #watch: FileWatch | undefined;
  #stopping: StopMode | undefined;
  readonly #end = Promise.withResolvers<void>();

  constructor(
    name: string,
    config: ResolvedConfig,
    hooks: LoadedHooks | undefined,
    sources: ConfigurationSources,
    files: ServerLog,
  ) {
    this.#hooks = hooks;
    this.#name = name;
    this.#config = config;
    this.#sources = sources;
    this.#files = files;
  }

  async run(): Promise<number> {
    const { log } = this.#files;
    try {
      this.server = await startServer(this.#config, {
        name: this.#name,
        log,
        hooks: this.#hooks,
        onStarting: (master) => (this.server = master),
        ...(this.#config.reload && { onFiles: await this.#watchFiles(this.#config) }),
      });
      if (this.#stopping === undefined) {
        const line = readyLine(this.server, this.#config);
        log.info({ addresses: this.server.addresses }, line);
        this.manager?.ready(line);
        tellReady();
      }
      await this.#end.promise;
      return 0;
    } catch (error) {
      if (this.#stopping === undefined) throw error;
      await this.server?.stop(this.#stopping);
      return 0;
    } finally {
      this.#watch?.close();
    }
  }

  /** `--reload`. What is told of is watched from then on. */
  async #watchFiles({ reloadExtra }: ResolvedConfig): Promise<(files: readonly string[]) => void> {
    const { FileWatch } = await import("./watch-files.ts");
    const { cwd, file } = this.#sources;
    const watch = new FileWatch((changed) => void this.reload(`${changed} changed`).catch(() => {}), this.#files.log);
    this.#watch = watch;
    watch.add(reloadExtra.map((path) => resolve(cwd, path)));
    if (file !== undefined) watch.add([resolve(cwd, file)]);
    return (files) => watch.add(files);
  }

  answerSignals(): SignalQueue {
    const { log } = this.#files;
    return new SignalQueue({
      escalate: (signal, times) => this.stop(times === 2 ? "quick" : "kill", signal),
      onError: (error, signal) => log.error({ err: error }, `${signal}: ${messageOf(error)}`),
    }).on({
      SIGTERM: () => this.stop("graceful", "SIGTERM"),
      SIGINT: () => this.stop("quick", "SIGINT"),
      SIGQUIT: () => this.stop("quick", "SIGQUIT"),
      // What went wrong is in the log.
      SIGHUP: () => this.reload("SIGHUP").catch(() => {}),
      // So is what went wrong here.
      SIGUSR2: () => this.#upgrade().catch(() => {}),
      SIGWINCH: () => this.#suspend(),
      SIGTTIN: () => this.#step(1),
      SIGTTOU: () => this.#step(-1),
      SIGUSR1: () => {
        this.server?.reopenLogs(); // first: it makes files that the workers may write to
        this.#files.reopen();
        log.info("logs reopened");
      },
    });
  }

  /** @param asked who wants it, for the log */
  async stop(mode: StopMode, asked: string): Promise<void> {
    if (this.#stopping === undefined && this.server?.shared !== true) this.manager?.stopping();
    this.#stopping = mode;
    this.#files.log.info({ signal: asked, mode }, `${asked}: ${mode} stop`);
    await this.server?.stop(mode);
    if (this.server !== undefined) this.#end.resolve();
  }

  /** Reads the configuration again, and the application in new workers. Logs what comes of it, and throws what went wrong. */
  async reload(asked: string): Promise<void> {
    const { log } = this.#files;
    if (this.server === undefined) throw new PorticoServerError("control", "the server is not up yet");
    log.info(`${asked}: reload`);
    this.manager?.reloading();
    try {
      const { config, hooks } = await loadConfiguration(this.#sources);
      await this.server.reload(config, hooks ?? NO_HOOKS);
      this.#config = config;
      this.#files.setLevel(config.logLevel);
      log.info({ addresses: this.server.addresses }, `reloaded: ${readyLine(this.server, config)}`);
    } catch (error) {
      const detail = error instanceof PorticoServerError ? error.detail : undefined;
      log.error({ detail }, `reload failed, the old workers stay: ${messageOf(error)}`);
      if (this.#config.reload)
        this.server.showBroken(`${messageOf(error)}${detail === undefined ? "" : `\n\n${detail}`}`);
      throw error;
    } finally {
      this.manager?.ready(readyLine(this.server, this.#config));
    }
  }

  async #upgrade(): Promise<void> {
    try {
      const { server } = this;
      if (server === undefined) return;
      const { leaving } = await server.upgrade();
      // The service manager was told that the new one is the service.
      void leaving.then(() => {
        if (this.#stopping === undefined) this.manager?.ready(readyLine(server, this.#config));
      });
    } catch (error) {
      this.#files.log.error({ err: error }, messageOf(error));
      throw error;
    }
  }

  async #suspend(): Promise<void> {
    const { log } = this.#files;
    if (TERMINAL_FDS.some((fd) => isatty(fd))) {
      log.debug("SIGWINCH: ignored, the terminal's size has changed");
      return;
    }
    log.info("SIGWINCH: workers off; HUP brings them back");
    await this.server?.suspend();
  }

  async #step(by: number): Promise<void> {
    if (this.server === undefined) return;
    const ready = this.server.workers().filter(({ state }) => state === "ready").length;
    await this.server.scale(ready + by);
  }
}

/** `ready on http://127.0.0.1:8000 (2 workers, app.ts, express)` */
function readyLine(server: RunningServer, config: ResolvedConfig): string {
  const count = server.workers().filter(({ state }) => state === "ready").length;
  const app = config.app === undefined ? "" : basename(config.app);
  return `ready on ${server.addresses.join(", ")} (${count} worker${count === 1 ? "" : "s"}, ${app}, ${server.application})`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
