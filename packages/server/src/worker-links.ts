/** A worker's ends of the link: sockets that the master passed on, each with its session. */
import type { Socket } from "node:net";
import type { monitorEventLoopDelay } from "node:perf_hooks";
import type { Logger } from "@portico/gateway";
import type { ExchangeHandler } from "@portico/gateway/exchange";
import type { ServerSession } from "@portico/link";
import { acceptLink, drainLink } from "@portico/link/socket";
import type { ChildContext } from "@portico/supervisor/child";
import type { ToWorker, WorkerInit } from "./messages.ts";

/** How often the front is told how this worker is, milliseconds: a blocked worker is passed over within the second. */
const STATUS_MS = 1_000;
/** Announced where concurrency is not limited: more than any event loop serves, and a bound all the same. */
const UNLIMITED_CONCURRENCY = 10_000;
const NANOSECONDS_PER_MS = 1e6;
/** Period of the event-loop delay's own timer. Coarse: it wakes the loop, and what matters are stalls of many of these. */
const DELAY_RESOLUTION_MS = 50;

/** Two workers are one user's processes under one master, which has passed the connection on: there is nothing to prove. */
const OF_SIBLING = { secret: false, unixPath: undefined } as const;

/** What links ask of their worker. */
export interface LinkSurroundings {
  readonly inFlight: () => number;
  /** One link has ended. */
  readonly onClosed: () => void;
  readonly log: Logger;
}

export class WorkerLinks {
  readonly #handler: ExchangeHandler;
  readonly #init: WorkerInit;
  readonly #context: ChildContext;
  readonly #around: LinkSurroundings;
  readonly #links = new Map<ServerSession, Socket>();
  #clock: NodeJS.Timeout | undefined;
  #delay: ReturnType<typeof monitorEventLoopDelay> | undefined;
  #draining = false;

  constructor(handler: ExchangeHandler, init: WorkerInit, context: ChildContext, around: LinkSurroundings) {
    this.#handler = handler;
    this.#init = init;
    this.#context = context;
    this.#around = around;
  }

  /** A link that the master passed on: a front's, which the master counts, or a sibling's. */
  add(socket: Socket, message: Extract<ToWorker, { kind: "link" | "sibling" }>): void {
    const tellClosed = (): void => {
      if (message.kind === "link") this.#around.onClosed();
    };
    if (this.#draining) {
      // Passed on while we were told to leave: the front dials again.
      socket.destroy();
      tellClosed();
      return;
    }
    const { linkSecret, concurrency } = this.#init;
    const { secret, unixPath } = message.kind === "link" ? message : OF_SIBLING;
    const session = acceptLink(socket, this.#handler, {
      worker: {
        id: this.#context.slot,
        generation: this.#context.generation,
        count: this.#context.count,
        concurrency: concurrency === 0 ? UNLIMITED_CONCURRENCY : concurrency,
      },
      ...(secret && linkSecret !== undefined && { secret: linkSecret }),
      ...(unixPath !== undefined && { peer: { address: unixPath, port: 0 }, local: { address: unixPath, port: 0 } }),
      onClosed: (error) => {
        this.#links.delete(session);
        if (this.#links.size === 0) this.#stopClock();
        if (error !== undefined && error.code !== "lost")
          this.#around.log.warn({ err: error }, `link closed: ${error.message}`);
        tellClosed();
      },
      onError: (error) => this.#around.log.error({ err: error }, "a request over the link failed"),
    });
    this.#links.set(session, socket);
    this.#startClock();
  }

  /** No new streams; resolves when every link is closed, those under way cut off after `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    await Promise.all([...this.#links.keys()].map((session) => drainLink(session, graceMs)));
  }

  /** Ends every link now. */
  destroy(): void {
    this.#draining = true;
    for (const socket of this.#links.values()) socket.destroy();
  }

  #startClock(): void {
    if (this.#clock !== undefined) return;
    // Made with the first link: a worker without any has no use for it, and it takes a part of Node to load.
    this.#delay ??= process
      .getBuiltinModule("node:perf_hooks")
      .monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
    this.#delay.enable();
    this.#clock = setInterval(() => this.#report(), STATUS_MS);
    this.#clock.unref();
  }

  #stopClock(): void {
    clearInterval(this.#clock);
    this.#clock = undefined;
    this.#delay?.disable();
  }

  #report(): void {
    const delay = this.#delay!;
    // The histogram measures a timer's period, its resolution included; an idle loop is late by nothing.
    const late = Number.isNaN(delay.mean) ? 0 : Math.max(0, delay.mean / NANOSECONDS_PER_MS - DELAY_RESOLUTION_MS);
    delay.reset();
    const inFlight = this.#around.inFlight();
    for (const session of this.#links.keys()) {
      session.reportStatus(inFlight, late, this.#context.count);
      session.flush();
    }
  }
}
