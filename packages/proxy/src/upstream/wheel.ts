/**
 * The one clock of a thread: a hashed timing wheel for everything that may take too long.
 *
 * Arming and moving a deadline is a few assignments, so that every request and every read can do it; it fires up to
 * two {@link TICK_MS} late, never early. The timer behind it runs only while something is armed.
 */

/** Granularity, milliseconds: far below every timeout of ours, few wake-ups. */
export const TICK_MS = 50;
/** Slots of the wheel: one turn is 25.6 s. A later deadline goes round again. A power of two. */
const SLOTS = 512;

/** Something that may time out. The fields belong to the wheel; start them as below. */
export interface WheelEntry {
  /** Monotonic milliseconds; 0: not armed. */
  dueAt: number;
  /** 0 and null at first. */
  wheelSlot: number;
  wheelNext: WheelEntry | null;
  wheelPrevious: WheelEntry | null;
  onDeadline(): void;
}

/** Where time comes from; replaced in tests. */
export interface Clock {
  /** Monotonic milliseconds. */
  now(): number;
  every(ms: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  every(ms, callback) {
    const timer = setInterval(callback, ms);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/** Slot number + 1 of an entry is kept in `wheelSlot`; 0 says that it is in none. */
export class Wheel {
  readonly clock: Clock;
  readonly #slots: (WheelEntry | null)[] = Array.from({ length: SLOTS }, () => null);
  #armed = 0;
  #turned = 0;
  #stop: (() => void) | undefined;

  constructor(clock: Clock = systemClock) {
    this.clock = clock;
  }

  get armed(): number {
    return this.#armed;
  }

  now(): number {
    return this.clock.now();
  }

  /** Calls `entry.onDeadline` once, at `deadline` or up to two ticks later. An armed entry is moved. HOT. */
  arm(entry: WheelEntry, deadline: number): void {
    const before = entry.dueAt;
    entry.dueAt = deadline;
    // A later deadline is noticed when the old slot comes up: moving it costs nothing now.
    if (entry.wheelSlot !== 0) {
      if (deadline >= before) return;
      this.#unlink(entry);
    }
    if (this.#armed === 0) this.#start();
    this.#link(entry);
  }

  /** HOT. */
  disarm(entry: WheelEntry): void {
    entry.dueAt = 0;
    if (entry.wheelSlot !== 0) this.#unlink(entry);
  }

  /** Fires what is due; called by the clock. */
  tick(): void {
    const now = this.clock.now();
    const turn = Math.floor(now / TICK_MS);
    // After a long pause one full turn visits every slot.
    const first = Math.max(this.#turned + 1, turn - SLOTS + 1);
    this.#turned = turn;
    for (let at = first; at <= turn; at++) this.#visit(at & (SLOTS - 1), now);
    if (this.#armed === 0) {
      this.#stop?.();
      this.#stop = undefined;
    }
  }

  #visit(slot: number, now: number): void {
    let entry = this.#slots[slot] ?? null;
    if (entry === null) return;
    // The chain is taken off first: what fires may arm and disarm others, in this slot too.
    const due: WheelEntry[] = [];
    for (; entry !== null; entry = entry.wheelNext) due.push(entry);
    for (const candidate of due) {
      if (candidate.wheelSlot !== slot + 1) continue;
      if (candidate.dueAt > now) {
        this.#unlink(candidate);
        this.#link(candidate);
        continue;
      }
      this.#unlink(candidate);
      candidate.dueAt = 0;
      candidate.onDeadline();
    }
  }

  #start(): void {
    if (this.#stop !== undefined) return;
    this.#turned = Math.floor(this.clock.now() / TICK_MS);
    this.#stop = this.clock.every(TICK_MS, () => this.tick());
  }

  #link(entry: WheelEntry): void {
    // The slot after the deadline's, so that it is never early.
    const at = Math.max(Math.floor(entry.dueAt / TICK_MS), this.#turned) + 1;
    const slot = at & (SLOTS - 1);
    const head = this.#slots[slot] ?? null;
    entry.wheelSlot = slot + 1;
    entry.wheelPrevious = null;
    entry.wheelNext = head;
    if (head !== null) head.wheelPrevious = entry;
    this.#slots[slot] = entry;
    this.#armed++;
  }

  #unlink(entry: WheelEntry): void {
    const { wheelNext: next, wheelPrevious: previous } = entry;
    if (previous === null) this.#slots[entry.wheelSlot - 1] = next;
    else previous.wheelNext = next;
    if (next !== null) next.wheelPrevious = previous;
    entry.wheelSlot = 0;
    entry.wheelNext = null;
    entry.wheelPrevious = null;
    this.#armed--;
  }
}
