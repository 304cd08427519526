/**
 * Both tiers in one: this process is the master of the front and of the workers, and runs neither requests nor the
 * application itself.
 */
import { join } from "node:path";
import { type RunningProxy, startProxy } from "@portico/proxy";
import { loadConfiguration, type RunningServer, type ServerConfig, startServer } from "@portico/server";
import type { ServeOptions } from "./command.ts";
import { PorticoError } from "./error.ts";
import { checkFront, frontSource, QUIET_LEVEL } from "./front.ts";
import { makeRuntimeFolder, type RuntimeFolder } from "./runtime-folder.ts";

export type StopMode = "graceful" | "quick" | "kill";

/** A stack that is up. */
export interface RunningStack {
  readonly proxy: RunningProxy;
  readonly server: RunningServer;
  /**
   * Reads the configuration and loads the application again. What is wrong is found before anything changes; the old
   * generation serves until the new one is ready, and stays where it does not come up: then this rejects with the reason.
   */
  reload(): Promise<void>;
  reopenLogs(): void;
  /** The front first, which finishes what is under way; then the workers. May be called again with a harder mode. */
  stop(mode: StopMode): Promise<void>;
}

/**
 * Starts both tiers over a private unix socket, and resolves when both are ready.
 * @param signal ends a start under way; it rejects then, as soon as everything it started is gone
 * @throws the error of the tier that did not start, with `exitCode`; nothing is left running or lying about then
 */
export async function serve(options: ServeOptions, signal?: AbortSignal): Promise<RunningStack> {
  const folder = makeRuntimeFolder();
  const socket = join(folder.path, "app.sock");
  const source = frontSource(options, `link+unix:${socket}`);
  try {
    await checkFront(options, source);
    const config = await serverConfig(options, socket);
    signal?.throwIfAborted();
    // The first thing that goes wrong ends the start: an application that takes its time, or hangs, holds nobody up.
    const broken = new AbortController();
    const over = signal === undefined ? broken.signal : AbortSignal.any([broken.signal, signal]);
    const up = new AbortController();
    const onStarting = (server: RunningServer): void =>
      over.addEventListener("abort", () => void server.stop("kill"), { once: true, signal: up.signal });
    const breaks = (reason: unknown): never => {
      broken.abort(reason);
      throw reason;
    };
    const [server, proxy] = await Promise.allSettled([
      startServer(config, { name: "portico", onStarting }).catch(breaks),
      startProxy(source).catch(breaks),
    ]);
    up.abort(); // from here on, `stop` is the way
    if (server.status === "fulfilled" && proxy.status === "fulfilled" && !over.aborted)
      return new Stack(options, socket, folder, server.value, proxy.value);
    if (server.status === "fulfilled") await server.value.stop("kill");
    if (proxy.status === "fulfilled") await proxy.value.stop("kill");
    throw over.reason;
  } catch (error) {
    folder.remove();
    throw error;
  }
}

class Stack implements RunningStack {
  readonly proxy: RunningProxy;
  readonly server: RunningServer;
  readonly #options: ServeOptions;
  readonly #socket: string;
  readonly #folder: RuntimeFolder;

  constructor(
    options: ServeOptions,
    socket: string,
    folder: RuntimeFolder,
    server: RunningServer,
    proxy: RunningProxy,
  ) {
    this.#options = options;
    this.#socket = socket;
    this.#folder = folder;
    this.server = server;
    this.proxy = proxy;
  }

  async reload(): Promise<void> {
    await checkFront(this.#options, frontSource(this.#options, `link+unix:${this.#socket}`));
    await this.server.reload(await serverConfig(this.#options, this.#socket));
    try {
      await this.proxy.reload();
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new PorticoError("reload-half", `the application was reloaded, the front was not: ${reason}`, { cause });
    }
  }

  reopenLogs(): void {
    this.proxy.reopenLogs();
    this.server.reopenLogs();
  }

  async stop(mode: StopMode): Promise<void> {
    // A harder mode comes in beside the call that waits: it hurries whichever tier that one waits for.
    await this.proxy.stop(mode);
    await this.server.stop(mode);
    this.#folder.remove();
  }
}

/** The application's settings: flags over server.config.ts; where it listens is no one's choice but ours. */
async function serverConfig(options: ServeOptions, socket: string): Promise<ServerConfig> {
  const flags: ServerConfig = {
    app: options.app,
    ...(options.workers === undefined ? {} : { workers: options.workers }),
  };
  const { config } = await loadConfiguration({
    defaults: { logLevel: QUIET_LEVEL },
    flags,
    environmentFlags: {},
    file: undefined,
    cwd: process.cwd(),
    env: process.env,
  });
  return { ...config, bind: [`link+unix:${socket}`], socketMode: "0600" };
}
