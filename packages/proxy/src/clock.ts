/**
 * The time, as precise as caches and logs of a thread need it, for the price of reading a field.
 *
 * One timer for the thread, not referenced: it keeps nothing alive.
 */

// Finer than everything that is measured by it, coarse enough to cost nothing.
const STEP_MS = 100;

class CoarseClock {
  /** Milliseconds since the epoch, up to {@link STEP_MS} behind (more while the event loop is blocked). */
  now: number = Date.now();

  constructor() {
    setInterval(() => {
      this.now = Date.now();
    }, STEP_MS).unref();
  }
}

export const coarseClock: CoarseClock = new CoarseClock();
