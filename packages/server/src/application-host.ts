/** A loaded application behind the one interface that transports know: a handler, and the moments of its life. */
import { type Logger, PorticoGatewayError, type WorkerFacts } from "@portico/gateway";
import type { ExchangeHandler } from "@portico/gateway/exchange";
import type { createHost, FrontOptions } from "@portico/gateway/host";
import type { ReportError } from "@portico/gateway/node";
import type { Recognised } from "./application-kind.ts";
import { PorticoServerError } from "./error.ts";
import { describe, ownStack } from "./source-line.ts";

/** What a worker does with an application. */
export interface ApplicationHost {
  readonly handler: ExchangeHandler;
  /** Rejects with PorticoServerError `worker-boot` and the application's own words. */
  startup(): Promise<void>;
  /** Resolves when work that was to go on after responses is done. */
  idle(): Promise<void>;
  /** Tells requests under way that the worker will not wait any longer. */
  interrupt(): void;
  shutdown(): Promise<void>;
}

/** @param written MODULE, for messages */
export async function hostApplication(
  found: Recognised,
  worker: WorkerFacts,
  log: Logger,
  written: string,
  accel: readonly string[],
): Promise<ApplicationHost> {
  if (found.via === "tsgi") return await hostTsgi(found.application, worker, log, written, accel);
  return {
    handler: await starting(written, () => found.open({ onError: applicationErrors(log) })),
    startup: () => Promise.resolve(),
    idle: () => Promise.resolve(),
    interrupt() {},
    shutdown: () => found.close(),
  };
}

/** Logs what a `node:http` program threw while it answered; the client was told 500. */
export function applicationErrors(log: Logger): ReportError {
  return (error, { facts, head }) =>
    log.error({ err: error, id: facts.id, target: head.target }, `the application failed: ${describe(error)}`);
}

async function hostTsgi(
  application: Parameters<typeof createHost>[0],
  worker: WorkerFacts,
  log: Logger,
  written: string,
  accel: readonly string[],
): Promise<ApplicationHost> {
  // Loaded here, because it brings Node's fetch classes with it, which a `node:http` program does not need.
  const gateway = await import("@portico/gateway/host");
  const host = await gateway.createHost(application, { worker, log, front: frontOf(accel) });
  return {
    handler: host.handler,
    startup: () => starting(written, () => host.startup()),
    idle: () => host.idle(),
    interrupt: () => host.interrupt(),
    shutdown: () => host.shutdown(),
  };
}

/** `FOLDER=LOCATION` of the front as the gateway takes it. */
function frontOf(accel: readonly string[]): FrontOptions {
  if (accel.length === 0) return {};
  return { files: Object.fromEntries(accel.map((pair) => pair.split("=", 2) as [string, string])) };
}

async function starting<T>(written: string, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    const cause = error instanceof PorticoGatewayError && error.cause !== undefined ? error.cause : error;
    throw new PorticoServerError("worker-boot", `${written}: startup failed: ${describe(cause)}`, {
      cause,
      detail: ownStack(cause),
    });
  }
}
