/** A child process as its master sees it. The child's own side is `child.ts`. */
import { spawn } from "node:child_process";
import type { ChildProcess, SendHandle, StdioOptions } from "node:child_process";
import { createInterface } from "node:readline";
import type { Socket } from "node:net";
import type { BoundListener } from "./listener.ts";
import { SupervisorError } from "./errors.ts";
import { ALIVE, STACK_WAIT_MS, WATCH_FD, isFromChild } from "./messages.ts";
import type { Beat, ChildFailure, FromChild, StackReport, ToChild } from "./messages.ts";

export type ChildState = "starting" | "ready" | "draining" | "gone";

/** How a child ended. */
export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What the child itself said was wrong, when it could. */
  readonly failure: ChildFailure | undefined;
  /** One line for a log. */
  readonly reason: string;
}

/** Everything a child is started with. */
export interface ChildSpec {
  readonly entry: string;
  readonly execArgv: readonly string[];
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv | undefined;
  readonly cwd: string | undefined;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  readonly umask: number | undefined;
  readonly init: unknown;
  readonly generation: number;
  readonly listeners: readonly BoundListener[];
  /** Descriptors per listener. */
  readonly copies: number;
  readonly heartbeatMs: number;
  readonly gracefulMs: number;
  readonly watchdog: boolean;
}

/** What the group hears from a child. */
export interface ChildOwner {
  onMessage(child: ChildHandle, message: unknown, handle: unknown): void;
  onBeat(child: ChildHandle): void;
  onRetire(child: ChildHandle, reason: string): void;
  /** Lines of the child's output; undefined: it inherits the master's stdout and stderr. */
  readonly onOutput: ((child: ChildHandle, stream: "stdout" | "stderr", line: string) => void) | undefined;
}

// The watchdog says at once that it is there, and has its answer within STACK_WAIT_MS; a stopped process says nothing.
// The rest is for a machine that has no processor time to give.
const ANSWER_WAIT_MS = STACK_WAIT_MS + 1_500;
// After its exit a child's last words may still be in the channel; a grandchild cannot hold it open.
const LAST_WORDS_MS = 500;

// JSON leaves undefined fields out.
const NO_REPORT: StackReport = { stack: undefined, doing: undefined, reason: undefined };
const STUCK_REPORT: StackReport = { ...NO_REPORT, reason: "the watchdog thread got stuck as well" };

export class ChildHandle {
  /** Counted up with every spawn of the group, never used twice. */
  readonly id: number;
  /** Place in the group, from 1. */
  readonly slot: number;
  readonly generation: number;
  /** -1 when the process could not be spawned. */
  readonly pid: number;
  /** Milliseconds since the epoch. */
  readonly startedAt: number = Date.now();
  /** Resolves when the child reports ready; rejects with {@link SupervisorError} `child_failed` when it ends before. */
  readonly ready: Promise<void>;
  /** Resolves when the process has ended; never rejects. */
  readonly gone: Promise<ChildExit>;
  /** When the child's event loop last ran its beat, on the clock of `performance.now()`. Meaningful once ready. */
  lastBeat: number = performance.now();
  /** What came with the last beat. */
  beat: Beat | undefined;
  /** When the child became ready, milliseconds since the epoch. */
  readyAt: number | undefined;
  /** Sockets it was started with. */
  readonly listeners: readonly BoundListener[];
  /** It has a watchdog thread, which answers for a main thread that does not. */
  readonly watched: boolean;
  #state: ChildState = "starting";
  #dismissed = false;
  #failure: ChildFailure | undefined;
  #note: string | undefined;
  #bound: NodeJS.Timeout | undefined;
  /**
   * Descriptors that the child may not have taken yet, oldest first. Node keeps ours open until the child says that it
   * has its own, and for ever where it dies before: the other end would wait for nobody.
   */
  readonly #travelling: { close(): void }[] = [];
  readonly #process: ChildProcess;
  readonly #owner: ChildOwner;

  constructor(id: number, slot: number, count: number, spec: ChildSpec, owner: ChildOwner) {
    this.id = id;
    this.slot = slot;
    this.generation = spec.generation;
    this.listeners = spec.listeners;
    this.watched = spec.watchdog;
    this.#owner = owner;
    this.#process = spawn(process.execPath, [...spec.execArgv, spec.entry, ...spec.args], {
      stdio: stdioOf(spec, owner.onOutput !== undefined),
      serialization: "advanced",
      // A session of its own: a terminal's Ctrl-C reaches the master alone, from the first moment of the child.
      detached: true,
      windowsHide: true,
      ...(spec.env && { env: spec.env }),
      ...(spec.cwd !== undefined && { cwd: spec.cwd }),
      ...(spec.uid !== undefined && { uid: spec.uid }),
      ...(spec.gid !== undefined && { gid: spec.gid }),
    });
    this.pid = this.#process.pid ?? -1;
    this.gone = this.#watchExit();
    this.ready = this.#watchReady();
    this.ready.catch(() => {}); // whoever waits for it hears of it
    this.#watchOutput();
    this.#post(initMessage(this, count, spec));
  }

  get state(): ChildState {
    return this.#state;
  }

  /** The master told it to leave; its end is no failure. */
  get dismissed(): boolean {
    return this.#dismissed;
  }

  /** Milliseconds since the event loop last answered. */
  silentMs(now: number): number {
    return now - this.lastBeat;
  }

  /** Sends a message, and a socket or server with it, to the child's `onMessage`; the socket is the child's from then on. False: the channel is closed, nothing was sent, and a socket is still the caller's. */
  send(message: unknown, handle?: SendHandle): boolean {
    return this.#post({ portico: "message", body: message }, handle);
  }

  /**
   * Passes a listening socket to the running child: its `onMessage` gets the message and a handle, of which
   * `descriptorOf` (in `./child`) makes a descriptor to listen on. False: the channel is closed.
   */
  pass(message: unknown, listener: BoundListener): boolean {
    if (!this.#process.connected) return false;
    this.#process.send({ portico: "message", body: message }, listener.sendable() as SendHandle, undefined, () => {});
    return true;
  }

  /** Tells the child how many siblings there are now. */
  announceCount(count: number): void {
    this.#post({ portico: "count", count });
  }

  /** Tells a child that asked to retire that no replacement came up. */
  stay(): void {
    this.#post({ portico: "stay" });
  }

  /**
   * Asks the child to leave, and kills it when it has not left within `boundMs`; `onBound` is told before. May be
   * called again with a harder mode or a shorter bound. Resolves when the process is gone.
   */
  drain(mode: "graceful" | "quick", boundMs: number, onBound: () => void): Promise<ChildExit> {
    if (this.#state === "gone") return this.gone;
    this.#state = "draining";
    this.#dismissed = true;
    this.#post({ portico: "drain", mode });
    clearTimeout(this.#bound);
    this.#bound = setTimeout(() => {
      onBound();
      this.kill("SIGKILL", `it did not leave within ${boundMs} ms`);
    }, boundMs);
    return this.gone;
  }

  /** Kills the process; its end is no failure. */
  dismiss(note: string): void {
    this.#dismissed = true;
    this.kill("SIGKILL", note);
  }

  /** Sends a signal to the process; `note` becomes part of the exit's reason. */
  kill(signal: NodeJS.Signals, note?: string): void {
    if (note !== undefined) this.#note ??= note;
    if (this.#state !== "gone" && this.pid > 0) this.#process.kill(signal);
  }

  /**
   * The JavaScript stack that the main thread is in, taken by the watchdog thread, blocked or not. Undefined: nobody
   * answers, so the process is stopped, dead, or has no watchdog.
   */
  stack(): Promise<StackReport | undefined> {
    const pipe = this.#process.stdio[WATCH_FD] as Socket | null | undefined;
    if (!this.watched || this.#state === "gone" || !pipe?.writable) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      let text = "";
      const finish = (report: StackReport | undefined): void => {
        clearTimeout(timer);
        pipe.off("data", onData).off("close", onClose);
        resolve(report);
      };
      const onClose = (): void => finish(undefined);
      const onData = (chunk: Buffer): void => {
        text += chunk.toString();
        const lines = text.split("\n").slice(0, -1);
        const report = lines.find((line) => line.startsWith("{"));
        if (report !== undefined) finish({ ...NO_REPORT, ...(JSON.parse(report) as StackReport) });
        else if (lines.includes(ALIVE)) timer.refresh();
      };
      // The first wait is for the word that the thread is alive, the second for what it finds.
      const timer = setTimeout(() => finish(text === "" ? undefined : STUCK_REPORT), ANSWER_WAIT_MS);
      pipe.on("data", onData).on("close", onClose);
      pipe.write("stack\n");
    });
  }

  #post(message: ToChild, handle?: SendHandle): boolean {
    if (!this.#process.connected) return false;
    const descriptor = descriptorOf(handle);
    if (descriptor !== undefined) this.#travelling.push(descriptor);
    // A failed send is a child that ends: `gone` tells.
    this.#process.send(message, handle, undefined, () => {
      // Node sends one descriptor at a time, each when the child has taken the one before.
      if (descriptor !== undefined) this.#travelling.splice(0, Math.max(0, this.#travelling.indexOf(descriptor)));
    });
    return true;
  }

  #watchExit(): Promise<ChildExit> {
    const child = this.#process;
    return new Promise((resolve) => {
      const settle = (code: number | null, signal: NodeJS.Signals | null): void => {
        if (this.#state === "gone") return;
        this.#state = "gone";
        clearTimeout(this.#bound);
        for (const end of child.stdio) end?.destroy();
        for (const descriptor of this.#travelling.splice(0)) descriptor.close(); // no effect on one that is closed
        resolve({ code, signal, failure: this.#failure, reason: this.#reason(code, signal) });
      };
      child.on("error", (error) => {
        if (child.pid !== undefined) return; // a message or signal that was too late
        this.#note = `it could not be spawned: ${error.message}`;
        settle(null, null);
      });
      child.on("exit", (code, signal) => {
        if (!child.connected) return settle(code, signal);
        const timer = setTimeout(() => settle(code, signal), LAST_WORDS_MS);
        child.once("disconnect", () => {
          clearTimeout(timer);
          settle(code, signal);
        });
      });
    });
  }

  #watchReady(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#process.on("message", (message, handle) => {
        if (!isFromChild(message)) return;
        if (message.portico === "ready" && this.#state === "starting") {
          this.#state = "ready";
          this.lastBeat = performance.now();
          this.readyAt = Date.now();
          resolve();
        }
        this.#receive(message, handle);
      });
      void this.gone.then((exit) =>
        reject(
          new SupervisorError(
            "child_failed",
            exit.failure?.message ?? `the child ended before it was ready: ${exit.reason}`,
            {
              cause: exit.failure ?? exit.reason,
              exitCode: exit.failure?.exitCode ?? 3,
            },
          ),
        ),
      );
    });
  }

  #receive(message: FromChild, handle: unknown): void {
    switch (message.portico) {
      case "beat":
        this.lastBeat = performance.now();
        this.beat = { lagMs: message.lagMs, rss: message.rss };
        return this.#owner.onBeat(this);
      case "failed":
        this.#failure = message.failure;
        return;
      case "retire":
        return this.#owner.onRetire(this, message.reason);
      case "message":
        return this.#owner.onMessage(this, message.body, handle);
      case "ready":
        return;
    }
  }

  #watchOutput(): void {
    this.#process.stdio[WATCH_FD]?.on("error", () => {}); // the child is gone: `exit` tells
    const { onOutput } = this.#owner;
    if (onOutput === undefined) return;
    for (const name of ["stdout", "stderr"] as const) {
      const input = this.#process[name];
      if (input !== null) createInterface({ input }).on("line", (line) => onOutput(this, name, line));
    }
  }

  #reason(code: number | null, signal: NodeJS.Signals | null): string {
    const end = signal === null ? `exit code ${String(code)}` : `killed by ${signal}`;
    const note = this.#note ?? (this.#failure && `${this.#failure.name}: ${this.#failure.message}`);
    return note === undefined ? end : `${end} (${note})`;
  }
}

function stdioOf(spec: ChildSpec, piped: boolean): StdioOptions {
  const output = piped ? "pipe" : "inherit";
  const sockets = spec.listeners.flatMap((listener) => Array.from({ length: spec.copies }, () => listener.fd));
  return ["ignore", output, output, "ipc", "pipe", ...sockets];
}

function initMessage(child: ChildHandle, count: number, spec: ChildSpec): ToChild {
  const first = WATCH_FD + 1;
  return {
    portico: "init",
    init: spec.init,
    id: child.id,
    slot: child.slot,
    generation: child.generation,
    count,
    listeners: spec.listeners.map((listener, index) => {
      const fds = Array.from({ length: spec.copies }, (_, copy) => first + index * spec.copies + copy);
      return {
        fd: first + index * spec.copies,
        fds,
        address: listener.address,
        url: listener.url,
        backlog: listener.backlog,
      };
    }),
    heartbeatMs: spec.heartbeatMs,
    gracefulMs: spec.gracefulMs,
    watchdog: spec.watchdog,
    umask: spec.umask,
  };
}

/** What a socket is in Node's inside. `send` takes it out of the socket, so that the socket's own `destroy` reaches it no more. */
function descriptorOf(handle: SendHandle | undefined): { close(): void } | undefined {
  return (handle as { _handle?: { close(): void } } | undefined)?._handle;
}
