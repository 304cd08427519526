/**
 * How many further attempts an upstream allows: a part of its requests, so that retries cannot double the load of
 * servers that fail because of their load.
 */

/** Always in hand at the start: a small upstream that loses a server loses no request by the budget. */
const RESERVE = 100;
/** Saved at most: what some seconds of heavy traffic bring. */
const MOST = 10_000;

export class RetryBudget {
  #saved = RESERVE;
  #each: number;

  /** `percent` of the requests may be further attempts. */
  constructor(percent: number) {
    this.#each = percent / 100;
  }

  set percent(percent: number) {
    this.#each = percent / 100;
  }

  /** A request has come. HOT. */
  earn(): void {
    if (this.#saved < MOST) this.#saved += this.#each;
  }

  /** False: there must be no further attempt. */
  spend(): boolean {
    if (this.#each === 0 || this.#saved < 1) return false;
    this.#saved--;
    return true;
  }
}
