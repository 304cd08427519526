import type { Application, ApplicationObject, FetchHandler, LifespanContext, Reply } from "./application.ts";
import type { Context } from "./context.ts";
import { PorticoGatewayError } from "./errors.ts";
import { isApplication } from "./host.ts";
import { checkReply } from "./lint/application-side.ts";
import { type Breach, BreachBook, throwBreach } from "./lint/breach.ts";
import { checkCall, watchEnd } from "./lint/host-side.ts";

export type { Breach } from "./lint/breach.ts";

export interface LintOptions {
  /** Told of each breach. Default: throws a `PorticoGatewayError` with code `LINT`, which makes the request fail. */
  readonly report?: (breach: Breach) => void;
}

/** An application inside the lint. */
export interface LintedApplication<State = unknown> extends ApplicationObject<State> {
  readonly fetch: FetchHandler<State>;
  /** Every breach so far, whoever committed it. */
  readonly breaches: readonly Breach[];
}

/**
 * Wraps an application and checks both sides of the interface while it runs: what the host passes in, when it calls, and what the
 * application gives back. Behaviour is unchanged but for the checks, which cost time: it is for tests and development.
 *
 * To check a server, serve any linted application with it; to check an application, serve it linted with any server.
 *
 * @example
 * const application = lint(mine);
 * const server = await serveReference(application);
 * // … requests …
 * assert.deepEqual(application.breaches, []);
 */
export function lint<State>(application: Application<State>, options: LintOptions = {}): LintedApplication<State> {
  const book = new BreachBook(options.report ?? throwBreach);
  if (!isApplication(application)) {
    throw new PorticoGatewayError("BAD_APPLICATION", "An application is a function, or an object with a method fetch", {
      rule: "T2.1.1",
    });
  }
  const object: ApplicationObject<State> =
    "fetch" in application && typeof application.fetch === "function"
      ? application
      : { fetch: application as FetchHandler<State> };
  const lifespan = new LifespanWatch(book, object.lifespan?.startup !== undefined);

  const around = (call: FetchHandler<State>): FetchHandler<State> => {
    return async (request, ctx) => {
      lifespan.request(ctx);
      checkCall(book, request, ctx);
      watchEnd(book, ctx);
      return checkReply(book, await call(request, ctx)) as Reply;
    };
  };
  const websocket = object.websocket?.bind(object);
  const onError = object.onError?.bind(object);
  const upgradeAware = around((request, ctx) => {
    const asked = ctx.http.headers.some((part) => part.toLowerCase() === "websocket");
    book.check(
      asked || ctx.http.version === "2",
      "T2.2.2",
      "host",
      "websocket was called for a request that asks for no upgrade",
    );
    return (websocket as FetchHandler<State>)(request, ctx);
  });
  return {
    breaches: book.breaches,
    fetch: around((request, ctx) => object.fetch(request, ctx)),
    ...(websocket === undefined ? {} : { websocket: upgradeAware }),
    ...(onError === undefined
      ? {}
      : { onError: async (error, request, ctx) => checkReply(book, await onError(error, request, ctx)) as Reply }),
    lifespan: {
      startup: async (context: LifespanContext): Promise<State> => {
        lifespan.starting();
        const state = (await object.lifespan?.startup?.(context)) as State;
        lifespan.started(state);
        return state;
      },
      shutdown: async (state: State, context: LifespanContext): Promise<void> => {
        lifespan.stopping(state);
        await object.lifespan?.shutdown?.(state, context);
      },
    },
  };
}

/** What a host owes over the life of a worker (section 2.3). */
class LifespanWatch {
  readonly #book: BreachBook;
  readonly #expected: boolean;
  #phase: "new" | "starting" | "started" | "stopped" = "new";
  #state: unknown;

  constructor(book: BreachBook, expected: boolean) {
    this.#book = book;
    this.#expected = expected;
  }

  starting(): void {
    this.#book.check(
      this.#phase === "new",
      "T2.3.1",
      "host",
      `startup was called when the application was ${this.#phase}`,
    );
    this.#phase = "starting";
  }

  started(state: unknown): void {
    this.#phase = "started";
    this.#state = state;
  }

  request(ctx: Context): void {
    this.#book.check(
      this.#phase === "started",
      "T2.3.2",
      "host",
      `a request came when the application was ${this.#phase}`,
    );
    if (this.#expected)
      this.#book.check(ctx.state === this.#state, "T2.3.1", "host", "ctx.state is not what startup returned");
  }

  stopping(state: unknown): void {
    this.#book.check(
      this.#phase === "started",
      "T2.3.4",
      "host",
      `shutdown was called when the application was ${this.#phase}`,
    );
    this.#book.check(state === this.#state, "T2.3.4", "host", "shutdown was not given the state");
    this.#phase = "stopped";
  }
}
