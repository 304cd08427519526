/** In the worker: who wants to know of every request's end (the access log, the metrics) is told by one wrapper for all. */
import type { Exchange, ExchangeHandler } from "@portico/gateway/exchange";
import { type Ending, WatchedExchange } from "@portico/gateway/watched-exchange";

/** Told once for each exchange, when it has ended. HOT; must not throw. */
export type OnServed = (exchange: WatchedExchange, ending: Ending, durationMs: number) => void;

class ServedExchange extends WatchedExchange {
  readonly #watchers: readonly OnServed[];

  constructor(inner: Exchange, watchers: readonly OnServed[]) {
    super(inner);
    this.#watchers = watchers;
  }

  protected over(ending: Ending, durationMs: number): void {
    for (const watcher of this.#watchers) watcher(this, ending, durationMs);
  }
}

/** The handler itself where nobody watches. */
export function watchServed(handler: ExchangeHandler, watchers: readonly OnServed[]): ExchangeHandler {
  return watchers.length === 0 ? handler : (exchange) => new ServedExchange(exchange, watchers).answer(handler);
}
