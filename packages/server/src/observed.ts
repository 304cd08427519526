/** Tells when an exchange has ended, without getting in the way of whoever answers it. */
import type { AbortReason, Exchange, ExchangeObserver, HeaderList } from "@portico/gateway/exchange";

/**
 * Passes every event on to the observer that `answer` assigns, and calls `ended` once after the last.
 * `answer` must assign it before it returns, as the Exchange contract says. Where it throws, the error goes on to
 * whoever owns the exchange, and the end is told when that has ended it.
 */
export function observeEnd(
  exchange: Exchange,
  answer: (exchange: Exchange) => void,
  ended: (reason: AbortReason | undefined) => void,
): void {
  try {
    answer(exchange);
  } finally {
    if (exchange.ended) ended(undefined);
    else exchange.observer = new EndObserver(exchange.observer, ended);
  }
}

class EndObserver implements ExchangeObserver {
  readonly #inner: ExchangeObserver | undefined;
  readonly #ended: (reason: AbortReason | undefined) => void;

  constructor(inner: ExchangeObserver | undefined, ended: (reason: AbortReason | undefined) => void) {
    this.#inner = inner;
    this.#ended = ended;
  }

  onData(chunk: Uint8Array): void {
    this.#inner?.onData(chunk);
  }
  onEnd(trailers: HeaderList): void {
    this.#inner?.onEnd(trailers);
  }
  onDrain(): void {
    this.#inner?.onDrain();
  }
  onFinish(): void {
    try {
      this.#inner?.onFinish();
    } finally {
      this.#ended(undefined);
    }
  }
  onAbort(reason: AbortReason): void {
    try {
      this.#inner?.onAbort(reason);
    } finally {
      this.#ended(reason);
    }
  }
}
