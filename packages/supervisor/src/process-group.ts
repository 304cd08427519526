/**
 * A group of like children under one master: started together, replaced one by one, restarted when they fail.
 *
 * Every child has a slot, its place among `count`. A slot is served by its *current* child; beside it there may be one
 * that is coming up (a replacement) and one that is leaving. A replacement becomes current when it is ready, and only
 * then does the one before it drain.
 *
 * `reload`, `scale` and `retire` take turns; `stop` waits for nobody.
 */
import type { ChildHandle } from "./child-handle.ts";
import type { ChildSpec } from "./child-spec.ts";
import { Crew, factsOf } from "./crew.ts";
import { messageOf, SupervisorError } from "./errors.ts";
import { teller } from "./events.ts";
import type { Emit } from "./events.ts";
import { EXIT } from "./exit-codes.ts";
import { firstSpec, settle } from "./group-options.ts";
import type { GroupSettings, ProcessGroupOptions, ReloadOptions } from "./group-options.ts";
import type { StopMode } from "./messages.ts";
import { Roll, within } from "./roll.ts";
import { removeIfEmpty } from "./remove-if-empty.ts";
import { sweepReports } from "./report.ts";
import { Slot } from "./slot.ts";
import type { SlotSurroundings } from "./slot.ts";

const HARDNESS: Readonly<Record<StopMode, number>> = { graceful: 0, quick: 1, kill: 2 };

export class ProcessGroup {
  readonly name: string;
  readonly #settings: GroupSettings;
  readonly #emit: Emit;
  readonly #crew: Crew;
  readonly #slots: Slot[] = [];
  readonly #around: SlotSurroundings;
  #spec: ChildSpec;
  #count: number;
  #nextGeneration = 2;
  #turn: Promise<unknown> = Promise.resolve();
  #roll: Roll | undefined;
  #nextReload: { changes: ReloadOptions & { init?: unknown }; done: Promise<void> } | undefined;
  readonly #retirements: Map<ChildHandle, Promise<void>> = new Map();
  /** Resolves when the child that retired last is gone. */
  #lastRetired: Promise<unknown> = Promise.resolve();
  #stopping: StopMode | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: ProcessGroupOptions) {
    this.name = options.name;
    this.#settings = settle(options);
    this.#count = options.count;
    this.#spec = firstSpec(options, this.#settings);
    this.#emit = teller(options.name, (event, fields) => {
      options.log?.[event.level](fields, event.message);
      options.onEvent?.(event);
    });
    this.#around = {
      backoff: this.#settings.backoff,
      emit: this.#emit,
      isWanted: (slot) => this.#stopping === undefined && this.#slots.includes(slot),
      boot: (slot, spec) => this.#boot(slot, spec),
      dismiss: (child, reason) => this.#crew.drain(child, "graceful", reason),
    };
    this.#crew = new Crew(options, this.#settings, this.#emit, {
      onGone: (child, exit) => {
        this.#roll?.onGone(child, exit);
        for (const slot of this.#slots) slot.onGone(child, exit);
      },
      onLost: (child) => {
        for (const slot of this.#slots) slot.vacate(child, "it closed its channel");
      },
      onRetire: (child, reason) => void this.retire(child, reason).catch(() => {}), // the event tells
    });
  }

  /** Every process of the group, those that start or drain included, oldest first. */
  get children(): readonly ChildHandle[] {
    return this.#crew.all;
  }

  /** How many children there should be. */
  get count(): number {
    return this.#count;
  }

  /** The generation that was asked for last and came up. */
  get generation(): number {
    return this.#spec.generation;
  }

  /**
   * Starts all children. Resolves when each is ready, or when at least one is and the others are being restarted.
   * Rejects with {@link SupervisorError} (`exitCode` 3 or 4, the child's own message) when none comes up; nothing is
   * left running then.
   */
  async start(): Promise<void> {
    if (this.#spec.reports !== undefined) sweepReports(this.#spec.reports);
    this.#resize(this.#count);
    const outcomes = await Promise.allSettled(this.#slots.map((slot) => this.#fill(slot)));
    const failures = outcomes.filter((outcome) => outcome.status === "rejected");
    if (this.#stopping !== undefined) throw this.#stoppedError();
    if (failures.length > 0 && failures.length === outcomes.length) {
      await this.stop("kill");
      throw failures[0]?.reason;
    }
    for (const slot of this.#slots) if (slot.current === undefined) slot.restartLater("it did not come up");
  }

  /**
   * Replaces every child: each replacement is ready before the one it replaces drains, `maxSurge` at a time, and the
   * first ones have served for `probation` by then. Resolves when every slot is served by a new one; old ones that take
   * longer than `drainPatience` drain on, and the next reload waits for them, so that there are never more than twice as
   * many processes. Rejects with `reload_failed` and the reason when a replacement does not come up, or dies while this
   * is going on; the children that were not replaced yet stay and serve. A call while another waits its turn joins it;
   * the later `init` wins.
   */
  reload(init?: unknown, options: ReloadOptions = {}): Promise<void> {
    const changes = init === undefined ? options : { ...options, init };
    if (this.#nextReload !== undefined) {
      Object.assign(this.#nextReload.changes, changes);
      return this.#nextReload.done;
    }
    const next = { changes, done: Promise.resolve() };
    this.#nextReload = next;
    next.done = this.#inTurn(async () => {
      this.#nextReload = undefined;
      await this.#replaceAll({ ...this.#spec, ...next.changes, generation: this.#nextGeneration++ });
    });
    return next.done;
  }

  /** Changes what children are started with from now on; those that run stay as they are. */
  amend(changes: ReloadOptions): void {
    this.#spec = { ...this.#spec, ...changes };
    for (const slot of this.#slots) slot.spec = { ...slot.spec, ...changes };
  }

  /** Changes how many children there are. Resolves when the new ones are ready or the surplus ones are gone; rejects with `scale_failed` when one does not come up, and those that did stay. */
  scale(count: number): Promise<void> {
    return this.#inTurn(async () => {
      if (count < this.#count) await this.#shrink(count);
      else if (count > this.#count) await this.#grow(count);
      this.#emit("scaled", { count: this.#count });
    });
  }

  /**
   * Replaces one child in order: a replacement first, then this one drains. Rejects when none comes up; the child stays
   * then. Never two at once: the next one waits until this one is gone.
   */
  retire(child: ChildHandle, reason: string): Promise<void> {
    const underWay = this.#retirements.get(child);
    if (underWay !== undefined) return underWay;
    if (child.state === "draining" || child.state === "gone") return child.gone.then(() => {});
    this.#emit("retiring", { child: factsOf(child), reason });
    const retirement = this.#lastRetired
      .then(() => this.#inTurn(() => this.#retireNow(child, reason)))
      .finally(() => this.#retirements.delete(child));
    this.#lastRetired = retirement.then(
      () => child.gone,
      () => {},
    );
    this.#retirements.set(child, retirement);
    return retirement;
  }

  /** Kills one child; another takes its place at once, which counts as no failure. Resolves when it is gone. */
  async kill(child: ChildHandle, reason: string): Promise<void> {
    if (child.state === "gone") return;
    this.#emit("killed", { child: factsOf(child), reason });
    child.dismiss(reason);
    await child.gone;
    this.#slots.find(({ number }) => number === child.slot)?.restartNow();
  }

  /** Ends every child. May be called again with a harder mode; every call resolves when all are gone. */
  stop(mode: StopMode): Promise<void> {
    const harder = this.#stopping === undefined || HARDNESS[mode] > HARDNESS[this.#stopping];
    if (harder) {
      this.#stopping = mode;
      this.#emit("stopping", { mode });
      for (const slot of this.#slots) slot.takeOver();
      for (const child of this.#crew.all) this.#stopChild(child, mode);
    }
    this.#stopped ??= this.#crew.allGone().then(() => {
      if (this.#spec.reports !== undefined) removeIfEmpty(this.#spec.reports);
      this.#emit("stopped", {});
    });
    return this.#stopped;
  }

  #stopChild(child: ChildHandle, mode: StopMode): void {
    if (mode === "kill") child.dismiss("the group stops at once");
    else void this.#crew.drain(child, child.state === "starting" ? "quick" : mode, "stop");
  }

  // One operation at a time.
  #inTurn<Result>(operation: () => Promise<Result>): Promise<Result> {
    const run = this.#turn.then(() => {
      if (this.#stopping !== undefined) throw this.#stoppedError();
      return operation();
    });
    this.#turn = run.catch(() => {});
    return run;
  }

  async #boot(slot: Slot, spec: ChildSpec): Promise<ChildHandle> {
    if (this.#stopping !== undefined) throw this.#stoppedError();
    try {
      return await this.#crew.boot(slot.number, this.#count, spec);
    } catch (error) {
      throw this.#stopping === undefined ? error : this.#stoppedError();
    }
  }

  async #fill(slot: Slot): Promise<void> {
    slot.install(await this.#boot(slot, this.#spec), this.#spec);
  }

  /** The slot's child makes room for one that is ready. */
  async #succeed(slot: Slot, child: ChildHandle, spec: ChildSpec, reason: string): Promise<void> {
    const before = slot.install(child, spec);
    if (before !== undefined) await within(this.#crew.drain(before, "graceful", reason), this.#settings.patienceMs);
  }

  async #retireNow(child: ChildHandle, reason: string): Promise<void> {
    const slot = this.#slots.find(({ current }) => current === child);
    if (slot === undefined) return; // replaced, dead or scaled away meanwhile
    try {
      await this.#succeed(slot, await this.#boot(slot, slot.spec), slot.spec, reason);
    } catch (error) {
      child.stay();
      this.#emit("retire-failed", { child: factsOf(child), reason: messageOf(error) });
      throw error;
    }
  }

  async #replaceAll(spec: ChildSpec): Promise<void> {
    const started = performance.now();
    const { generation } = spec;
    this.#emit("reloading", { generation });
    await Promise.all(this.#crew.draining.map(({ gone }) => gone));
    if (this.#stopping !== undefined) throw this.#stoppedError();
    this.#roll = new Roll(spec, {
      ...this.#around,
      settings: this.#settings,
      succeed: (...change) => this.#succeed(...change),
      dismiss: (child, reason) => this.#crew.drain(child, "graceful", reason),
    });
    const failure = await this.#roll.run(this.#slots);
    this.#roll = undefined;
    if (this.#stopping !== undefined) throw this.#stoppedError();
    if (failure !== undefined) {
      const reason = messageOf(failure);
      this.#emit("reload-failed", { generation, reason });
      const exitCode = failure instanceof SupervisorError ? failure.exitCode : EXIT.boot;
      throw new SupervisorError("reload_failed", reason, { cause: failure, exitCode });
    }
    this.#spec = spec;
    for (const slot of this.#slots) slot.forgive();
    this.#emit("reloaded", { generation, tookMs: Math.round(performance.now() - started) });
  }

  async #grow(count: number): Promise<void> {
    const added = this.#resize(count);
    const outcomes = await Promise.allSettled(added.map((slot) => this.#fill(slot)));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed === undefined) return;
    for (const slot of added) if (slot.current === undefined) this.#slots.splice(this.#slots.indexOf(slot), 1);
    this.#announce(this.#slots.length);
    throw new SupervisorError("scale_failed", messageOf(failed.reason), {
      cause: failed.reason,
      exitCode: failed.reason instanceof SupervisorError ? failed.reason.exitCode : EXIT.boot,
    });
  }

  async #shrink(count: number): Promise<void> {
    const surplus = this.#slots.slice(count);
    this.#resize(count);
    for (const slot of surplus) slot.takeOver();
    const leaving = surplus.flatMap(({ current }) => current ?? []);
    await Promise.all(leaving.map((child) => this.#crew.drain(child, "graceful", "fewer are wanted")));
  }

  #resize(count: number): Slot[] {
    const added: Slot[] = [];
    while (this.#slots.length < count) {
      const slot = new Slot(this.#freeNumber(), this.#spec, this.#around);
      this.#slots.push(slot);
      added.push(slot);
    }
    this.#slots.length = count;
    this.#announce(count);
    return added;
  }

  #freeNumber(): number {
    const taken = new Set(this.#slots.map(({ number }) => number));
    let number = 1;
    while (taken.has(number)) number++;
    return number;
  }

  #announce(count: number): void {
    if (count === this.#count) return;
    this.#count = count;
    for (const child of this.#crew.all) child.announceCount(count);
  }

  #stoppedError(): SupervisorError {
    return new SupervisorError("stopped", `the group "${this.name}" is stopping`);
  }
}
