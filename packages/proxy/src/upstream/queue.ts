/** Requests that wait for a server, first come first served. An intrusive list: entering and leaving allocate nothing. */

/** Someone who waits. The three fields belong to the queue; start them as null, null, false. */
export interface Waiter {
  waitNext: Waiter | null;
  waitPrevious: Waiter | null;
  waiting: boolean;
}

export class WaitQueue<T extends Waiter> {
  readonly capacity: number;
  #first: T | null = null;
  #last: T | null = null;
  #length = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get length(): number {
    return this.#length;
  }

  get first(): T | null {
    return this.#first;
  }

  /** False: the queue is full. */
  push(waiter: T): boolean {
    if (this.#length >= this.capacity) return false;
    waiter.waiting = true;
    waiter.waitNext = null;
    waiter.waitPrevious = this.#last;
    if (this.#last === null) this.#first = waiter;
    else this.#last.waitNext = waiter;
    this.#last = waiter;
    this.#length++;
    return true;
  }

  /** Takes one out, wherever it stands; nothing where it does not wait. */
  remove(waiter: T): void {
    if (!waiter.waiting) return;
    const next = waiter.waitNext as T | null;
    const previous = waiter.waitPrevious as T | null;
    if (previous === null) this.#first = next;
    else previous.waitNext = next;
    if (next === null) this.#last = previous;
    else next.waitPrevious = previous;
    waiter.waiting = false;
    waiter.waitNext = null;
    waiter.waitPrevious = null;
    this.#length--;
  }
}
