/** A proxy thread as its process sees it. The thread's own side is `serving-thread.ts`. */
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { ResolvedConfig } from "../config/schema.ts";
import { PorticoProxyError } from "../errors.ts";
import type { LogName } from "../log/batch.ts";
import type { FromThread, ThreadInit, ThreadListener, ToThread } from "./messages.ts";

export interface ThreadOwner {
  onLog(log: LogName, lines: string): void;
  /** The thread ended although nobody told it to: by a defect of ours. */
  onLost(reason: string): void;
}

export class ThreadHandle {
  readonly #worker: Worker;
  readonly #owner: ThreadOwner;
  readonly #expected = new Map<FromThread["type"], (message: FromThread) => void>();
  #rejectStart: (error: unknown) => void = () => {};
  #leaving = false;
  #lostBy: string | undefined;
  /** Settles whatever is waited for when there is nobody any more who could answer. */
  readonly #gone = Promise.withResolvers<undefined>();
  /** Resolves when the thread accepts; rejects when it could not. */
  readonly ready: Promise<void>;

  constructor(init: ThreadInit, owner: ThreadOwner) {
    this.#owner = owner;
    this.#worker = new Worker(fileURLToPath(import.meta.resolve("@portico/proxy/thread")), {
      workerData: init,
      name: `proxy ${init.thread}`,
    });
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.#rejectStart = reject;
    this.ready = Promise.race([this.#expect("ready").then(() => {}), promise]);
    this.ready.catch(() => {});
    this.#worker.on("message", (message: FromThread) => this.#receive(message));
    this.#worker.on("error", (error: unknown) =>
      this.#lost(error instanceof Error ? (error.stack ?? error.message) : String(error)),
    );
    this.#worker.on("exit", (code) => {
      this.#lost(`exit code ${code}`);
      this.#gone.resolve(undefined);
    });
  }

  /** It ended although nobody told it to: it takes no orders any more, and what is asked of it counts as done. */
  get lost(): boolean {
    return this.#lostBy !== undefined;
  }

  /** Ends it, wherever it is. */
  terminate(reason: string): void {
    this.#lost(reason);
    void this.#worker.terminate();
  }

  #expect<Type extends FromThread["type"]>(type: Type): Promise<Extract<FromThread, { type: Type }>> {
    const { promise, resolve } = Promise.withResolvers<Extract<FromThread, { type: Type }>>();
    this.#expected.set(type, (message) => resolve(message as Extract<FromThread, { type: Type }>));
    return promise;
  }

  #receive(message: FromThread): void {
    if (message.type === "log") {
      this.#owner.onLog(message.log, message.lines);
      return;
    }
    if (message.type === "failed") {
      const code = message.code === "EADDRINUSE" ? "listen-failed" : "start-failed";
      this.#rejectStart(new PorticoProxyError(code, message.error));
      return;
    }
    const settle = this.#expected.get(message.type);
    this.#expected.delete(message.type);
    settle?.(message);
  }

  #lost(reason: string): void {
    this.#rejectStart(new PorticoProxyError("start-failed", `a proxy thread did not start: ${reason}`));
    if (this.#leaving) return;
    this.#leaving = true;
    this.#lostBy = reason;
    this.#owner.onLost(reason);
  }

  #post(message: ToThread): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#worker.postMessage(message);
  }

  /** Undefined: the thread is gone. */
  #ask<Type extends FromThread["type"]>(
    question: ToThread,
    type: Type,
  ): Promise<Extract<FromThread, { type: Type }> | undefined> {
    if (this.lost) return Promise.resolve(undefined);
    const answer = this.#expect(type);
    this.#post(question);
    return Promise.race([answer, this.#gone.promise]);
  }

  /** Compiles a configuration without putting it in force. Resolves to the reason why it cannot be, or undefined. */
  async prepare(config: ResolvedConfig, listeners: readonly ThreadListener[]): Promise<string | undefined> {
    return (await this.#ask({ type: "prepare", config, listeners }, "prepared"))?.error;
  }

  /** Puts the prepared configuration in force. */
  async commit(): Promise<void> {
    await this.#ask({ type: "commit" }, "committed");
  }

  /** Requests received so far. */
  async count(): Promise<number> {
    return (await this.#ask({ type: "count" }, "counted"))?.requests ?? 0;
  }

  discard(): void {
    this.#post({ type: "discard" });
  }

  /** Stops accepting at once; resolves when nothing is under way, at the latest after `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    this.#leaving = true;
    await this.#ask({ type: "drain", graceMs }, "drained");
  }
}
