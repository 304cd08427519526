/** How long to wait before a child that failed is started again. */
export interface BackoffOptions {
  /** Wait after the second failure in a row, milliseconds; the first is answered at once. */
  readonly initialMs: number;
  readonly maxMs: number;
  /** Part of the wait that is random, 0 to 1, so that many machines do not restart in step. */
  readonly jitter: number;
  /** A child that was ready this long has recovered: its next failure counts as the first. Milliseconds. */
  readonly resetAfterMs: number;
  /** Failures in a row that are called a crash loop; reported again every so many. */
  readonly loopAfter: number;
}

export const DEFAULT_BACKOFF: BackoffOptions = {
  initialMs: 250, // slower than a spin, faster than a person
  maxMs: 30_000, // a loop of crashes costs little, a repaired dependency is found within half a minute
  jitter: 0.5,
  resetAfterMs: 10_000,
  loopAfter: 5,
};

/** Milliseconds before the start that follows the given number of failures in a row; doubled each time, at most `maxMs`. */
export function backoffDelay(failures: number, options: BackoffOptions, random: () => number): number {
  if (failures <= 1) return 0;
  const full = Math.min(options.maxMs, options.initialMs * 2 ** Math.min(failures - 2, 30));
  return Math.round(full * (1 - options.jitter * random()));
}
