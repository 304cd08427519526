/** Watches when children last answered. No clock and no timer of its own: `tick` is called with the time. */
export interface HeartbeatOptions {
  /** Milliseconds between two beats of a child, and between two looks at them. */
  readonly interval: number;
  /** Milliseconds of silence after which a child counts as hung; a warning comes at half of it. */
  readonly timeout: number;
}

// Worker timeout of reliability.md; a beat a second costs nothing and finds a hang within the second.
export const DEFAULT_HEARTBEAT: HeartbeatOptions = { interval: 1_000, timeout: 30_000 };

interface Beating {
  lastBeat: number;
}

export interface HeartbeatHooks<Child extends Beating> {
  onSlow(child: Child, silentMs: number): void;
  onRecovered(child: Child, silentMs: number): void;
  /** Told once for each child. */
  onHung(child: Child, silentMs: number): void;
}

export class Heartbeat<Child extends Beating> {
  readonly #options: HeartbeatOptions;
  readonly #hooks: HeartbeatHooks<Child>;
  readonly #slow: Map<Child, number> = new Map();
  readonly #hung: WeakSet<Child> = new WeakSet();
  #lastTick: number;

  constructor(options: HeartbeatOptions, hooks: HeartbeatHooks<Child>, now: number) {
    this.#options = options;
    this.#hooks = hooks;
    this.#lastTick = now;
  }

  /** Looks at every child that should be beating. */
  tick(children: Iterable<Child>, now: number): void {
    // When this very process stood still (a suspended machine, SIGSTOP), the beats that came meanwhile are not read
    // yet: that time is nobody's silence.
    const lost = now - this.#lastTick - this.#options.interval;
    this.#lastTick = now;
    for (const child of children) {
      if (lost > this.#options.interval) child.lastBeat += lost;
      const silent = now - child.lastBeat;
      if (silent >= this.#options.timeout) this.#report(child, silent);
      else if (silent >= this.#options.timeout / 2 && !this.#slow.has(child)) {
        this.#slow.set(child, child.lastBeat);
        this.#hooks.onSlow(child, silent);
      }
    }
  }

  /** A child's event loop answered. */
  beat(child: Child): void {
    const since = this.#slow.get(child);
    if (since === undefined || this.#hung.has(child)) return;
    this.#slow.delete(child);
    this.#hooks.onRecovered(child, child.lastBeat - since);
  }

  /** The child is gone. */
  forget(child: Child): void {
    this.#slow.delete(child);
  }

  #report(child: Child, silent: number): void {
    if (this.#hung.has(child)) return;
    this.#hung.add(child);
    this.#hooks.onHung(child, silent);
  }
}
