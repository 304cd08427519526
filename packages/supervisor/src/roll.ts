/**
 * One reload: every slot gets a child of the new generation, some at a time. The first ones serve beside those that
 * they replace for a while (their probation), so that code which loads and then dies has replaced nothing yet.
 */
import type { ChildExit } from "./child-end.ts";
import { failureOf } from "./child-handle.ts";
import type { ChildHandle } from "./child-handle.ts";
import type { ChildSpec } from "./child-spec.ts";
import { SupervisorError } from "./errors.ts";
import { EXIT } from "./exit-codes.ts";
import type { GroupSettings } from "./group-options.ts";
import type { Slot } from "./slot.ts";

/** What a reload needs of its group. */
export interface RollSurroundings {
  readonly settings: GroupSettings;
  boot(slot: Slot, spec: ChildSpec): Promise<ChildHandle>;
  /** The child serves the slot from here on; resolves when the one before has left, or takes its time. */
  succeed(slot: Slot, child: ChildHandle, spec: ChildSpec, reason: string): Promise<void>;
  dismiss(child: ChildHandle, reason: string): Promise<void>;
}

export class Roll {
  readonly #spec: ChildSpec;
  readonly #around: RollSurroundings;
  #failure: unknown;

  constructor(spec: ChildSpec, around: RollSurroundings) {
    this.#spec = spec;
    this.#around = around;
  }

  /** Resolves with the first failure, or undefined when every slot is served by a new child. Never rejects. */
  async run(slots: readonly Slot[]): Promise<unknown> {
    const { maxSurge, probationMs } = this.#around.settings;
    await Promise.all(slots.slice(0, maxSurge).map((slot) => this.#replace(slot, probationMs)));
    const waiting = slots.slice(maxSurge);
    const lane = async (): Promise<void> => {
      for (let slot = waiting.shift(); slot !== undefined && this.#failure === undefined; slot = waiting.shift())
        await this.#replace(slot, 0);
    };
    await Promise.all(Array.from({ length: maxSurge }, lane));
    return this.#failure;
  }

  /** A child of the group ended: if it is one of ours and was ready, the new generation is no good. */
  onGone(child: ChildHandle, exit: ChildExit): void {
    if (child.generation !== this.#spec.generation || child.readyAt === undefined || child.dismissed) return;
    const lived = Date.now() - child.readyAt;
    this.#failure ??= failureOf(exit, `a replacement ended ${lived} ms after it was ready`);
  }

  async #replace(slot: Slot, probationMs: number): Promise<void> {
    try {
      const child = await this.#around.boot(slot, this.#spec);
      if (probationMs > 0) await this.#prove(child, probationMs);
      if (this.#failure === undefined) await this.#around.succeed(slot, child, this.#spec, "reload");
      else if (child.state !== "gone") await this.#around.dismiss(child, "the reload failed");
    } catch (error) {
      this.#failure ??= error;
    }
  }

  /** Waits for the end of the probation, or of the child. One whose event loop stands still is not done. */
  async #prove(child: ChildHandle, probationMs: number): Promise<void> {
    const { interval, timeout } = this.#around.settings.heartbeat;
    const deadline = performance.now() + probationMs + timeout;
    await within(child.gone, probationMs);
    while (child.state !== "gone" && child.silentMs(performance.now()) > Math.max(probationMs, 2 * interval)) {
      if (performance.now() > deadline)
        throw new SupervisorError("child_failed", "a replacement stopped to answer as soon as it was ready", {
          exitCode: EXIT.boot,
        });
      await within(child.gone, interval);
    }
  }
}

/** Waits for whichever comes first. */
export async function within(end: Promise<unknown>, ms: number): Promise<void> {
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([end, over]);
  clearTimeout(timer);
}
