/** Calls the hooks that run in a worker. Loaded only where the configuration module has some. */
import { pathToFileURL } from "node:url";
import type { Exchange, ExchangeHandler } from "@portico/gateway/exchange";
import { PorticoServerError } from "./error.ts";
import { HOOKS } from "./hooks.ts";
import type { HookName, HookRequest, HookWorker, ServerHooks } from "./hooks.ts";
import type { OnServed } from "./served-exchange.ts";

export class WorkerHooks {
  readonly #worker: HookWorker;
  readonly #hooks: ServerHooks;

  private constructor(worker: HookWorker, hooks: ServerHooks) {
    this.#worker = worker;
    this.#hooks = hooks;
  }

  /** @param file the configuration module, which the master has checked */
  static async load(file: string, worker: HookWorker): Promise<WorkerHooks> {
    const { hooks = {} } = (await import(pathToFileURL(file).href)) as { hooks?: ServerHooks };
    return new WorkerHooks(worker, hooks);
  }

  /** @throws PorticoServerError `hook`, where the table in `hooks.ts` says that its failure means something */
  async call(name: Exclude<HookName, "preRequest" | "postRequest">): Promise<void> {
    try {
      await this.#run(name);
    } catch (error) {
      const said = `hook ${name} failed: ${error instanceof Error ? error.message : String(error)}`;
      if (HOOKS[name].failure !== undefined) throw new PorticoServerError("hook", said, { cause: error });
      this.#worker.log.error({ err: error }, said);
    }
  }

  /** As `call`, within this very turn: there may be no other. */
  callNow(name: "workerInt" | "workerAbort"): void {
    this.#guarded(name, () => this.#run(name));
  }

  /** Where there is no `preRequest`, the handler itself. */
  before(handler: ExchangeHandler): ExchangeHandler {
    const { preRequest } = this.#hooks;
    if (preRequest === undefined) return handler;
    return (exchange) => {
      this.#guarded("preRequest", () => preRequest(this.#worker, requestOf(exchange)));
      handler(exchange);
    };
  }

  /** For whoever watches exchanges; undefined where there is no `postRequest`. */
  get onServed(): OnServed | undefined {
    const { postRequest } = this.#hooks;
    if (postRequest === undefined) return undefined;
    return (exchange, ending, durationMs) => {
      const { status, bytesOut } = exchange;
      const aborted = ending === "completed" ? undefined : ending;
      const outcome = { status, bytes: bytesOut, ms: durationMs, aborted };
      this.#guarded("postRequest", () => postRequest(this.#worker, requestOf(exchange), outcome));
    };
  }

  #run(name: HookName): unknown {
    return (this.#hooks[name] as ((worker: HookWorker) => unknown) | undefined)?.(this.#worker);
  }

  #guarded(name: HookName, run: () => unknown): void {
    try {
      run();
    } catch (error) {
      this.#worker.log.error({ err: error }, `hook ${name} failed: ${String(error)}`);
    }
  }
}

function requestOf({ head, facts }: Exchange): HookRequest {
  return {
    id: facts.id,
    method: head.method,
    target: head.target,
    authority: head.authority ?? "",
    client: facts.client.address,
    receivedAt: facts.receivedAt,
  };
}
