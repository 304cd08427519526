/** In the master: the counts of all workers, those that have left among them, and what happened to them. */
import type { ChildHandle, GroupEvent } from "@portico/supervisor";
import { addCounts, type Counts, noCounts } from "./counts.ts";

/** What a worker tells of itself, every second and when it leaves. */
export interface WorkerReport {
  readonly counts: Counts;
  readonly inFlight: number;
  /** Bytes of JavaScript heap in use. */
  readonly heapUsed: number;
}

/** One worker as it last was. */
export interface WorkerGauges {
  readonly id: number;
  readonly state: string;
  readonly inFlight: number;
  readonly heapUsed: number;
  /** Bytes */
  readonly rss: number;
  readonly lagMs: number;
}

/** Everything at one moment. */
export interface MetricsSnapshot {
  readonly startedAt: number;
  readonly counts: Counts;
  readonly workers: readonly WorkerGauges[];
  /** What became of workers: event of the group → how often. */
  readonly events: Readonly<Record<string, number>>;
}

/** Events of the group that are counted. */
export const COUNTED_EVENTS = [
  "spawned",
  "exited",
  "crashed",
  "failed",
  "hung",
  "retiring",
  "reloaded",
  "reload-failed",
] as const;

export class MetricsRegistry {
  readonly #startedAt = Date.now();
  readonly #left = noCounts();
  readonly #reports = new Map<ChildHandle, WorkerReport>();
  readonly #events: Record<string, number> = Object.fromEntries(COUNTED_EVENTS.map((type) => [type, 0]));

  take(child: ChildHandle, report: WorkerReport): void {
    if (!this.#reports.has(child)) void child.gone.then(() => this.#gone(child));
    this.#reports.set(child, report);
  }

  count(event: GroupEvent): void {
    if (Object.hasOwn(this.#events, event.type)) this.#events[event.type]!++;
  }

  snapshot(children: readonly ChildHandle[]): MetricsSnapshot {
    const counts = noCounts();
    addCounts(counts, this.#left);
    for (const { counts: more } of this.#reports.values()) addCounts(counts, more);
    const workers = children.map((child) => ({
      id: child.slot,
      state: child.state,
      inFlight: this.#reports.get(child)?.inFlight ?? 0,
      heapUsed: this.#reports.get(child)?.heapUsed ?? 0,
      rss: child.beat?.rss ?? 0,
      lagMs: child.beat?.lagMs ?? 0,
    }));
    return { startedAt: this.#startedAt, counts, workers, events: { ...this.#events } };
  }

  /** A worker that was killed takes what it counted in its last second with it. */
  #gone(child: ChildHandle): void {
    const report = this.#reports.get(child);
    this.#reports.delete(child);
    if (report !== undefined) addCounts(this.#left, report.counts);
  }
}
