/** A child process as its master sees it. The child's own side is `child.ts`. */
import { spawn } from "node:child_process";
import type { ChildProcess, SendHandle } from "node:child_process";
import { createInterface } from "node:readline";
import type { Socket } from "node:net";
import { endOf } from "./child-end.ts";
import type { ChildExit } from "./child-end.ts";
import { initMessage, stdioOf } from "./child-spec.ts";
import type { ChildSpec } from "./child-spec.ts";
import { askWatchdog } from "./child-stack.ts";
import { SupervisorError } from "./errors.ts";
import { EXIT } from "./exit-codes.ts";
import type { BoundListener } from "./listener.ts";
import { WATCH_FD, isFromChild } from "./messages.ts";
import type { Beat, ChildFailure, FromChild, StackReport, ToChild, WatchQuestion } from "./messages.ts";
import { Travelling } from "./travelling.ts";

export type ChildState = "starting" | "ready" | "draining" | "gone";

/** What the group hears from a child. */
export interface ChildOwner {
  onMessage(child: ChildHandle, message: unknown, handle: unknown): void;
  onSpawn(slot: number, generation: number): void;
  onBeat(child: ChildHandle): void;
  onRetire(child: ChildHandle, reason: string): void;
  /** The child lives, but has closed the channel: it hears nothing any more. It is `draining` from here on. */
  onCutOff(child: ChildHandle): void;
  /** Lines of the child's output; undefined: it inherits the master's stdout and stderr. */
  readonly onOutput: ((child: ChildHandle, stream: "stdout" | "stderr", line: string) => void) | undefined;
}

// After its exit a child's last words may still be in the channel; a grandchild cannot hold it open. The other way
// round, the channel of a process that dies closes a moment before its exit is told.
const LAST_WORDS_MS = 500;

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
  readonly #reports: string | undefined;
  #state: ChildState = "starting";
  #dismissed = false;
  #failure: ChildFailure | undefined;
  #note: string | undefined;
  #bound: NodeJS.Timeout | undefined;
  readonly #travelling = new Travelling();
  readonly #process: ChildProcess;
  readonly #owner: ChildOwner;

  constructor(id: number, slot: number, count: number, spec: ChildSpec, owner: ChildOwner) {
    this.id = id;
    this.slot = slot;
    this.generation = spec.generation;
    this.listeners = spec.listeners;
    this.watched = spec.watchdog;
    this.#reports = spec.reports;
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
    this.#watchChannel();
    this.#watchOutput();
    this.#post(initMessage(spec, { id, slot, count }));
  }

  get state(): ChildState {
    return this.#state;
  }

  /** The master told it to leave; its end is no failure. */
  get dismissed(): boolean {
    return this.#dismissed;
  }

  /** The channel to it is open. */
  get connected(): boolean {
    return this.#process.connected;
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
    return this.bound(boundMs, onBound);
  }

  /** Kills the process when it has not left by itself within `boundMs`. */
  bound(boundMs: number, onBound: () => void): Promise<ChildExit> {
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
  stack(question: WatchQuestion = "stack"): Promise<StackReport | undefined> {
    const pipe = this.#process.stdio[WATCH_FD] as Socket | null | undefined;
    if (!this.watched || this.#state === "gone" || !pipe?.writable) return Promise.resolve(undefined);
    return askWatchdog(pipe, question);
  }

  #post(message: ToChild, handle?: SendHandle): boolean {
    if (!this.#process.connected) return false;
    const arrived = this.#travelling.depart(handle);
    // A failed send is a child that ends: `gone` tells.
    this.#process.send(message, handle, undefined, arrived);
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
        this.#travelling.close();
        const facts = { failure: this.#failure, dismissed: this.#dismissed, note: this.#note, reports: this.#reports };
        resolve(endOf({ pid: this.pid, code, signal, ...facts }));
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
      void this.gone.then((exit) => reject(failureOf(exit, "the child ended before it was ready")));
    });
  }

  /** A channel that closes is the first sign of a death; where none follows, the child lives on without it. */
  #watchChannel(): void {
    this.#process.once("disconnect", () => {
      const timer = setTimeout(() => {
        if (this.#state === "gone" || this.#process.exitCode !== null || this.#process.signalCode !== null) return;
        if (this.#dismissed) return; // it is leaving
        if (this.#state === "starting") return this.kill("SIGKILL", "it closed its channel to the master");
        this.#state = "draining";
        this.#owner.onCutOff(this);
      }, LAST_WORDS_MS);
      void this.gone.then(() => clearTimeout(timer));
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
}

/** The child's own error where it could send one. */
export function failureOf(exit: ChildExit, what: string): SupervisorError {
  return new SupervisorError("child_failed", exit.failure?.message ?? `${what}: ${exit.reason}`, {
    cause: exit.failure ?? exit.reason,
    exitCode: exit.failure?.exitCode ?? EXIT.boot,
  });
}
