/**
 * Streams by id: a hash table that makes no garbage.
 *
 * A `Map` would do, were it not for its rehashing: each table it leaves behind points to its successor and to the
 * streams of its time, so that one old table keeps all later ones alive until the next full collection. With 64
 * streams in flight that was a quarter of the proxy's CPU time (docs/adr/0003-link-encoding.md).
 */

/** Power of two. */
const FIRST_SLOTS = 64;
/** Knuth's multiplicative hash: consecutive ids spread over the table. */
const GOLDEN = 0x9e37_79b1;

export class StreamTable<Stream extends { readonly id: number }> {
  #slots: (Stream | undefined)[] = Array.from({ length: FIRST_SLOTS });
  #mask: number = FIRST_SLOTS - 1;
  #shift: number = 32 - Math.log2(FIRST_SLOTS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): Stream | undefined {
    const slots = this.#slots;
    const mask = this.#mask;
    for (let at = Math.imul(id, GOLDEN) >>> this.#shift; ; at = (at + 1) & mask) {
      const stream = slots[at];
      if (stream === undefined || stream.id === id) return stream;
    }
  }

  /** Adds a stream whose id is not in the table. */
  add(stream: Stream): void {
    if (this.#size * 2 >= this.#slots.length) this.#grow();
    this.#size++;
    this.#put(stream);
  }

  #put(stream: Stream): void {
    const slots = this.#slots;
    let at = Math.imul(stream.id, GOLDEN) >>> this.#shift;
    while (slots[at] !== undefined) at = (at + 1) & this.#mask;
    slots[at] = stream;
  }

  delete(id: number): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let hole = Math.imul(id, GOLDEN) >>> this.#shift;
    for (;;) {
      const stream = slots[hole];
      if (stream === undefined) return;
      if (stream.id === id) break;
      hole = (hole + 1) & mask;
    }
    this.#size--;
    // Moves those behind that probed over the hole into it, so that no tombstone is left.
    for (let at = (hole + 1) & mask; slots[at] !== undefined; at = (at + 1) & mask) {
      const home = Math.imul(slots[at]!.id, GOLDEN) >>> this.#shift;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      slots[hole] = slots[at];
      hole = at;
    }
    slots[hole] = undefined;
  }

  /** The streams at this moment, in the order of their ids. */
  list(): Stream[] {
    return this.#slots.filter((stream) => stream !== undefined).toSorted((a, b) => a.id - b.id);
  }

  clear(): void {
    this.#slots = Array.from({ length: FIRST_SLOTS });
    this.#mask = FIRST_SLOTS - 1;
    this.#shift = 32 - Math.log2(FIRST_SLOTS);
    this.#size = 0;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = Array.from({ length: old.length * 2 });
    this.#mask = this.#slots.length - 1;
    this.#shift--;
    for (const stream of old) if (stream !== undefined) this.#put(stream);
  }
}
