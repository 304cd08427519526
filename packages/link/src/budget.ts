/**
 * By how much the windows of a link may grow together (docs/spec/link.md, 7.2).
 *
 * A stream begins with the window that HELLO promised. One whose body is read gets more, as long as there is
 * some: so a few bodies flow fast, and ten thousand that nobody reads are still bounded. It is no window of the whole
 * link: streams that stall keep what they have, but never what others begin with.
 */
export class GrowthBudget {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** Bytes of the wish that are granted, 0 when nothing is left. */
  take(wish: number): number {
    const granted = Math.min(wish, this.#left);
    this.#left -= granted;
    return granted;
  }

  give(bytes: number): void {
    this.#left += bytes;
  }
}
