/** What the system says of a process. Beyond "is it there", only Linux tells. */
import { readFileSync, readlinkSync } from "node:fs";

/** `gone` includes a zombie: it has ended, and its parent has not asked how. */
export type ProcessState = "running" | "stopped" | "gone";

/** Letters of /proc/PID/stat, proc(5). */
const STATES: Readonly<Record<string, ProcessState>> = { T: "stopped", t: "stopped", Z: "gone", X: "gone" };

export function processState(pid: number): ProcessState {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return "gone"; // EPERM: it runs, as somebody else
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return STATES[stat.charAt(stat.lastIndexOf(")") + 2)] ?? "running";
  } catch {
    return "running"; // no such file system here
  }
}

/**
 * Names the space in which process ids mean what they mean here: containers that share a folder do not share it, and
 * one's process 1 says nothing of the other's. `0` where there is only one.
 */
export function processSpace(): string {
  try {
    return /\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? "0";
  } catch {
    return "0";
  }
}
