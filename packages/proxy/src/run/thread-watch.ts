/**
 * Finds threads whose event loop stands still. The process's own heartbeat is that of its main thread, which serves
 * nobody; so each serving thread counts up a number of its own in shared memory, and the main thread looks at it.
 */

/** Between two beats of a thread, and between two looks at them. */
export const BEAT_MS = 1_000;
/** As the default timeout of an application's worker; a thread of the proxy has far less to do in one turn. */
const TIMEOUT_MS = 30_000;

/** In a serving thread: from now on it beats. */
export function beat(beats: SharedArrayBuffer, thread: number): void {
  const counts = new Int32Array(beats);
  setInterval(() => Atomics.add(counts, thread, 1), BEAT_MS).unref();
}

export function beatsFor(threads: number): SharedArrayBuffer {
  return new SharedArrayBuffer(threads * Int32Array.BYTES_PER_ELEMENT);
}

export interface ThreadWatchHooks {
  /** Half of the time has passed. Told once for each silence. */
  onSlow(thread: number, silentMs: number): void;
  /** Told once for each thread. */
  onStuck(thread: number, silentMs: number): void;
}

interface Seen {
  count: number;
  /** Monotonic milliseconds of the last change. */
  at: number;
  slow: boolean;
  stuck: boolean;
}

export class ThreadWatch {
  readonly #counts: Int32Array;
  readonly #hooks: ThreadWatchHooks;
  readonly #timeoutMs: number;
  readonly #seen: readonly Seen[];
  #lookedAt: number;

  constructor(beats: SharedArrayBuffer, hooks: ThreadWatchHooks, now: number, timeoutMs: number = TIMEOUT_MS) {
    this.#counts = new Int32Array(beats);
    this.#hooks = hooks;
    this.#timeoutMs = timeoutMs;
    this.#lookedAt = now;
    this.#seen = Array.from(this.#counts, () => ({ count: 0, at: now, slow: false, stuck: false }));
  }

  look(now: number): void {
    // While this thread stood still itself (a suspended machine), the others may have as well.
    const lost = Math.max(0, now - this.#lookedAt - 2 * BEAT_MS);
    this.#lookedAt = now;
    for (const [thread, seen] of this.#seen.entries()) {
      const count = Atomics.load(this.#counts, thread);
      seen.at += lost;
      if (count !== seen.count) Object.assign(seen, { count, at: now, slow: false });
      const silentMs = now - seen.at;
      if (silentMs >= this.#timeoutMs && !seen.stuck) {
        seen.stuck = true;
        this.#hooks.onStuck(thread, silentMs);
      } else if (silentMs >= this.#timeoutMs / 2 && !seen.slow && !seen.stuck) {
        seen.slow = true;
        this.#hooks.onSlow(thread, silentMs);
      }
    }
  }
}
