/**
 * What is around the master of a program: the pid file, the control socket. Opened before the first worker starts, so
 * that a second server on the same files is told so at once; closed when the last has left.
 */
import { resolve } from "node:path";
import type { Logger } from "@portico/gateway";
import { predecessor, SupervisorError, writePidFile } from "@portico/supervisor";
import type { ControlTarget } from "./control/protocol.ts";
import { PorticoServerError } from "./error.ts";
import { prometheusText } from "./metrics/prometheus.ts";
import type { MetricsEndpoint } from "./metrics/endpoint.ts";
import { MetricsRegistry, type MetricsSnapshot } from "./metrics/registry.ts";
import type { RunningServer } from "./server.ts";
import type { ServiceManager } from "./service-manager.ts";
import type { ResolvedConfig } from "./settings.ts";

/** The program, as its surroundings see it. */
export interface SurroundedProgram {
  readonly name: string;
  readonly cwd: string;
  readonly log: Logger;
  readonly server: () => RunningServer | undefined;
  readonly reload: () => Promise<void>;
  readonly stop: (mode: "graceful" | "quick") => Promise<void>;
}

export interface Surroundings {
  /** Told what the program does next, where somebody listens: systemd. */
  readonly manager: ServiceManager | undefined;
  /** In the reverse order of opening. */
  close(): Promise<void>;
}

/** @throws PorticoServerError `in-use`, `control`, `config`; what was opened is closed again then */
export async function openSurroundings(config: ResolvedConfig, program: SurroundedProgram): Promise<Surroundings> {
  const open = new AsyncDisposableStack();
  try {
    if (config.pid !== undefined) {
      const file = await takePidFile(resolve(program.cwd, config.pid));
      open.defer(() => file.remove());
    }
    if (config.statsd !== undefined || typeof config.metrics === "string") await publishMetrics(config, program, open);
    if (config.control !== false) await listenForCommands(config, program, open);
  } catch (error) {
    await open.disposeAsync();
    throw error;
  }
  const manager = await serviceManager(program.log, open);
  return { manager, close: () => open.disposeAsync() };
}

async function serviceManager(log: Logger, open: AsyncDisposableStack): Promise<ServiceManager | undefined> {
  if (!process.env["NOTIFY_SOCKET"]) return undefined;
  const { ServiceManager: Manager } = await import("./service-manager.ts");
  const manager = new Manager(log);
  manager.watch(process.env);
  open.defer(() => manager.close());
  return manager;
}

async function publishMetrics(
  config: ResolvedConfig,
  { log, server }: SurroundedProgram,
  open: AsyncDisposableStack,
): Promise<void> {
  const snapshot = (): MetricsSnapshot => server()?.metrics() ?? new MetricsRegistry().snapshot([]);
  if (typeof config.metrics === "string")
    await openEndpoint(config.metrics, () => prometheusText(snapshot()), log, open);
  if (config.statsd !== undefined) {
    const { sendToStatsd } = await import("./metrics/statsd.ts");
    const sender = sendToStatsd(config.statsd, config.statsdPrefix, snapshot, log);
    open.defer(() => sender.close());
  }
}

/** A predecessor that still runs has the address, and answers there until it is gone. */
async function openEndpoint(
  address: string,
  text: () => string,
  log: Logger,
  open: AsyncDisposableStack,
): Promise<void> {
  const { serveMetrics } = await import("./metrics/endpoint.ts");
  let endpoint: MetricsEndpoint | undefined;
  let closed = false;
  open.defer(async () => {
    closed = true;
    await endpoint?.close();
  });
  const begin = async (): Promise<void> => {
    if (closed) return;
    endpoint = await serveMetrics(address, text);
    log.info({ url: endpoint.url }, `metrics at ${endpoint.url}`);
  };
  const before = predecessor();
  if (before?.alive !== true) return await begin();
  before.gone.then(begin).catch((error: unknown) => log.error({ err: error }, "no metrics: the address was not free"));
}

async function listenForCommands(
  config: ResolvedConfig,
  program: SurroundedProgram,
  open: AsyncDisposableStack,
): Promise<void> {
  const [{ openControl }, { controlTarget }, { defaultControlPath }] = await Promise.all([
    import("./control/server.ts"),
    import("./control/target.ts"),
    import("./control/place.ts"),
  ]);
  const { name, cwd, log } = program;
  const target = controlTarget(program.server, () => ({ name, cwd, app: config.app ?? "" }), {
    reload: program.reload,
    stop: program.stop,
    metrics: (running) => prometheusText(running.metrics()),
  });
  try {
    if (typeof config.control === "string") await openNamed(resolve(cwd, config.control), target, open);
    else {
      const control = await openControl(defaultControlPath(), target);
      open.defer(() => control.close());
    }
  } catch (error) {
    // What nobody asked for must not keep the server from serving.
    if (typeof config.control === "string") throw error;
    log.warn(`no control socket: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A predecessor that still runs has the name: until it is gone, ours is `PATH.2`, as with the pid file. */
async function openNamed(path: string, target: ControlTarget, open: AsyncDisposableStack): Promise<void> {
  const { openControl } = await import("./control/server.ts");
  const before = predecessor();
  const second = before?.alive === true;
  let control = await openControl(second ? `${path}.2` : path, target);
  let closed = false;
  open.defer(async () => {
    closed = true;
    await control.close();
  });
  if (!second) return;
  const moved = before.gone.then(async () => {
    if (closed) return;
    const first = await openControl(path, target);
    await control.close();
    control = first;
  });
  moved.catch(() => {}); // somebody else has the name now: it stays the second
}

async function takePidFile(path: string): ReturnType<typeof writePidFile> {
  try {
    return await writePidFile(path);
  } catch (error) {
    const taken = error instanceof SupervisorError && error.code === "pid_file_in_use";
    const message = error instanceof Error ? error.message : String(error);
    throw new PorticoServerError(taken ? "in-use" : "config", `pid ${path}: ${message}`, { cause: error });
  }
}
