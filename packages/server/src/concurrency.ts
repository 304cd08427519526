/**
 * Holds a worker to its number of requests at a time. What comes beyond it waits here, in order and bounded; beyond
 * that the answer is 503 at once. A front on a link knows the number and queues by itself, so its requests wait here
 * only where several fronts, or threads of one, share the worker.
 *
 * The gate waits rather than stop accepting, because on a kept-alive connection the request is already here.
 */
import type { AbortReason, Exchange, ExchangeHandler, ExchangeObserver } from "@portico/gateway/exchange";
import { observeEnd } from "./observed.ts";

/** Seconds that a refused client is asked to wait. Short: a queue of this size is worked off in about that time. */
const RETRY_AFTER_SECONDS = "1";

export class ConcurrencyGate {
  readonly #application: ExchangeHandler;
  readonly #most: number;
  readonly #queueLength: number;
  readonly #waiting: Waiting[] = [];
  #running = 0;
  /** Turns are being given; what ends at once within its turn does not give the next one itself, however many wait. */
  #giving = false;

  /** @param most requests at a time, from 1 */
  constructor(application: ExchangeHandler, most: number, queueLength: number) {
    this.#application = application;
    this.#most = most;
    this.#queueLength = queueLength;
  }

  /** Runs, queues or refuses. */
  readonly handler: ExchangeHandler = (exchange) => {
    if (this.#running < this.#most) {
      this.#run(exchange);
    } else if (this.#waiting.length < this.#queueLength) {
      const waiting = new Waiting(exchange, this.#forget);
      exchange.observer = waiting;
      this.#waiting.push(waiting);
    } else {
      refuse(exchange);
    }
  };

  /** Requests that wait for a turn. */
  get waiting(): number {
    return this.#waiting.length;
  }

  #run(exchange: Exchange): void {
    this.#running++;
    observeEnd(exchange, this.#application, this.#release);
  }

  readonly #release = (): void => {
    this.#running--;
    if (this.#giving) return;
    this.#giving = true;
    try {
      while (this.#running < this.#most) {
        const next = this.#waiting.shift();
        if (next === undefined) return;
        const { exchange } = next;
        if (exchange.ended) continue;
        exchange.observer = undefined;
        const now = Date.now();
        // The application reads it as `ctx.time.queued`; what the front counted is part of it.
        (exchange.facts as { queuedMs: number }).queuedMs += now - next.since;
        // Whoever asked has given up: to work on it would only keep others waiting.
        if ((exchange.facts.deadline ?? Infinity) <= now) refuse(exchange);
        else this.#run(exchange);
      }
    } finally {
      this.#giving = false;
    }
  };

  /** Its client left: the place is free for another. */
  readonly #forget = (waiting: Waiting): void => {
    const index = this.#waiting.indexOf(waiting);
    if (index !== -1) this.#waiting.splice(index, 1);
  };
}

function refuse(exchange: Exchange): void {
  exchange.respond(
    503,
    ["Retry-After", RETRY_AFTER_SECONDS, "Content-Type", "text/plain; charset=utf-8"],
    "Service Unavailable\n",
  );
}

/** Stands in for the application's observer until it is the request's turn. */
class Waiting implements ExchangeObserver {
  readonly exchange: Exchange;
  /** When it came, milliseconds since the epoch. */
  readonly since: number = Date.now();
  readonly #left: (waiting: Waiting) => void;

  constructor(exchange: Exchange, left: (waiting: Waiting) => void) {
    this.exchange = exchange;
    this.#left = left;
  }

  // The body is paused until the application resumes it, so nothing but the end can come.
  onData(): void {}
  onEnd(): void {}
  onDrain(): void {}
  onFinish(): void {}
  onAbort(_reason: AbortReason): void {
    this.#left(this);
  }
}
