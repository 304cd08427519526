/** The proxy process: starts its threads, passes configurations on to them, writes their logs. */
import type { ChildContext, ChildRuntime, InheritedListener } from "@portico/supervisor/child";
import type { ResolvedConfig } from "../config/schema.ts";
import { createErrorLog } from "../log/error-log.ts";
import { LogSinks } from "../log/sinks.ts";
import type { FromProcess, ProcessInit, ToProcess } from "./messages.ts";
import { ThreadHandle } from "./thread-handle.ts";

export class ProxyProcess implements ChildRuntime<ProcessInit> {
  #sinks: LogSinks | undefined;
  #threads: ThreadHandle[] = [];
  #context: ChildContext | undefined;
  #config: ResolvedConfig | undefined;
  /** Reloads one after the other. */
  #turn: Promise<void> = Promise.resolve();

  async start(init: ProcessInit, context: ChildContext): Promise<void> {
    this.#context = context;
    this.#config = init.config;
    this.#sinks = new LogSinks(init.config.log);
    const connections = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
    this.#threads = Array.from({ length: init.threads }, (_, thread) => {
      const listeners = context.listeners.map((listener: InheritedListener) => ({
        fd: listener.fds[thread]!,
        url: listener.url,
        backlog: listener.backlog,
      }));
      const { config, threads, tempDirectory } = init;
      return new ThreadHandle(
        { config, thread, threads, tempDirectory, listeners, connections },
        { onLog: (log, lines) => this.#sinks?.write(log, lines), onLost: (reason) => this.#lost(thread, reason) },
      );
    });
    await Promise.all(this.#threads.map((thread) => thread.ready));
  }

  /** The others would go on, but one thread's share of the sockets is gone: the master's replacement is whole. */
  #lost(thread: number, reason: string): void {
    const log = createErrorLog(this.#config!.log, { thread }, (line) => this.#sinks?.write("error", line));
    log.error({ reason }, "a proxy thread ended unexpectedly; the process is replaced");
    void this.#sinks?.flush().finally(() => process.exit(1));
  }

  onMessage(message: unknown): void {
    const order = message as ToProcess;
    if (order.type === "reopen") this.#sinks?.reopen();
    else this.#turn = this.#turn.then(() => this.#reload(order.turn, order.config));
  }

  async #reload(turn: number, config: ResolvedConfig): Promise<void> {
    const failures = await Promise.all(this.#threads.map((thread) => thread.prepare(config)));
    const error = failures.find((failure) => failure !== undefined);
    if (error === undefined) {
      this.#sinks?.configure(config.log);
      await Promise.all(this.#threads.map((thread) => thread.commit()));
      this.#config = config;
    } else {
      for (const thread of this.#threads) thread.discard();
    }
    const answer: FromProcess = { type: "reloaded", turn, error };
    this.#context?.send(answer);
  }

  async drain(mode: "graceful" | "quick"): Promise<void> {
    const graceMs = mode === "graceful" ? (this.#config?.timeouts.graceful ?? 0) : 0;
    await Promise.all(this.#threads.map((thread) => thread.drain(graceMs)));
    await this.#sinks?.flush();
  }
}
