/** In the worker: when it has done enough. It asks the master for a replacement, and goes on until that is ready. */
import { getHeapStatistics } from "node:v8";
import type { ExchangeHandler } from "@portico/gateway/exchange";
import type { RetirementLimits } from "./messages.ts";

/** How often memory is looked at: a leak takes minutes, and a look some microseconds. */
const LOOK_MS = 1_000;
const MIB = 1_024 ** 2;

export class Retirement {
  readonly #limits: RetirementLimits;
  readonly #retire: (reason: string) => void;
  #requests = 0;

  /** @param retire asks for a replacement; asking again changes nothing until the master has said no */
  constructor(limits: RetirementLimits, retire: (reason: string) => void) {
    this.#limits = limits;
    this.#retire = retire;
  }

  /** Where requests are not counted, the handler itself. */
  watch(handler: ExchangeHandler, random: () => number): ExchangeHandler {
    const { maxRequests, maxRequestsJitter } = this.#limits;
    if (maxRequests === 0) return handler;
    const most = maxRequests + Math.floor(random() * (maxRequestsJitter + 1));
    return (exchange) => {
      if (++this.#requests >= most) this.#retire(`${this.#requests} requests`);
      handler(exchange);
    };
  }

  /** From now on age and memory are looked at. */
  begin(): void {
    const { maxLifetimeMs, maxRss, maxHeap } = this.#limits;
    if (maxLifetimeMs === 0 && maxRss === 0 && maxHeap === 0) return;
    const end = performance.now() + maxLifetimeMs;
    // Again and again: where no replacement came up, it asks once more.
    setInterval(
      () => {
        const reason = this.#reason(performance.now() >= end);
        if (reason !== undefined) this.#retire(reason);
      },
      maxLifetimeMs === 0 ? LOOK_MS : Math.min(LOOK_MS, maxLifetimeMs),
    ).unref();
  }

  #reason(old: boolean): string | undefined {
    const { maxLifetimeMs, maxRss, maxHeap } = this.#limits;
    if (maxLifetimeMs > 0 && old) return `${maxLifetimeMs / 1_000} s old`;
    const rss = maxRss > 0 ? process.memoryUsage.rss() : 0;
    if (rss > maxRss) return `${mebibytes(rss)} resident, more than ${mebibytes(maxRss)}`;
    const heap = maxHeap > 0 ? getHeapStatistics().used_heap_size : 0;
    return heap > maxHeap ? `heap of ${mebibytes(heap)}, more than ${mebibytes(maxHeap)}` : undefined;
  }
}

const mebibytes = (bytes: number): string => `${Math.round(bytes / MIB)} MiB`;
