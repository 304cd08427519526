import type { Application, ApplicationObject, LifespanContext } from "./application.ts";
import type { Capabilities, Logger, WorkerFacts } from "./context.ts";
import { PorticoGatewayError } from "./errors.ts";
import type { Exchange, ExchangeHandler } from "./exchange.ts";
import { Call } from "./host/call.ts";
import { HostCore } from "./host/core.ts";
import { acceptLazyRequests, makeLightResponses } from "./host/globals.ts";
import { consoleLogger } from "./host/log.ts";
import type { FrontOptions } from "./host/front.ts";
import type { Upgrader } from "./host/upgrade.ts";

export { acceptLazyRequests, makeLightResponses } from "./host/globals.ts";
export type { FrontOptions } from "./host/front.ts";
export { consoleLogger, silentLogger } from "./host/log.ts";

/** What this host can do by itself over an exchange. What needs a front is there where one says so (`FrontOptions`). */
export const HOST_CAPABILITIES: Capabilities = {
  upgrade: true,
  earlyHints: true,
  trailers: true,
  requestTrailers: true,
  waitUntil: true,
  buffering: true,
  raiseLimits: false,
  file: true,
  internalRedirect: false,
  cache: false,
  compress: true,
};

export interface HostOptions {
  /** Facts of the process the application runs in; one worker of one when not given. */
  readonly worker?: WorkerFacts;
  /** Where the host and `ctx.log` write; JSON lines through `console` when not given. */
  readonly log?: Logger;
  /** Takes capabilities away that the transport lacks. Those that the host does not have cannot be given. */
  readonly capabilities?: Partial<Capabilities>;
  readonly limits?: {
    /** Bytes of a request body. Default: no limit here, for the front has one. */
    readonly bodySize?: number;
    /** Milliseconds until the signal of a request aborts with Timeout and, if no reply came, 503 is answered. Default: none. */
    readonly time?: number;
  };
  /** What the front before this host does. Default: nothing, unless it says so over the link. */
  readonly front?: FrontOptions;
  /** Path prefix that the application is mounted at, without a slash at its end: `ctx.mount.root`. Default: none. */
  readonly mount?: string;
  /** Shows error messages and stacks to clients. Default: false. */
  readonly development?: boolean;
  /**
   * What is done to globals of the platform, once per process. `accept` (default): `acceptLazyRequests`. `fast`: that, and
   * `makeLightResponses`. `untouched`: nothing, and then `new Request(request)` and `fetch(request)` throw.
   */
  readonly globals?: "accept" | "fast" | "untouched";
}

/** An application that is ready to answer exchanges. */
export interface Host {
  readonly handler: ExchangeHandler;
  /** Exchanges that have not ended. */
  readonly inFlight: number;
  readonly capabilities: Capabilities;
  /** Runs `lifespan.startup`. Rejects with `STARTUP` and what it threw as cause. Until it has resolved, requests get 503. */
  startup(): Promise<void>;
  /** Runs `lifespan.shutdown`; rejects with what it threw. Call it after `idle`. */
  shutdown(): Promise<void>;
  /** Resolves when no exchange is under way, no handler runs, and all work given to `ctx.waitUntil` is done. */
  idle(): Promise<void>;
  /** Aborts `ctx.signal` of every request under way with Shutdown; their exchanges go on. For when patience runs out, or for streams without end. */
  interrupt(): void;
}

/**
 * Makes a host of an application. Throws `BAD_APPLICATION` where it is none.
 *
 * @example
 * const host = await createHost((request) => ({ body: `You asked for ${request.url}` }));
 * await host.startup();
 * connection.serve(host.handler);
 */
export async function createHost<State>(application: Application<State>, options: HostOptions = {}): Promise<Host> {
  const object = objectOf(application);
  const upgrader = options.capabilities?.upgrade === false ? undefined : await loadUpgrader();
  return makeHost(object, options, upgrader);
}

/** Tunnels need Node's streams. Where a platform lacks them, the capability is absent, and nothing else changes. */
async function loadUpgrader(): Promise<Upgrader | undefined> {
  try {
    const { StreamTicket } = await import("./host/tunnel.ts");
    return (exchange, open, given, log) => new StreamTicket(exchange, open, given, log);
  } catch {
    return undefined;
  }
}

/** Whether a value has one of the forms of a TSGI application. A function may be one, or a handler of `node:http`: it does not show. */
export function isApplication(value: unknown): value is Application {
  if (typeof value === "function") return true;
  return (
    typeof value === "object" && value !== null && typeof (value as Partial<ApplicationObject>).fetch === "function"
  );
}

function objectOf(application: unknown): ApplicationObject {
  if (!isApplication(application)) {
    throw new PorticoGatewayError("BAD_APPLICATION", "An application is a function, or an object with a method fetch", {
      rule: "T2.1.1",
    });
  }
  // A function that carries `fetch` is an application object whose maker wanted it callable as well.
  if (typeof (application as Partial<ApplicationObject>).fetch === "function") return application as ApplicationObject;
  return { fetch: application as ApplicationObject["fetch"] };
}

function makeHost(application: ApplicationObject, options: HostOptions, upgrader: Upgrader | undefined): Host {
  if (options.globals !== "untouched") acceptLazyRequests();
  if (options.globals === "fast") makeLightResponses();
  const core = new HostCore(application, {
    capabilities: capabilitiesOf({ ...options.capabilities, upgrade: upgrader !== undefined }, options.front),
    denied: options.capabilities ?? {},
    front: options.front ?? {},
    upgrader,
    worker: options.worker ?? { id: 1, pid: 0, generation: 1, count: 1 },
    log: options.log ?? consoleLogger(),
    limits: { bodySize: options.limits?.bodySize ?? Infinity, time: options.limits?.time ?? Infinity },
    mount: options.mount ?? "",
    development: options.development ?? false,
  });
  const lifespan = application.lifespan;
  let phase: "new" | "starting" | "ready" | "failed" | "stopped" = lifespan?.startup === undefined ? "ready" : "new";
  const facts: LifespanContext = { spec: core.spec, worker: core.worker, log: core.log };

  return {
    // Hot path: one call object, no promise, no closure.
    handler(exchange: Exchange): void {
      core.enter();
      const call = new Call(core, exchange);
      exchange.observer = call;
      if (phase === "ready") call.run();
      else
        call.fail(
          new PorticoGatewayError("STARTUP", `A request came while the application was ${phase}`, { rule: "T2.3.2" }),
        );
    },
    get inFlight(): number {
      return core.exchanges;
    },
    capabilities: core.spec.capabilities,
    async startup(): Promise<void> {
      if (lifespan?.startup === undefined) return;
      if (phase !== "new")
        throw new PorticoGatewayError("STARTUP", `startup was called while the application was ${phase}`);
      phase = "starting";
      try {
        core.state = await lifespan.startup(facts);
        phase = "ready";
      } catch (error) {
        phase = "failed";
        const message = error instanceof Error ? error.message : String(error);
        throw new PorticoGatewayError("STARTUP", `lifespan.startup failed: ${message}`, {
          cause: error,
          rule: "T2.3.3",
        });
      }
    },
    async shutdown(): Promise<void> {
      if (phase !== "ready") return;
      phase = "stopped";
      await lifespan?.shutdown?.(core.state, facts);
    },
    idle: () => core.idle(),
    interrupt(): void {
      for (const call of core.listening) call.interrupt("shutdown");
    },
  };
}

function capabilitiesOf(given: Partial<Capabilities>, front: FrontOptions = {}): Capabilities {
  const result: Record<string, boolean> = {};
  const all: Capabilities = {
    ...HOST_CAPABILITIES,
    file: typeof process === "object" && typeof process.getBuiltinModule === "function",
    internalRedirect: front.redirects === true || front.files !== undefined,
    cache: front.cache === true,
  };
  for (const [name, has] of Object.entries(all)) result[name] = has && given[name as keyof Capabilities] !== false;
  return result as unknown as Capabilities;
}
