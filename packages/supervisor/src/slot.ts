/**
 * A place among a group's children, and the rule by which it is filled again when its child fails: at once after the
 * first failure, later and later after those that follow.
 */
import { backoffDelay } from "./backoff.ts";
import type { BackoffOptions } from "./backoff.ts";
import type { ChildExit } from "./child-end.ts";
import type { ChildHandle } from "./child-handle.ts";
import type { ChildSpec } from "./child-spec.ts";
import { messageOf } from "./errors.ts";
import type { Emit } from "./events.ts";

/** What a slot needs of its group. */
export interface SlotSurroundings {
  readonly backoff: BackoffOptions;
  readonly emit: Emit;
  /** False once the group stops, or the slot was taken out of it. */
  isWanted(slot: Slot): boolean;
  /** Starts a child and waits until it is ready. */
  boot(slot: Slot, spec: ChildSpec): Promise<ChildHandle>;
  /** Sends a child away that came up too late. */
  dismiss(child: ChildHandle, reason: string): Promise<unknown>;
}

export class Slot {
  readonly number: number;
  /** What its child, or the next one, is started with. */
  spec: ChildSpec;
  #current: ChildHandle | undefined;
  /** Failures in a row. */
  #failures = 0;
  /** Counted up when somebody else takes care of the slot, so that a restart under way lets go of it. */
  #turn = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #around: SlotSurroundings;

  constructor(number: number, spec: ChildSpec, around: SlotSurroundings) {
    this.number = number;
    this.spec = spec;
    this.#around = around;
  }

  /** The child that serves it. */
  get current(): ChildHandle | undefined {
    return this.#current;
  }

  /** Whoever was restarting its child lets go of it. */
  takeOver(): void {
    this.#turn++;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** A child that is ready becomes the current one; the one before, if any, is returned. */
  install(child: ChildHandle, spec: ChildSpec): ChildHandle | undefined {
    const before = this.#current;
    this.takeOver();
    this.spec = spec;
    this.#occupy(child);
    return before;
  }

  /** Nothing counts against it any more. */
  forgive(): void {
    this.#failures = 0;
  }

  /** Its child lives but is of no use: another takes its place at once. */
  vacate(child: ChildHandle, reason: string): void {
    if (this.#current !== child) return;
    this.#current = undefined;
    this.restartLater(reason);
  }

  /** Told of every child that ended in this slot. */
  onGone(child: ChildHandle, exit: ChildExit): void {
    if (this.#current !== child) return;
    this.#current = undefined;
    if (child.dismissed) return; // whoever told it to leave knows what comes next
    const lived = Date.now() - (child.readyAt ?? Date.now());
    if (lived >= this.#around.backoff.resetAfterMs) this.forgive();
    this.restartLater(exit.reason);
  }

  restartLater(reason: string): void {
    this.#restartAfterFailure(this.#turn, reason);
  }

  /** Its child left because it was told to, and another is wanted: no failure, no wait. */
  restartNow(): void {
    if (this.#current !== undefined || !this.#around.isWanted(this)) return;
    this.takeOver();
    this.#around.emit("restarting", { slot: this.number, delayMs: 0, failures: 0 });
    void this.#restart(this.#turn);
  }

  #restartAfterFailure(turn: number, reason: string): void {
    const { backoff, emit } = this.#around;
    if (this.#turn !== turn || !this.#around.isWanted(this)) return;
    const failures = ++this.#failures;
    const delayMs = backoffDelay(failures, backoff, Math.random);
    if (failures % backoff.loopAfter === 0) emit("crash-loop", { slot: this.number, failures, reason });
    emit("restarting", { slot: this.number, delayMs, failures });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#restart(turn), delayMs);
  }

  async #restart(turn: number): Promise<void> {
    try {
      const child = await this.#around.boot(this, this.spec);
      if (this.#turn === turn && this.#current === undefined) this.#occupy(child);
      else await this.#around.dismiss(child, "its place was taken meanwhile");
    } catch (error) {
      this.#restartAfterFailure(turn, messageOf(error));
    }
  }

  #occupy(child: ChildHandle): void {
    this.#current = child.state === "gone" ? undefined : child;
    if (this.#current === undefined) this.restartLater("it ended as soon as it was ready");
  }
}
