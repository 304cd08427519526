/** `portico-proxy`: a proxy in this process's name, which signals and the control socket speak to. */
import { resolve as resolvePath } from "node:path";
import { SignalQueue } from "@portico/supervisor";
import type { ResolvedConfig } from "../config/schema.ts";
import type { Output } from "../control/command.ts";
import { ownControlPath } from "../control/place.ts";
import type { ControlResults, ProxyStatus } from "../control/protocol.ts";
import { type ControlServer, serveControl } from "../control/serve.ts";
import { packageVersion } from "../version.ts";
import { type RunningProxy, type StopMode, startProxy } from "./master.ts";

function sizes(config: ResolvedConfig): { sites: number; routes: number; upstreams: number } {
  return {
    sites: config.sites.length,
    routes: config.sites.reduce((sum, site) => sum + site.routes.length, 0),
    upstreams: Object.keys(config.upstreams).length,
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

class Foreground {
  readonly #file: string;
  readonly #output: Output;
  readonly #starting: Promise<RunningProxy>;
  readonly #startedAt = new Date().toISOString();
  readonly #stopped = Promise.withResolvers<void>();
  #reloads = 0;
  #refused: ProxyStatus["refused"] = null;

  constructor(file: string, output: Output) {
    this.#file = file;
    this.#output = output;
    this.#starting = startProxy(file);
    this.#stopped.promise.catch(() => {});
  }

  /** Until it has stopped. Signals are answered from the first moment: one that comes while it starts waits until it has. */
  async run(): Promise<void> {
    const signals = this.#listenToSignals();
    let control: ControlServer | undefined;
    try {
      const proxy = await this.#starting;
      control = await this.#openControl(proxy.config);
      const sites = proxy.config.sites.length === 1 ? "1 site" : `${proxy.config.sites.length} sites`;
      this.#output.out(
        `portico-proxy is ready on ${proxy.addresses.join(", ")} (${sites} from ${this.#file}, pid ${process.pid})\n`,
      );
      await this.#stopped.promise;
    } catch (error) {
      await this.#starting.then((proxy) => proxy.stop("quick")).catch(() => {});
      throw error;
    } finally {
      await control?.close();
      signals.close();
    }
  }

  #listenToSignals(): SignalQueue {
    const stop = (mode: StopMode) => () => this.#stop(mode);
    const signals = new SignalQueue({ escalate: stop("kill"), onError: () => {} });
    signals.on({
      SIGHUP: () =>
        this.#reload().then(
          () => {},
          (error: unknown) => this.#complain(error),
        ),
      SIGUSR1: async () => (await this.#starting).reopenLogs(),
      // Unanswered it would end the process.
      SIGUSR2: () => this.#output.err("portico-proxy: SIGUSR2: there is no upgrade in place (HUP reloads)\n"),
      SIGTERM: stop("quick"),
      SIGINT: stop("quick"),
      SIGQUIT: stop("graceful"),
    });
    return signals;
  }

  #complain(error: unknown): void {
    this.#output.err(`portico-proxy: reload refused, nothing was changed: ${messageOf(error)}\n`);
  }

  async #openControl({ control }: ResolvedConfig): Promise<ControlServer | undefined> {
    if (control === "off") return undefined;
    const handlers = {
      status: () => this.#status(),
      reload: () => this.#reload(),
      stop: async ({ quick }: { quick?: boolean }) => {
        await this.#stop(quick === true ? "quick" : "graceful");
        return { pid: process.pid };
      },
    };
    if (control !== undefined) return serveControl(control, handlers);
    try {
      return await serveControl(ownControlPath(), handlers);
    } catch (error) {
      // Nobody asked for it: a folder that cannot be written to is no reason not to serve.
      this.#output.err(`portico-proxy: ${messageOf(error)}; \`reload\`, \`status\` and \`stop\` will not find it\n`);
      return undefined;
    }
  }

  async #stop(mode: StopMode): Promise<void> {
    const proxy = await this.#starting;
    await proxy.stop(mode).then(this.#stopped.resolve, (error: unknown) => {
      this.#stopped.reject(error);
      throw error;
    });
  }

  async #reload(): Promise<ControlResults["reload"]> {
    const proxy = await this.#starting;
    try {
      await proxy.reload();
    } catch (error) {
      this.#refused = { at: new Date().toISOString(), reason: messageOf(error) };
      throw error;
    }
    this.#reloads++;
    this.#refused = null;
    const { sites, routes } = sizes(proxy.config);
    return { sites, routes, addresses: proxy.addresses };
  }

  async #status(): Promise<ProxyStatus> {
    const proxy = await this.#starting;
    const serving = await proxy.status();
    const { pid, config, addresses, threads } = proxy;
    return {
      pid: process.pid,
      proxyVersion: packageVersion(),
      config: resolvePath(this.#file),
      startedAt: this.#startedAt,
      addresses,
      ...sizes(config),
      threads,
      reloads: this.#reloads,
      refused: this.#refused,
      process: serving === undefined || pid === undefined ? null : { pid, ...serving },
    };
  }
}

/** Starts a proxy and resolves when it has stopped. */
export async function runForeground(file: string, output: Output): Promise<void> {
  await new Foreground(file, output).run();
}
