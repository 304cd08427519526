/**
 * Which requests are being worked on, for the moment when somebody must be told: an uncaught exception, a hang.
 * Costs a push per request; ended ones are swept out when the list has doubled, so memory follows the number in flight.
 */
import type { Exchange, ExchangeHandler } from "@portico/gateway/exchange";

/** Below this length the list is not worth sweeping. */
const FIRST_SWEEP = 256;

/** One request as a log line names it. */
export interface RequestUnderWay {
  readonly id: string;
  readonly method: string;
  readonly target: string;
  /** Milliseconds since it was received. */
  readonly age: number;
}

export class UnderWay {
  #exchanges: Exchange[] = [];
  #sweepAt = FIRST_SWEEP;
  #begun = 0;

  /** Hot path: once per request. Nothing here may allocate beyond the list itself. */
  watch(handler: ExchangeHandler): ExchangeHandler {
    return (exchange) => {
      if (this.#exchanges.length >= this.#sweepAt) this.#sweep();
      this.#begun++;
      this.#exchanges.push(exchange);
      handler(exchange);
    };
  }

  /** Oldest first, at most `most` of them. */
  list(now: number, most: number): RequestUnderWay[] {
    this.#sweep();
    return this.#exchanges.slice(0, most).map(({ head, facts }) => ({
      id: facts.id,
      method: head.method,
      target: head.target,
      age: now - facts.receivedAt,
    }));
  }

  /** Requests so far. */
  get begun(): number {
    return this.#begun;
  }

  get size(): number {
    this.#sweep();
    return this.#exchanges.length;
  }

  #sweep(): void {
    this.#exchanges = this.#exchanges.filter((exchange) => !exchange.ended);
    this.#sweepAt = Math.max(FIRST_SWEEP, this.#exchanges.length * 2);
  }
}
