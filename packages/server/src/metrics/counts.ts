/** What a worker counts, and how counts of several are one. */
import type { OnServed } from "../served-exchange.ts";

/** Upper bounds of the histograms' buckets, milliseconds: Prometheus's own, from an answer out of memory to a hopeless one. */
export const BUCKETS_MS: readonly number[] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

export interface Histogram {
  /** For each bound the values up to it and beyond the one before; the last for those beyond all bounds. */
  readonly buckets: number[];
  sumMs: number;
}

/** Since the worker started. Plain data, for the way to the master. */
export interface Counts {
  /** Status → answers. */
  readonly statuses: Record<string, number>;
  /** Ending that is not `completed` → exchanges. */
  readonly aborted: Record<string, number>;
  readonly duration: Histogram;
  readonly queued: Histogram;
  bytesIn: number;
  bytesOut: number;
}

export function noCounts(): Counts {
  return { statuses: {}, aborted: {}, duration: noHistogram(), queued: noHistogram(), bytesIn: 0, bytesOut: 0 };
}

function noHistogram(): Histogram {
  return { buckets: Array.from({ length: BUCKETS_MS.length + 1 }, () => 0), sumMs: 0 };
}

/** HOT: once per request; additions only. */
export function countInto(counts: Counts): OnServed {
  const { statuses, aborted, duration, queued } = counts;
  return (exchange, ending, durationMs) => {
    statuses[exchange.status] = (statuses[exchange.status] ?? 0) + 1;
    if (ending !== "completed") aborted[ending] = (aborted[ending] ?? 0) + 1;
    observe(duration, durationMs);
    observe(queued, exchange.facts.queuedMs);
    counts.bytesIn += exchange.bytesIn;
    counts.bytesOut += exchange.bytesOut;
  };
}

function observe(histogram: Histogram, ms: number): void {
  let bucket = 0;
  while (bucket < BUCKETS_MS.length && ms > BUCKETS_MS[bucket]!) bucket++;
  histogram.buckets[bucket]!++;
  histogram.sumMs += ms;
}

/** Adds `more` to `sum`. */
export function addCounts(sum: Counts, more: Counts): void {
  for (const [status, count] of Object.entries(more.statuses))
    sum.statuses[status] = (sum.statuses[status] ?? 0) + count;
  for (const [reason, count] of Object.entries(more.aborted)) sum.aborted[reason] = (sum.aborted[reason] ?? 0) + count;
  for (const name of ["duration", "queued"] as const) {
    for (const [index, count] of more[name].buckets.entries()) sum[name].buckets[index]! += count;
    sum[name].sumMs += more[name].sumMs;
  }
  sum.bytesIn += more.bytesIn;
  sum.bytesOut += more.bytesOut;
}
