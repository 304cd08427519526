/** Resident memory of processes, as the kernel counts it. */
import { readFileSync, writeFileSync } from "node:fs";

function statusKibibytes(pid: number, field: "VmRSS" | "VmHWM"): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0);
}

/** Resident now, MiB. */
export function resident(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + statusKibibytes(pid, "VmRSS"), 0) / 1_024;
}

/** How far the resident memory of each process rose above what it was at {@link PeakWatch.start}. */
export class PeakWatch {
  readonly #before: Map<number, number>;

  private constructor(pids: readonly number[]) {
    // The kernel forgets the peak so far (proc(5), clear_refs).
    for (const pid of pids) writeFileSync(`/proc/${pid}/clear_refs`, "5");
    this.#before = new Map(pids.map((pid) => [pid, statusKibibytes(pid, "VmRSS")]));
  }

  static start(pids: readonly number[]): PeakWatch {
    return new PeakWatch(pids);
  }

  /** MiB above idle, by process. */
  rise(): Map<number, number> {
    return new Map([...this.#before].map(([pid, before]) => [pid, (statusKibibytes(pid, "VmHWM") - before) / 1_024]));
  }
}
