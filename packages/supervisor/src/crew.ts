/** The processes of a group: spawned, waited for, watched, sent away. Knows nothing of places and generations. */
import { ChildHandle } from "./child-handle.ts";
import type { ChildOwner } from "./child-handle.ts";
import type { ChildExit } from "./child-end.ts";
import type { ChildSpec } from "./child-spec.ts";
import { SupervisorError } from "./errors.ts";
import { EXIT } from "./exit-codes.ts";
import type { ChildFacts, Emit } from "./events.ts";
import type { GroupSettings, ProcessGroupOptions } from "./group-options.ts";
import { endHung } from "./hang.ts";
import { Heartbeat } from "./heartbeat.ts";
import type { StackReport } from "./messages.ts";

/** What the group hears from its crew. */
export interface CrewHooks {
  onGone(child: ChildHandle, exit: ChildExit): void;
  /** It lives, but cannot be told anything any more; it is being ended. */
  onLost(child: ChildHandle): void;
  onRetire(child: ChildHandle, reason: string): void;
}

export class Crew {
  readonly #settings: GroupSettings;
  readonly #emit: Emit;
  readonly #hooks: CrewHooks;
  readonly #owner: ChildOwner;
  readonly #all: Set<ChildHandle> = new Set();
  readonly #heartbeat: Heartbeat<ChildHandle>;
  readonly #clock: NodeJS.Timeout;
  #nextId = 1;

  constructor(options: ProcessGroupOptions, settings: GroupSettings, emit: Emit, hooks: CrewHooks) {
    this.#settings = settings;
    this.#emit = emit;
    this.#hooks = hooks;
    this.#owner = {
      onMessage: (child, message, handle) => options.onMessage?.(child, message, handle),
      onSpawn: (slot, generation) => options.onSpawn?.(slot, generation),
      onBeat: (child) => this.#heartbeat.beat(child),
      onRetire: (child, reason) => hooks.onRetire(child, reason),
      onCutOff: (child) => this.#cutOff(child),
      onOutput: options.onOutput && ((child, stream, line) => options.onOutput?.(child, stream, line)),
    };
    this.#heartbeat = new Heartbeat<ChildHandle>(
      settings.heartbeat,
      {
        onSlow: (child, silentMs) => emit("unresponsive", { child: factsOf(child), silentMs }),
        onRecovered: (child, silentMs) => emit("recovered", { child: factsOf(child), silentMs }),
        onHung: (child, silentMs) =>
          void endHung(child, silentMs, (found) => emit("hung", { child: factsOf(child), silentMs, ...found })),
      },
      performance.now(),
    );
    this.#clock = setInterval(() => this.#look(), settings.heartbeat.interval).unref();
  }

  /** Every process, those that start or drain included, oldest first. */
  get all(): readonly ChildHandle[] {
    return [...this.#all];
  }

  /** Those that are on their way out. */
  get draining(): readonly ChildHandle[] {
    return this.all.filter(({ state }) => state === "draining");
  }

  /** Starts a child and waits until it is ready. Rejects with {@link SupervisorError} and why it is not; it is gone then. */
  async boot(slot: number, count: number, spec: ChildSpec): Promise<ChildHandle> {
    const child = this.#spawn(slot, count, spec);
    const { readyMs } = this.#settings;
    let late: SupervisorError | undefined;
    const timer = setTimeout(() => {
      void child.stack().then((report) => {
        if (child.state !== "starting") return;
        late = notReady(readyMs, report);
        child.kill("SIGKILL", `it was not ready within ${readyMs} ms`);
      });
    }, readyMs);
    try {
      await child.ready;
    } catch (error) {
      throw late ?? error;
    } finally {
      clearTimeout(timer);
    }
    this.#emit("ready", { child: factsOf(child), bootMs: Date.now() - child.startedAt });
    return child;
  }

  /** Tells a child to leave, in time or killed. Resolves when it is gone. */
  async drain(child: ChildHandle, mode: "graceful" | "quick", reason: string): Promise<void> {
    const boundMs = mode === "graceful" ? this.#settings.gracefulMs : this.#settings.quickMs;
    if (child.state === "ready") this.#emit("draining", { child: factsOf(child), reason });
    await child.drain(mode, boundMs, () => this.#tellBound(child, boundMs));
  }

  /** Resolves when nobody is left, those included that come meanwhile. */
  async allGone(): Promise<void> {
    while (this.#all.size > 0) await Promise.all(this.all.map((child) => child.gone));
    clearInterval(this.#clock);
  }

  #spawn(slot: number, count: number, spec: ChildSpec): ChildHandle {
    this.#owner.onSpawn(slot, spec.generation);
    const child = new ChildHandle(this.#nextId++, slot, count, spec, this.#owner);
    this.#all.add(child);
    this.#emit("spawned", { child: factsOf(child) });
    void child.gone.then((exit) => this.#onGone(child, exit));
    return child;
  }

  #onGone(child: ChildHandle, exit: ChildExit): void {
    this.#all.delete(child);
    this.#heartbeat.forget(child);
    const { reason, stack, kind } = exit;
    if (child.dismissed) this.#emit("exited", { child: factsOf(child), how: kind, reason });
    else if (child.readyAt === undefined) this.#emit("failed", { child: factsOf(child), how: kind, reason, stack });
    else this.#emit("crashed", { child: factsOf(child), how: kind, reason, stack });
    this.#hooks.onGone(child, exit);
  }

  #cutOff(child: ChildHandle): void {
    const boundMs = this.#settings.gracefulMs;
    this.#emit("cut-off", { child: factsOf(child), boundMs });
    void child.bound(boundMs, () => this.#tellBound(child, boundMs));
    this.#hooks.onLost(child);
  }

  #tellBound(child: ChildHandle, boundMs: number): void {
    this.#emit("killed", { child: factsOf(child), reason: `it did not leave within ${boundMs} ms` });
  }

  #look(): void {
    const beating = this.all.filter(({ state, connected }) => connected && (state === "ready" || state === "draining"));
    this.#heartbeat.tick(beating, performance.now());
  }
}

function notReady(readyMs: number, report: StackReport | undefined): SupervisorError {
  const where = report?.stack === undefined ? (report?.reason ?? "") : `; it is at\n${report.stack}`;
  return new SupervisorError("child_timeout", `the child was not ready within ${readyMs} ms${where}`, {
    exitCode: EXIT.boot,
  });
}

export function factsOf({ id, slot, generation, pid }: ChildHandle): ChildFacts {
  return { id, slot, generation, pid };
}
