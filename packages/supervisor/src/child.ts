/**
 * The child's side: `runChild` is all that a child's entry module calls.
 *
 * It waits for the master's word, starts the work, reports readiness, beats from the event loop, drains when told, and
 * ends the process when the master is gone. The master's view of the same process is `child-handle.ts`.
 */
import type { SendHandle } from "node:child_process";
import { Worker } from "node:worker_threads";
import { EXIT } from "./exit-codes.ts";
import { DESCRIBE_KEY, REPORT_KEY, WATCH_FD } from "./messages.ts";
import type { ChildFailure, FromChild, InheritedListener, InitMessage, ToChild } from "./messages.ts";
import { removeIfEmpty } from "./remove-if-empty.ts";
import { prepareReports, writeHangReport } from "./report.ts";
import type { WatchdogData } from "./watchdog.ts";

export type { InheritedListener } from "./messages.ts";

// The watchdog thread acts only when the main thread did not by itself, so it waits a little longer.
const ORPHAN_GRACE_MS = 2_000;
// For the message that says why: a master that reads takes it at once.
const LAST_WORDS_MS = 1_000;

/** What the child knows about itself and its group. */
export interface ChildContext {
  /** Number of this process in its group, counted up with every spawn, never used twice. */
  readonly id: number;
  /** Place in the group, 1 to `count`; a replacement takes the place of the one it replaces. */
  readonly slot: number;
  readonly generation: number;
  /** How many children the group has now; follows `scale`. */
  readonly count: number;
  readonly listeners: readonly InheritedListener[];
  /** Sends a message to the master (`onMessage` there), and a socket with it, which is the master's from then on. False: the channel is closed. */
  send(message: unknown, handle?: SendHandle): boolean;
  /** Asks the master for a replacement; once that is ready, this child is drained. Asking again has no effect until then. */
  retire(reason: string): void;
}

/** What a child does. `Init` is what the group's `init` option holds. */
export interface ChildRuntime<Init = unknown> {
  /** Loads and listens. The child is ready when it resolves. A rejection ends the process: with the error's own `exitCode` (4: the application did not load), else 3. */
  start(init: Init, context: ChildContext): Promise<void> | void;
  /** Stops accepting at once, closes every listener, and resolves when nothing is under way. The process then exits. A `quick` drain may follow a `graceful` one that is not done yet. */
  drain(mode: "graceful" | "quick"): Promise<void> | void;
  /** A message of the master, with the socket that came with it. */
  onMessage?(message: unknown, handle: unknown): void;
  /** The group was scaled; `context.count` already says so. */
  onCount?(count: number): void;
  /** One line about what is under way now, called by the watchdog while the event loop is stuck: must not wait for anything. */
  describe?(): string;
  /** The process is about to be killed because its event loop stands still; called by the watchdog, as `describe`. */
  abort?(): void;
}

/**
 * Descriptor of a listening socket that came with a message ({@link ChildRuntime.onMessage}). It belongs to whoever
 * listens on it with `server.listen({ fd })`, exactly once: the handle itself must not be closed any more.
 */
export function descriptorOf(handle: unknown): number | undefined {
  const fd = (handle as { readonly fd?: unknown } | undefined)?.fd;
  return typeof fd === "number" && fd >= 0 ? fd : undefined;
}

/** Signals a terminal sends to the whole process group, or that only the master answers. */
const MASTER_SIGNALS = ["SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR2", "SIGWINCH", "SIGTTIN", "SIGTTOU"] as const;

function describeFailure(error: unknown): ChildFailure {
  const value = error instanceof Error ? error : { name: "Error", message: String(error), stack: undefined };
  const exitCode = (value as { exitCode?: unknown }).exitCode;
  const code = (value as { code?: unknown }).code;
  return {
    name: value.name,
    message: value.message,
    stack: value.stack,
    code: typeof code === "string" ? code : undefined,
    exitCode: typeof exitCode === "number" ? exitCode : EXIT.boot,
  };
}

function post(message: FromChild, done?: () => void, handle?: SendHandle): boolean {
  if (process.send === undefined || !process.connected) {
    done?.();
    return false;
  }
  process.send(message, handle, undefined, () => done?.());
  return true;
}

/** Says what went wrong and ends the process, also where the master does not listen. */
function leaveWith(error: unknown, exitCode?: number): void {
  const failure = describeFailure(error);
  const leave = (): never => process.exit(exitCode ?? failure.exitCode);
  setTimeout(leave, LAST_WORDS_MS);
  post({ portico: "failed", failure }, leave);
}

function startWatchdog(gracefulMs: number): void {
  const file = import.meta.url.endsWith(".ts") ? "./watchdog.ts" : "./watchdog.js";
  const workerData: WatchdogData = { fd: WATCH_FD, orphanMs: gracefulMs + ORPHAN_GRACE_MS };
  const watchdog = new Worker(new URL(file, import.meta.url), {
    workerData,
    execArgv: [], // no loaders or preloads of the application
    env: {},
    name: "watchdog",
    resourceLimits: { maxOldGenerationSizeMb: 24, maxYoungGenerationSizeMb: 4 },
  });
  watchdog.unref();
  watchdog.on("error", (error) => console.error(`watchdog thread ended: ${String(error)}; hangs will have no stack`));
}

/** State of the one runtime a process has. */
class Child<Init> implements ChildContext {
  readonly id: number;
  readonly slot: number;
  readonly generation: number;
  readonly listeners: readonly InheritedListener[];
  count: number;
  readonly #runtime: ChildRuntime<Init>;
  readonly #init: InitMessage;
  #started = false;
  #draining: "graceful" | "quick" | undefined;
  #retiring = false;
  #beatPending = false;
  #beatDue = 0;

  constructor(runtime: ChildRuntime<Init>, init: InitMessage) {
    this.#runtime = runtime;
    this.#init = init;
    this.id = init.id;
    this.slot = init.slot;
    this.generation = init.generation;
    this.listeners = init.listeners;
    this.count = init.count;
  }

  send(message: unknown, handle?: SendHandle): boolean {
    return post({ portico: "message", body: message }, undefined, handle);
  }

  retire(reason: string): void {
    if (this.#retiring || this.#draining !== undefined) return;
    this.#retiring = true;
    if (!post({ portico: "retire", reason })) this.#retiring = false;
  }

  async start(): Promise<void> {
    const { init, heartbeatMs, gracefulMs, watchdog, umask } = this.#init;
    if (umask !== undefined) process.umask(umask);
    if (watchdog) startWatchdog(gracefulMs);
    this.#prepareForTheWorst();
    this.#beatDue = performance.now() + heartbeatMs;
    setInterval(() => this.#beat(heartbeatMs), heartbeatMs).unref();
    try {
      await this.#runtime.start(init as Init, this);
    } catch (error) {
      leaveWith(error);
      return;
    }
    this.#started = true;
    if (this.#draining === undefined) post({ portico: "ready" });
  }

  /** What the watchdog thread calls on this one while it is stuck, and what a fatal error leaves behind. */
  #prepareForTheWorst(): void {
    const { reports, reportsOwner } = this.#init;
    if (this.#runtime.describe !== undefined) {
      Reflect.set(globalThis, Symbol.for(DESCRIBE_KEY), () => this.#runtime.describe?.());
    }
    const writes = reports !== undefined && prepareReports(reports, reportsOwner);
    if (reports !== undefined && !writes)
      console.error(`no diagnostic reports: ${reports} is not a folder of this user alone`);
    Reflect.set(globalThis, Symbol.for(REPORT_KEY), () => {
      this.#runtime.abort?.();
      return writes ? writeHangReport(reports) : "";
    });
  }

  drain(mode: "graceful" | "quick"): void {
    if (this.#draining === "quick" || this.#draining === mode) return;
    this.#draining = mode;
    if (!this.#started) process.exit(0); // nothing is under way yet
    Promise.resolve(this.#runtime.drain(mode)).then(
      () => process.exit(0),
      (error: unknown) => leaveWith(error, 1),
    );
  }

  /** The master was killed. Finish what is under way, within the bound a master would have set. */
  orphaned(): void {
    const { reports } = this.#init;
    if (reports !== undefined) process.once("exit", () => removeIfEmpty(reports));
    setTimeout(() => process.exit(1), this.#init.gracefulMs);
    this.drain("graceful");
  }

  receive(message: ToChild, handle: unknown): void {
    switch (message.portico) {
      case "drain":
        return this.drain(message.mode);
      case "count":
        this.count = message.count;
        return this.#runtime.onCount?.(message.count);
      case "message":
        return this.#runtime.onMessage?.(message.body, handle);
      case "stay":
        this.#retiring = false;
        return;
      case "init":
        return; // said once
    }
  }

  #beat(intervalMs: number): void {
    const now = performance.now();
    const lagMs = Math.max(0, now - this.#beatDue);
    this.#beatDue = now + intervalMs;
    if (this.#beatPending) return; // the master does not read: do not pile up
    this.#beatPending = true;
    post({ portico: "beat", lagMs, rss: process.memoryUsage.rss() }, () => {
      this.#beatPending = false;
    });
  }
}

/** Runs this process as a child of a `ProcessGroup`. Call once, from the child's entry module; a process without a master exits at once. */
export function runChild<Init>(runtime: ChildRuntime<Init>): void {
  for (const signal of MASTER_SIGNALS) process.on(signal, () => {});
  // Broken pipes to a master that is gone must not end what is under way.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  let child: Child<Init> | undefined;
  const leave = (): void => (child === undefined ? process.exit(0) : child.orphaned());
  if (!process.connected) return leave();
  process.on("disconnect", leave);
  // An operator's SIGTERM to one child means "leave, in order": a replacement comes first.
  process.on("SIGTERM", () => (child === undefined ? process.exit(0) : child.retire("SIGTERM")));
  process.on("uncaughtExceptionMonitor", (error) => post({ portico: "failed", failure: describeFailure(error) }));
  process.on("message", (message: ToChild, handle: unknown) => {
    if (child !== undefined) return child.receive(message, handle);
    if (message.portico !== "init") return;
    child = new Child(runtime, message);
    void child.start();
  });
}
