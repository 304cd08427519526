/**
 * Counts that all threads of a proxy share: requests under way to a server that takes no more than so many.
 *
 * One piece of shared memory is a hash table: 64 bits of the key's hash, claimed once by compare-and-exchange, beside
 * a count. A slot is never given back: there are as many as a proxy can have limited servers in its life. Where they
 * are all taken, a count is the thread's own.
 */
import { createHash } from "node:crypto";

/** A power of two. */
const SLOTS = 4096;
const KEY_BYTES = BigInt64Array.BYTES_PER_ELEMENT;

export const ZONE_BYTES: number = SLOTS * (KEY_BYTES + Int32Array.BYTES_PER_ELEMENT);

/** A count of requests under way. */
export interface Count {
  readonly value: number;
  add(): void;
  subtract(): void;
  /** Calls back once when another thread has taken one off; at most one call is waited for at a time. */
  onLess(callback: () => void): void;
}

class OwnCount implements Count {
  value = 0;
  add(): void {
    this.value++;
  }
  subtract(): void {
    this.value--;
  }
  onLess(): void {
    // No other thread has it.
  }
}

class SharedCount implements Count {
  readonly #counts: Int32Array;
  readonly #slot: number;
  #waiting = false;

  constructor(counts: Int32Array, slot: number) {
    this.#counts = counts;
    this.#slot = slot;
  }

  get value(): number {
    return Atomics.load(this.#counts, this.#slot);
  }

  add(): void {
    Atomics.add(this.#counts, this.#slot, 1);
  }

  subtract(): void {
    Atomics.sub(this.#counts, this.#slot, 1);
    Atomics.notify(this.#counts, this.#slot);
  }

  onLess(callback: () => void): void {
    if (this.#waiting) return;
    const wait = Atomics.waitAsync(this.#counts, this.#slot, this.value);
    if (!wait.async) {
      queueMicrotask(callback);
      return;
    }
    this.#waiting = true;
    void this.#callBack(wait.value, callback);
  }

  async #callBack(changed: Promise<unknown>, callback: () => void): Promise<void> {
    await changed;
    this.#waiting = false;
    callback();
  }
}

export class Zone {
  readonly #keys: BigInt64Array | undefined;
  readonly #counts: Int32Array | undefined;
  readonly #known = new Map<string, Count>();

  /** Without memory every count is the thread's own. */
  constructor(memory?: SharedArrayBuffer) {
    if (memory === undefined) return;
    this.#keys = new BigInt64Array(memory, 0, SLOTS);
    this.#counts = new Int32Array(memory, SLOTS * KEY_BYTES, SLOTS);
  }

  /** The same for the same key, in every thread. */
  count(key: string): Count {
    let count = this.#known.get(key);
    if (count === undefined) {
      const slot = this.#claim(key);
      count = slot === undefined ? new OwnCount() : new SharedCount(this.#counts!, slot);
      this.#known.set(key, count);
    }
    return count;
  }

  #claim(key: string): number | undefined {
    const keys = this.#keys;
    if (keys === undefined) return undefined;
    // 0 is a free slot.
    const hash = createHash("sha256").update(key).digest().readBigInt64LE() || 1n;
    const first = Number(BigInt.asUintN(32, hash)) % SLOTS;
    for (let step = 0; step < SLOTS; step++) {
      const slot = (first + step) % SLOTS;
      const before = Atomics.compareExchange(keys, slot, 0n, hash);
      if (before === 0n || before === hash) return slot;
    }
    return undefined;
  }
}
