/** The proxy process: starts its threads, passes configurations and sockets on to them, writes their logs. */
import { type ChildContext, type ChildRuntime, descriptorOf } from "@portico/supervisor/child";
import type { ResolvedConfig } from "../config/schema.ts";
import type { ProxyLog } from "../deps.ts";
import { createErrorLog } from "../log/error-log.ts";
import { LogSinks } from "../log/sinks.ts";
import { ZONE_BYTES } from "../upstream/zone.ts";
import type { FromProcess, ProcessInit, SocketOrder, ThreadListener, ToProcess } from "./messages.ts";
import { ThreadHandle } from "./thread-handle.ts";
import { BEAT_MS, beatsFor, ThreadWatch } from "./thread-watch.ts";

const LOST_THREAD = "a thread was lost";

export class ProxyProcess implements ChildRuntime<ProcessInit> {
  #sinks: LogSinks | undefined;
  #threads: ThreadHandle[] = [];
  #context: ChildContext | undefined;
  #config: ResolvedConfig | undefined;
  #started = false;
  #connections = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  /** Descriptors that came for a reload, by its turn and the socket's key. */
  readonly #arrived = new Map<string, number[]>();
  /** Reloads one after the other. */
  #turn: Promise<void> = Promise.resolve();

  async start(init: ProcessInit, context: ChildContext): Promise<void> {
    this.#context = context;
    this.#config = init.config;
    this.#sinks = new LogSinks(init.config.log);
    const { config, threads, tempDirectory } = init;
    const connections = this.#connections.buffer;
    const zone = new SharedArrayBuffer(ZONE_BYTES);
    const beats = beatsFor(threads);
    this.#threads = Array.from({ length: threads }, (_, thread) => {
      const listeners = init.sockets.map((socket, place) => ({
        ...socket,
        fd: context.listeners[place]!.fds[thread]!,
      }));
      return new ThreadHandle(
        { config, thread, threads, tempDirectory, listeners, connections, zone, beats },
        { onLog: (log, lines) => this.#sinks?.write(log, lines), onLost: (reason) => this.#lost(thread, reason) },
      );
    });
    await Promise.all(this.#threads.map((thread) => thread.ready));
    this.#started = true;
    this.#watch(beats);
  }

  /** Threads that stand still are ended; and as long as one is missing, the master is asked for a whole process. */
  #watch(beats: SharedArrayBuffer): void {
    const watch = new ThreadWatch(
      beats,
      {
        onSlow: (thread, silentMs) =>
          this.#logOf(thread).warn({ silentMs }, "a proxy thread has not answered for half of its time"),
        onStuck: (thread, silentMs) =>
          this.#threads[thread]?.terminate(`its event loop stood still for ${Math.round(silentMs)} ms`),
      },
      performance.now(),
    );
    setInterval(() => {
      watch.look(performance.now());
      if (this.#threads.some(({ lost }) => lost)) this.#context?.retire(LOST_THREAD);
    }, BEAT_MS).unref();
  }

  /** The others go on, on sockets of their own, until the replacement that the master starts is ready. */
  #lost(thread: number, reason: string): void {
    this.#logOf(thread).error({ reason }, "a proxy thread ended unexpectedly; the process is replaced");
    if (this.#threads.every(({ lost }) => lost)) void this.#sinks?.flush().finally(() => process.exit(1));
    else if (this.#started) this.#context?.retire(LOST_THREAD); // else the start fails, and says why
  }

  #logOf(thread: number): ProxyLog {
    return createErrorLog(this.#config!.log, { thread }, (line) => this.#sinks?.write("error", line));
  }

  onMessage(message: unknown, handle: unknown): void {
    const order = message as ToProcess;
    switch (order.type) {
      case "socket":
        return this.#takeSocket(`${order.turn} ${order.key}`, handle);
      case "reload":
        this.#turn = this.#turn.then(() => this.#reload(order.turn, order.config, order.sockets));
        return;
      case "status":
        this.#turn = this.#turn.then(() => this.#tell(order.turn));
        return;
      case "reopen":
        this.#sinks?.reopen();
    }
  }

  #takeSocket(key: string, handle: unknown): void {
    const fd = descriptorOf(handle);
    if (fd === undefined) return;
    const fds = this.#arrived.get(key);
    if (fds === undefined) this.#arrived.set(key, [fd]);
    else fds.push(fd);
  }

  async #reload(turn: number, config: ResolvedConfig, sockets: readonly SocketOrder[]): Promise<void> {
    const fds = sockets.map(({ key }) => this.#arrived.get(`${turn} ${key}`));
    this.#arrived.clear();
    const listenersOf = (thread: number): ThreadListener[] =>
      sockets.map((socket, place) => ({ ...socket, fd: fds[place]?.[thread] }));
    const failures = await Promise.all(
      this.#threads.map((thread, index) => thread.prepare(config, listenersOf(index))),
    );
    const error = failures.find((failure) => failure !== undefined);
    if (error === undefined) {
      this.#sinks?.configure(config.log);
      await Promise.all(this.#threads.map((thread) => thread.commit()));
      this.#config = config;
    } else {
      for (const thread of this.#threads) thread.discard();
    }
    this.#send({ type: "reloaded", turn, error });
  }

  async #tell(turn: number): Promise<void> {
    const requests = await Promise.all(this.#threads.map((thread) => thread.count()));
    const status = {
      connections: Atomics.load(this.#connections, 0),
      requests: requests.reduce((sum, count) => sum + count, 0),
      memory: process.memoryUsage.rss(),
    };
    this.#send({ type: "status", turn, status });
  }

  #send(answer: FromProcess): void {
    this.#context?.send(answer);
  }

  async drain(mode: "graceful" | "quick"): Promise<void> {
    const graceMs = mode === "graceful" ? (this.#config?.timeouts.graceful ?? 0) : 0;
    await Promise.all(this.#threads.map((thread) => thread.drain(graceMs)));
    await this.#sinks?.flush();
  }
}
