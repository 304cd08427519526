/**
 * A group of like children under one master: started together, replaced one by one, restarted when they fail.
 *
 * Every child has a slot, its place among `count`. A slot is served by its *current* child; beside it there may be one
 * that is coming up (a replacement) and one that is leaving. A replacement becomes current when it is ready, and only
 * then does the one before it drain.
 *
 * `reload`, `scale` and `retire` take turns; `stop` waits for nobody.
 */
import { backoffDelay } from "./backoff.ts";
import { ChildHandle } from "./child-handle.ts";
import type { ChildExit, ChildOwner, ChildSpec } from "./child-handle.ts";
import { SupervisorError } from "./errors.ts";
import { EVENT_LEVELS, describeEvent } from "./events.ts";
import type { ChildFacts, GroupEvent, GroupEventFields, GroupEventType } from "./events.ts";
import { firstSpec, settle } from "./group-options.ts";
import type { GroupSettings, ProcessGroupOptions, ReloadOptions } from "./group-options.ts";
import { endHung } from "./hang.ts";
import { Heartbeat } from "./heartbeat.ts";
import type { StopMode } from "./messages.ts";

interface Slot {
  readonly number: number;
  spec: ChildSpec;
  current: ChildHandle | undefined;
  /** Failures in a row. */
  failures: number;
  /** Counted up when somebody else takes care of the slot, so that a restart under way lets go of it. */
  turn: number;
  timer: NodeJS.Timeout | undefined;
}

const HARDNESS: Readonly<Record<StopMode, number>> = { graceful: 0, quick: 1, kill: 2 };

export class ProcessGroup {
  readonly name: string;
  readonly #options: ProcessGroupOptions;
  readonly #settings: GroupSettings;
  readonly #slots: Slot[] = [];
  readonly #all: Set<ChildHandle> = new Set();
  readonly #owner: ChildOwner;
  readonly #heartbeat: Heartbeat<ChildHandle>;
  readonly #clock: NodeJS.Timeout;
  #spec: ChildSpec;
  #count: number;
  #nextId = 1;
  #nextGeneration = 2;
  #turn: Promise<unknown> = Promise.resolve();
  #nextReload: { changes: ReloadOptions & { init?: unknown }; done: Promise<void> } | undefined;
  readonly #retirements: Map<ChildHandle, Promise<void>> = new Map();
  #stopping: StopMode | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: ProcessGroupOptions) {
    this.name = options.name;
    this.#options = options;
    this.#settings = settle(options);
    this.#count = options.count;
    this.#spec = firstSpec(options, this.#settings);
    this.#owner = {
      onMessage: (child, message, handle) => options.onMessage?.(child, message, handle),
      onBeat: (child) => this.#heartbeat.beat(child),
      onRetire: (child, reason) => void this.retire(child, reason).catch(() => {}), // the event tells
      onOutput: options.onOutput && ((child, stream, line) => options.onOutput?.(child, stream, line)),
    };
    this.#heartbeat = new Heartbeat<ChildHandle>(
      this.#settings.heartbeat,
      {
        onSlow: (child, silentMs) => this.#emit("unresponsive", { child: factsOf(child), silentMs }),
        onRecovered: (child, silentMs) => this.#emit("recovered", { child: factsOf(child), silentMs }),
        onHung: (child, silentMs) =>
          void endHung(child, silentMs, (found) => this.#emit("hung", { child: factsOf(child), silentMs, ...found })),
      },
      performance.now(),
    );
    this.#clock = setInterval(() => this.#look(), this.#settings.heartbeat.interval).unref();
  }

  /** Every process of the group, those that start or drain included, oldest first. */
  get children(): readonly ChildHandle[] {
    return [...this.#all];
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
    this.#resize(this.#count);
    const outcomes = await Promise.allSettled(this.#slots.map((slot) => this.#install(slot, this.#spec)));
    const failures = outcomes.filter((outcome) => outcome.status === "rejected");
    if (this.#stopping !== undefined) throw this.#stoppedError();
    if (failures.length > 0 && failures.length === outcomes.length) {
      await this.stop("kill");
      throw failures[0]?.reason;
    }
    for (const slot of this.#slots) {
      if (slot.current === undefined) this.#restartLater(slot, slot.turn, "it did not come up");
    }
  }

  /**
   * Replaces every child: each replacement is ready before the one it replaces drains, `maxSurge` at a time. Resolves
   * when every slot is served by a new one; old ones that take longer than `drainPatience` drain on, and the next reload
   * waits for them, so that there are never more than twice as many processes. Rejects with `reload_failed` and the reason when a replacement does not come up; the
   * children that were not replaced yet stay and serve. A call while another waits its turn joins it; the later `init` wins.
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
      await this.#roll({ ...this.#spec, ...next.changes, generation: this.#nextGeneration++ });
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

  /** Replaces one child in order: a replacement first, then this one drains. Rejects when none comes up; the child stays then. */
  retire(child: ChildHandle, reason: string): Promise<void> {
    const underWay = this.#retirements.get(child);
    if (underWay !== undefined) return underWay;
    if (child.state === "draining" || child.state === "gone") return child.gone.then(() => {});
    this.#emit("retiring", { child: factsOf(child), reason });
    const retirement = this.#inTurn(() => this.#retireNow(child, reason)).finally(() =>
      this.#retirements.delete(child),
    );
    this.#retirements.set(child, retirement);
    return retirement;
  }

  /** Kills one child; another takes its place at once, without the back-off of a crash. Resolves when it is gone. */
  async kill(child: ChildHandle, reason: string): Promise<void> {
    if (child.state === "gone") return;
    this.#emit("killed", { child: factsOf(child), reason });
    child.dismiss(reason);
    await child.gone;
    const slot = this.#slots.find(({ current, number }) => current === undefined && number === child.slot);
    if (slot !== undefined) this.#restartLater(slot, slot.turn, reason);
  }

  async #retireNow(child: ChildHandle, reason: string): Promise<void> {
    const slot = this.#slots.find(({ current }) => current === child);
    if (slot === undefined) return; // replaced, dead or scaled away meanwhile
    try {
      await this.#replace(slot, slot.spec, reason);
    } catch (error) {
      child.stay();
      this.#emit("retire-failed", { child: factsOf(child), reason: messageOf(error) });
      throw error;
    }
  }

  /** Ends every child. May be called again with a harder mode; every call resolves when all are gone. */
  stop(mode: StopMode): Promise<void> {
    const harder = this.#stopping === undefined || HARDNESS[mode] > HARDNESS[this.#stopping];
    if (harder) {
      this.#stopping = mode;
      this.#emit("stopping", { mode });
      for (const slot of this.#slots) this.#takeOver(slot);
      for (const child of this.#all) this.#stopChild(child, mode);
    }
    this.#stopped ??= this.#allGone();
    return this.#stopped;
  }

  async #allGone(): Promise<void> {
    while (this.#all.size > 0) await Promise.all([...this.#all].map((child) => child.gone));
    clearInterval(this.#clock);
    this.#emit("stopped", {});
  }

  #stopChild(child: ChildHandle, mode: StopMode): void {
    if (mode === "kill") child.dismiss("the group stops at once");
    else if (mode === "quick" || child.state === "starting")
      void this.#drain(child, "quick", this.#settings.quickMs, "stop");
    else void this.#drain(child, "graceful", this.#settings.gracefulMs, "stop");
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

  // Children coming up.

  #spawn(slot: Slot, spec: ChildSpec): ChildHandle {
    const child = new ChildHandle(this.#nextId++, slot.number, this.#count, spec, this.#owner);
    this.#all.add(child);
    this.#emit("spawned", { child: factsOf(child) });
    void child.gone.then((exit) => this.#onGone(slot, child, exit));
    return child;
  }

  /** Starts a child and waits until it is ready. Rejects with why it is not; it is gone then. */
  async #boot(slot: Slot, spec: ChildSpec): Promise<ChildHandle> {
    if (this.#stopping !== undefined) throw this.#stoppedError();
    const child = this.#spawn(slot, spec);
    const { readyMs } = this.#settings;
    let late: SupervisorError | undefined;
    const timer = setTimeout(() => {
      void child.stack().then((report) => {
        if (child.state !== "starting") return;
        const where = report?.stack === undefined ? (report?.reason ?? "") : `; it is at\n${report.stack}`;
        late = new SupervisorError("child_timeout", `the child was not ready within ${readyMs} ms${where}`, {
          exitCode: 3,
        });
        child.kill("SIGKILL", `it was not ready within ${readyMs} ms`);
      });
    }, readyMs);
    try {
      await child.ready;
    } catch (error) {
      throw this.#stopping === undefined ? (late ?? error) : this.#stoppedError();
    } finally {
      clearTimeout(timer);
    }
    this.#emit("ready", { child: factsOf(child), bootMs: Date.now() - child.startedAt });
    return child;
  }

  /** Boots a child for a slot and makes it the slot's current one; the one before, if any, is returned. */
  async #install(slot: Slot, spec: ChildSpec): Promise<ChildHandle | undefined> {
    const child = await this.#boot(slot, spec);
    const before = slot.current;
    this.#takeOver(slot);
    slot.spec = spec;
    this.#occupy(slot, child);
    return before;
  }

  #occupy(slot: Slot, child: ChildHandle): void {
    slot.current = child.state === "gone" ? undefined : child;
    if (slot.current === undefined) this.#restartLater(slot, slot.turn, "it ended as soon as it was ready");
  }

  async #replace(slot: Slot, spec: ChildSpec, reason: string): Promise<void> {
    const before = await this.#install(slot, spec);
    if (before === undefined) return;
    const { promise: impatient, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, this.#settings.patienceMs);
    await Promise.race([this.#drain(before, "graceful", this.#settings.gracefulMs, reason), impatient]);
    clearTimeout(timer);
  }

  /** Whoever was restarting this slot's child lets go of it. */
  #takeOver(slot: Slot): void {
    slot.turn++;
    clearTimeout(slot.timer);
    slot.timer = undefined;
  }

  // Children that left.

  #onGone(slot: Slot, child: ChildHandle, exit: ChildExit): void {
    this.#all.delete(child);
    this.#heartbeat.forget(child);
    const facts = factsOf(child);
    const { reason } = exit;
    const stack = exit.failure?.stack;
    if (child.dismissed) this.#emit("exited", { child: facts, reason });
    else if (child.readyAt === undefined) this.#emit("failed", { child: facts, reason, stack });
    else this.#emit("crashed", { child: facts, reason, stack });
    if (slot.current !== child) return;
    slot.current = undefined;
    if (child.dismissed) return; // whoever told it to leave knows what comes next
    const lived = Date.now() - (child.readyAt ?? Date.now());
    if (lived >= this.#settings.backoff.resetAfterMs) slot.failures = 0;
    this.#restartLater(slot, slot.turn, reason);
  }

  #restartLater(slot: Slot, turn: number, reason: string): void {
    if (this.#stopping !== undefined || slot.turn !== turn || !this.#slots.includes(slot)) return;
    slot.failures++;
    const { failures } = slot;
    const delayMs = backoffDelay(failures, this.#settings.backoff, Math.random);
    if (failures % this.#settings.backoff.loopAfter === 0)
      this.#emit("crash-loop", { slot: slot.number, failures, reason });
    this.#emit("restarting", { slot: slot.number, delayMs, failures });
    slot.timer = setTimeout(() => void this.#restart(slot, turn), delayMs);
  }

  async #restart(slot: Slot, turn: number): Promise<void> {
    try {
      const child = await this.#boot(slot, slot.spec);
      if (slot.turn === turn && slot.current === undefined) this.#occupy(slot, child);
      else await this.#drain(child, "graceful", this.#settings.gracefulMs, "its place was taken meanwhile");
    } catch (error) {
      this.#restartLater(slot, turn, messageOf(error));
    }
  }

  async #drain(child: ChildHandle, mode: "graceful" | "quick", boundMs: number, reason: string): Promise<void> {
    if (child.state === "ready") this.#emit("draining", { child: factsOf(child), reason });
    await child.drain(mode, boundMs, () =>
      this.#emit("killed", { child: factsOf(child), reason: `it did not leave within ${boundMs} ms` }),
    );
  }

  #look(): void {
    const beating = [...this.#all].filter(({ state }) => state === "ready" || state === "draining");
    this.#heartbeat.tick(beating, performance.now());
  }

  // Rolling, growing, shrinking.

  async #roll(spec: ChildSpec): Promise<void> {
    const started = performance.now();
    const { generation } = spec;
    this.#emit("reloading", { generation });
    await Promise.all([...this.#all].filter(({ state }) => state === "draining").map(({ gone }) => gone));
    if (this.#stopping !== undefined) throw this.#stoppedError();
    const waiting = [...this.#slots];
    let failure: unknown;
    const lane = async (): Promise<void> => {
      for (let slot = waiting.shift(); slot !== undefined && failure === undefined; slot = waiting.shift()) {
        try {
          await this.#replace(slot, spec, "reload");
        } catch (error) {
          failure ??= error;
        }
      }
    };
    await Promise.all(Array.from({ length: this.#settings.maxSurge }, lane));
    if (this.#stopping !== undefined) throw this.#stoppedError();
    if (failure !== undefined) {
      const reason = messageOf(failure);
      this.#emit("reload-failed", { generation, reason });
      const exitCode = failure instanceof SupervisorError ? failure.exitCode : 3;
      throw new SupervisorError("reload_failed", reason, { cause: failure, exitCode });
    }
    this.#spec = spec;
    for (const slot of this.#slots) slot.failures = 0;
    this.#emit("reloaded", { generation, tookMs: Math.round(performance.now() - started) });
  }

  async #grow(count: number): Promise<void> {
    const added = this.#resize(count);
    const outcomes = await Promise.allSettled(added.map((slot) => this.#install(slot, this.#spec)));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed === undefined) return;
    for (const slot of added) {
      if (slot.current === undefined) this.#slots.splice(this.#slots.indexOf(slot), 1);
    }
    this.#announce(this.#slots.length);
    throw new SupervisorError("scale_failed", messageOf(failed.reason), { cause: failed.reason, exitCode: 3 });
  }

  async #shrink(count: number): Promise<void> {
    const surplus = this.#slots.slice(count);
    this.#resize(count);
    for (const slot of surplus) this.#takeOver(slot);
    await Promise.all(
      surplus.map(
        async ({ current }) =>
          current && this.#drain(current, "graceful", this.#settings.gracefulMs, "fewer are wanted"),
      ),
    );
  }

  #resize(count: number): Slot[] {
    const added: Slot[] = [];
    while (this.#slots.length < count) {
      const slot: Slot = {
        number: this.#freeNumber(),
        spec: this.#spec,
        current: undefined,
        failures: 0,
        turn: 0,
        timer: undefined,
      };
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
    for (const child of this.#all) child.announceCount(count);
  }

  #stoppedError(): SupervisorError {
    return new SupervisorError("stopped", `the group "${this.name}" is stopping`);
  }

  #emit<Type extends GroupEventType>(type: Type, fields: GroupEventFields<Type>): void {
    const level = EVENT_LEVELS[type];
    const event = { type, level, group: this.name, message: "", ...fields } as GroupEvent;
    const told: GroupEvent = { ...event, message: describeEvent(event) };
    const { message, ...rest } = told;
    this.#options.log?.[level](rest, message);
    this.#options.onEvent?.(told);
  }
}

function factsOf({ id, slot, generation, pid }: ChildHandle): ChildFacts {
  return { id, slot, generation, pid };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
