/**
 * One worker: loads the application, serves it on the inherited sockets and on the links that the master passes on,
 * and leaves in order.
 */
import { createRequire, enableCompileCache } from "node:module";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import type { Logger } from "@portico/gateway";
import type { ExchangeHandler } from "@portico/gateway/exchange";
import { type AskedAddress, captureListen } from "@portico/gateway/node";
import { HttpListener } from "@portico/http1/socket";
import type { ChildContext, ChildRuntime, InheritedListener } from "@portico/supervisor/child";
import { AccessLog } from "./access-log.ts";
import { applicationErrors, hostApplication } from "./application-host.ts";
import type { ApplicationHost } from "./application-host.ts";
import { ConcurrencyGate } from "./concurrency.ts";
import { openLog } from "./log.ts";
import type { ServerLog } from "./log.ts";
import type { Development } from "./development.ts";
import { loadApplication } from "./load.ts";
import { type Counts, countInto, noCounts } from "./metrics/counts.ts";
import type { FromWorker, ToWorker, WorkerInit, WorkerQuestion } from "./messages.ts";
import { usesEngineIo } from "./sessions/engine-io.ts";
import type { Sessions } from "./sessions/sessions.ts";
import type { WorkerHooks } from "./worker-hooks.ts";
import { Retirement } from "./retirement.ts";
import { type OnServed, watchServed } from "./served-exchange.ts";
import { describe } from "./source-line.ts";
import { become } from "./become.ts";
import { listenError } from "./listen-error.ts";
import { readProxied } from "./proxied-socket.ts";
import { type TrustTest, trustTest } from "./trust.ts";
import { UnderWay } from "./under-way.ts";
import { PorticoServerError, withDetail } from "./error.ts";
import { answerQuestion } from "./worker-inspection.ts";
import { WorkerLinks } from "./worker-links.ts";

/** Longest that a worker with an uncaught exception goes on with its requests: its state may be broken. */
const CRASH_DRAIN_MS = 2_000;
/** What is kept of the graceful time for shutdown, milliseconds, but no more than this share of it. */
const LAST_WORDS_MS = 3_000;
const LAST_WORDS_SHARE = 0.2;
/** After this share of the time for requests, their signals abort with Shutdown. */
const INTERRUPT_SHARE = 0.9;
/** How often the master hears what was counted, milliseconds: what a killed worker takes with it. */
const COUNTS_MS = 1_000;
/** Requests that a log line names. */
const MOST_NAMED = 10;

export class WorkerRuntime implements ChildRuntime<WorkerInit> {
  #init: WorkerInit | undefined;
  #context: ChildContext | undefined;
  #files: ServerLog | undefined;
  #log: Logger | undefined;
  #host: ApplicationHost | undefined;
  #accessLog: AccessLog | undefined;
  #gate: ConcurrencyGate | undefined;
  #development: Development | undefined;
  #tellCounts: (() => void) | undefined;
  #http: HttpListener | undefined;
  #links: WorkerLinks | undefined;
  #sessions: Sessions | undefined;
  #retirement: Retirement | undefined;
  #hooks: WorkerHooks | undefined;
  readonly #servers: Server[] = [];
  readonly #underWay = new UnderWay();
  #phase: "loading" | "starting up" | "serving" | "draining" = "loading";
  #drained: Promise<void> | undefined;
  /** Resolved when work that nobody waits for at a connection is not waited for any longer. */
  readonly #impatient = Promise.withResolvers<void>();

  async start(init: WorkerInit, context: ChildContext): Promise<void> {
    this.#init = init;
    this.#context = context;
    if (init.identity !== undefined) {
      become(init.identity);
      if (init.compileCache !== undefined) enableCompileCache(init.compileCache);
    }
    Object.assign(process.env, init.env);
    process.title = `${init.name}: worker ${context.slot}`;
    this.#files = openLog(init.log, { name: init.name, worker: context.slot, pid: process.pid });
    this.#log = this.#files.log;
    if (init.development) this.#log = await this.#develop(this.#log);
    process.on("uncaughtException", (error, origin) => this.#crashed(error, origin));
    try {
      await this.#loadHooks(init, context, this.#log);
      this.#host = await this.#load(init, context, this.#log);
      this.#phase = "starting up";
      await this.#host.startup();
      await this.#hooks?.call("postWorkerInit");
      await this.#serve(init, context, this.#host);
    } catch (error) {
      throw error instanceof PorticoServerError ? withDetail(error) : error;
    }
    this.#phase = "serving";
    this.#retirement?.begin();
  }

  onMessage(message: ToWorker, handle: unknown): void {
    switch (message.kind) {
      case "link":
      case "sibling":
        this.#links?.add(handle as Socket, message);
        return;
      case "session-found":
        this.#sessions?.found(message.key, message.owner);
        return;
      case "reopen-logs":
        this.#files?.reopen();
        this.#accessLog?.reopen();
        return;
      case "broken":
        this.#development?.broken(message.text);
        return;
      case "ask":
        void this.#answer(message.number, message.question);
    }
  }

  /** Called by the watchdog while the event loop is stuck, and for the log of a crash. */
  describe(): string {
    if (this.#phase === "loading" || this.#phase === "starting up")
      return `${this.#phase} ${this.#init?.module.written ?? "the application"}`;
    const requests = this.#underWay.list(Date.now(), MOST_NAMED);
    if (requests.length === 0) return `${this.#phase}, no request under way`;
    const named = requests.map(({ id, method, target, age }) => `${method} ${target} (${id}, ${age} ms)`);
    return `${this.#phase}, ${this.#underWay.size} under way: ${named.join(", ")}`;
  }

  /** Called by the watchdog, on this thread where it is stuck, before the process is killed. */
  abort(): void {
    this.#hooks?.callNow("workerAbort");
  }

  drain(mode: "graceful" | "quick"): Promise<void> {
    if (mode === "quick") {
      this.#hooks?.callNow("workerInt");
      this.#stopAccepting();
      this.#impatient.resolve();
      this.#host?.interrupt();
      this.#http?.destroy();
      this.#links?.destroy();
    }
    this.#drained ??= this.#leave();
    return this.#drained;
  }

  async #load(init: WorkerInit, context: ChildContext, log: Logger): Promise<ApplicationHost> {
    const capture = captureListen({
      onError: applicationErrors(log),
      onElsewhere: (_server, asked) =>
        log.warn(
          { asked },
          `the application opens ${describeAsked(asked)} by itself: another worker, or its own replacement, will find it in use`,
        ),
    });
    const found = await loadApplication(init.module, init.interface, capture);
    this.#tell({
      kind: "loaded",
      application: found.kind,
      asked: capture.servers.slice(0, 1).map(({ asked }) => describeAsked(asked)),
    });
    const worker = {
      id: context.slot,
      pid: process.pid,
      generation: context.generation,
      get count(): number {
        return context.count;
      },
    };
    return await hostApplication(found, worker, log, init.module.written, init.accel);
  }

  async #serve(init: WorkerInit, context: ChildContext, host: ApplicationHost): Promise<void> {
    const handler = await this.#withSessions(this.#handlerOf(init, context, host), context);
    const trust = trustTest(init.forwardedAllowIps);
    const log = this.#log!;
    this.#http = new HttpListener(handler, {
      limits: { keepAliveMs: init.keepAliveMs },
      trust,
      onError: (error, { id }) => log.warn({ err: error, id }, `request failed: ${describe(error)}`),
    });
    this.#links = new WorkerLinks(handler, init, context, {
      inFlight: () => this.#underWay.size,
      onClosed: () => this.#tell({ kind: "link-closed" }),
      log,
    });
    for (const listener of context.listeners) {
      const proxied = init.proxied.includes(listener.url) ? trust : undefined;
      this.#servers.push(await this.#accept(listener, this.#http, proxied));
    }
  }

  /** Sessions of Engine.IO are looked after where the application has loaded it; nobody else pays for that. */
  async #withSessions(handler: ExchangeHandler, context: ChildContext): Promise<ExchangeHandler> {
    if (!usesEngineIo(Object.keys(createRequire(import.meta.url).cache))) return handler;
    const { Sessions } = await import("./sessions/sessions.ts");
    this.#sessions = new Sessions(handler, {
      self: context.id,
      tell: (message, socket) => void context.send(message, socket),
      log: this.#log!,
    });
    return this.#sessions.handler;
  }

  /** From the outside in: access log, what is under way, the gate, the application. */
  #handlerOf(init: WorkerInit, context: ChildContext, host: ApplicationHost): ExchangeHandler {
    let { handler } = host;
    if (init.concurrency > 0) {
      this.#gate = new ConcurrencyGate(handler, init.concurrency, init.queue);
      ({ handler } = this.#gate);
    }
    handler = this.#underWay.watch(handler);
    this.#retirement = new Retirement(init.retirement, (reason) => context.retire(reason));
    handler = this.#retirement.watch(handler, Math.random);
    handler = this.#hooks?.before(handler) ?? handler;
    if (this.#development !== undefined) handler = this.#development.watch(handler);
    const watchers: OnServed[] = [];
    if (init.accessLog !== undefined) {
      this.#accessLog = new AccessLog(init.accessLog, init.accessLogFormat, context.slot);
      watchers.push(this.#accessLog.onServed);
    }
    if (this.#hooks?.onServed !== undefined) watchers.push(this.#hooks.onServed);
    if (init.metrics) watchers.push(countInto(this.#startCounting()));
    return watchServed(handler, watchers);
  }

  async #loadHooks({ hooks }: WorkerInit, { slot, generation }: ChildContext, log: Logger): Promise<void> {
    if (hooks === undefined) return;
    const { WorkerHooks } = await import("./worker-hooks.ts"); // for those who have some
    this.#hooks = await WorkerHooks.load(hooks, { id: slot, pid: process.pid, generation, log });
    await this.#hooks.call("postFork");
  }

  /** What goes wrong in a request is in the log with the request's id: from there it is taken for the browser. */
  async #develop(log: Logger): Promise<Logger> {
    const [{ Development }, { watchLoading }] = await Promise.all([
      import("./development.ts"),
      import("./loaded-files.ts"),
    ]);
    const development = new Development();
    this.#development = development;
    watchLoading((files) => this.#tell({ kind: "files", files }));
    return {
      ...log,
      error(fields: object | string, message?: string): void {
        const { err, id } = fields as { err?: unknown; id?: unknown };
        if (typeof id === "string" && err !== undefined) development.report(id, err);
        log.error(fields as object, message);
      },
    };
  }

  #startCounting(): Counts {
    const counts = noCounts();
    this.#tellCounts = () =>
      this.#tell({
        kind: "counts",
        report: { counts, inFlight: this.#underWay.size, heapUsed: process.memoryUsage().heapUsed },
      });
    setInterval(this.#tellCounts, COUNTS_MS).unref();
    return counts;
  }

  /** @param proxied whom to believe a PROXY protocol header, where connections begin with one */
  #accept(
    { fd, backlog, url }: InheritedListener,
    http: HttpListener,
    proxied: TrustTest | undefined,
  ): Promise<Server> {
    const refused = (peer: string, why: string): void =>
      this.#log?.warn({ peer }, `connection from ${peer} closed: ${why}`);
    const attach = http.attach.bind(http);
    const server = createServer(
      { noDelay: true, allowHalfOpen: true },
      proxied === undefined
        ? (socket) => http.attach(socket)
        : (socket) => readProxied(socket, proxied, attach, refused),
    );
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => reject(listenError(error, url));
      server.once("error", fail);
      server.listen({ fd, backlog }, () => {
        server.off("error", fail);
        server.on("error", (error) => this.#log?.error({ err: error }, `accepting failed: ${error.message}`));
        resolve(server);
      });
    });
  }

  #stopAccepting(): void {
    this.#phase = "draining";
    for (const server of this.#servers.splice(0)) server.close();
  }

  async #leave(): Promise<void> {
    const began = performance.now();
    this.#stopAccepting();
    // The master kills when gracefulMs are over. A little of it is kept for streams without end to be told, and for shutdown.
    const gracefulMs = this.#init?.gracefulMs ?? 0;
    const patience = gracefulMs - Math.min(LAST_WORDS_MS, gracefulMs * LAST_WORDS_SHARE);
    const interrupt = setTimeout(() => this.#host?.interrupt(), patience * INTERRUPT_SHARE);
    await Promise.all([this.#http?.drain(patience), this.#links?.drain(patience)]);
    const over = setTimeout(() => this.#impatient.resolve(), patience - (performance.now() - began));
    await Promise.race([this.#host?.idle(), this.#impatient.promise]);
    clearTimeout(over);
    clearTimeout(interrupt);
    this.#sessions?.close();
    try {
      await this.#host?.shutdown();
    } catch (error) {
      this.#log?.error({ err: error }, `shutdown failed: ${describe(error)}`);
    }
    await this.#hooks?.call("workerExit");
    this.#accessLog?.close();
    this.#tellCounts?.();
  }

  /** A program that listens to uncaughtException itself has decided to go on, as it could without us. */
  #crashed(error: unknown, origin: string): void {
    const requests = this.#underWay.list(Date.now(), MOST_NAMED);
    const goesOn = process.listenerCount("uncaughtException") > 1;
    this.#log?.error(
      { err: error, origin, requests },
      `uncaught ${origin === "unhandledRejection" ? "rejection" : "exception"}: ${describe(error)}${goesOn ? "" : "; the worker leaves"}`,
    );
    if (goesOn) return;
    if (this.#phase !== "serving") process.exit(this.#phase === "draining" ? 1 : 3);
    this.#tell({ kind: "leaving" });
    void this.#leaveCrashed();
  }

  async #leaveCrashed(): Promise<void> {
    setTimeout(() => process.exit(1), CRASH_DRAIN_MS);
    await this.drain("graceful");
    process.exit(1);
  }

  async #answer(number: number, question: WorkerQuestion): Promise<void> {
    try {
      const waiting = (): number => this.#gate?.waiting ?? 0;
      const result = await answerQuestion(question, { underWay: this.#underWay, waiting });
      this.#tell({ kind: "answer", number, result });
    } catch (error) {
      this.#tell({ kind: "answer", number, failure: error instanceof Error ? error.message : String(error) });
    }
  }

  #tell(message: FromWorker): void {
    this.#context?.send(message);
  }
}

/** Where a program wanted to listen, as a person would write it. */
function describeAsked({ port, host, path }: AskedAddress): string {
  return path ?? (host === undefined ? `port ${port ?? 0}` : `${host}:${port ?? 0}`);
}
