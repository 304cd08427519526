import type { ApplicationObject, FetchHandler, Reply } from "../application.ts";
import type { Capabilities, Context, Logger, Specification, WorkerFacts } from "../context.ts";
import type { Exchange, RequestHead } from "../exchange.ts";
import type { Call } from "./call.ts";
import type { FrontOptions } from "./front.ts";
import type { Upgrader } from "./upgrade.ts";

/** What every call of a host shares, and the count of what is under way. */
export class HostCore {
  readonly spec: Specification;
  readonly worker: WorkerFacts;
  readonly log: Logger;
  readonly limits: { readonly bodySize: number; readonly time: number };
  readonly mount: string;
  readonly development: boolean;
  readonly upgrader: Upgrader | undefined;
  readonly onError: ApplicationObject["onError"];
  /** What `lifespan.startup` returned. */
  state: unknown;
  /** Calls whose signal somebody has, to be told of a shutdown. */
  readonly listening: Set<Call> = new Set();
  readonly front: FrontOptions;
  readonly #denied: Partial<Capabilities>;
  /** By what fronts said over the link, joined: there are as many as fronts differ. */
  readonly #specs: Map<string, Specification> = new Map();
  readonly #fetch: FetchHandler;
  readonly #websocket: FetchHandler | undefined;
  #exchanges = 0;
  #work = 0;
  #idlers: (() => void)[] = [];

  constructor(
    application: ApplicationObject,
    given: {
      readonly capabilities: Capabilities;
      /** Capabilities that were taken away: no front brings them back. */
      readonly denied: Partial<Capabilities>;
      readonly front: FrontOptions;
      readonly worker: WorkerFacts;
      readonly log: Logger;
      readonly limits: { readonly bodySize: number; readonly time: number };
      readonly mount: string;
      readonly development: boolean;
      readonly upgrader: Upgrader | undefined;
    },
  ) {
    this.spec = Object.freeze({ name: "TSGI", version: "1.0", capabilities: Object.freeze(given.capabilities) });
    this.front = given.front;
    this.#denied = given.denied;
    this.worker = given.worker;
    this.log = given.log;
    this.limits = given.limits;
    this.mount = given.mount;
    this.development = given.development;
    this.upgrader = given.upgrader;
    this.onError = application.onError?.bind(application);
    // The context goes as third argument too: modules written for Workers look for `waitUntil` there.
    const fetch = application.fetch.bind(application) as (
      request: Request,
      ctx: Context,
      same: Context,
    ) => Reply | Promise<Reply>;
    this.#fetch = (request, ctx) => fetch(request, ctx, ctx);
    this.#websocket = application.websocket?.bind(application);
  }

  /** The specification as it is for one exchange, whose front may say that it does more. */
  specFor(exchange: Exchange): Specification {
    const said = exchange.facts.front;
    if (said === undefined || said.length === 0) return this.spec;
    const key = said.join();
    let spec = this.#specs.get(key);
    if (spec === undefined) {
      const { capabilities } = this.spec;
      spec = Object.freeze({
        ...this.spec,
        capabilities: Object.freeze({
          ...capabilities,
          internalRedirect:
            this.#denied.internalRedirect !== false && (capabilities.internalRedirect || said.includes("accel")),
          cache: this.#denied.cache !== false && (capabilities.cache || said.includes("cache")),
        }),
      });
      this.#specs.set(key, spec);
    }
    return spec;
  }

  /** Exchanges that have not ended. */
  get exchanges(): number {
    return this.#exchanges;
  }

  dispatch(head: RequestHead, request: Request, ctx: Context): Reply | Promise<Reply> {
    if (this.#websocket !== undefined && head.upgrade === "websocket") return this.#websocket(request, ctx);
    return this.#fetch(request, ctx);
  }

  enter(): void {
    this.#exchanges += 1;
  }

  leave(): void {
    this.#exchanges -= 1;
    this.#settle();
  }

  /** Some work begins that `idle` waits for. */
  begin(): void {
    this.#work += 1;
  }

  end(): void {
    this.#work -= 1;
    this.#settle();
  }

  idle(): Promise<void> {
    if (this.#exchanges === 0 && this.#work === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idlers.push(resolve);
    });
  }

  #settle(): void {
    if (this.#exchanges !== 0 || this.#work !== 0 || this.#idlers.length === 0) return;
    const idlers = this.#idlers;
    this.#idlers = [];
    for (const resolve of idlers) resolve();
  }
}
