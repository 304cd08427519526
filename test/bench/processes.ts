/**
 * Processes under test: started on one core, counted by the kernel, stopped by their ids.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { once } from "node:events";
import { connect } from "node:net";

/** The system under test runs here, the load generator on the other core, so that neither steals from the other. */
export const SYSTEM_CORE = "0";
export const LOAD_CORE = "1";

const READY_TIMEOUT_MS = 20_000; // a cold start of three Node processes on a busy machine takes about 2 s
const STOP_TIMEOUT_MS = 5_000;

/** Something that could not be measured: what, and why. */
export class BenchError extends Error {
  override readonly name = "BenchError";
}

export interface Launched {
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts a command on the core of the system under test. Its output is kept and shown when it dies early. */
export function launch(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Launched {
  const child = spawn("taskset", ["-c", SYSTEM_CORE, command, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_ENV: "production", ...env },
  });
  let output = "";
  let stopping = false;
  child.stdout.on("data", (chunk: Buffer) => (output = (output + chunk.toString()).slice(-4_000)));
  child.stderr.on("data", (chunk: Buffer) => (output = (output + chunk.toString()).slice(-4_000)));
  child.on("exit", (code, signal) => {
    if (!stopping) console.error(`bench: ${command} ${args.join(" ")} ended early (${signal ?? code})\n${output}`);
  });
  if (child.pid === undefined) throw new BenchError(`${command} could not be started`);
  return {
    pid: child.pid,
    stop: async () => {
      stopping = true;
      await stop(child);
    },
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const pids = child.pid === undefined ? [] : tree(child.pid);
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => {
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Already gone, which is what is wanted.
      }
    }
  }, STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}

/** A process and all its descendants. */
export function tree(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, "latin1");
      const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
    } catch {
      // It ended while the folder was read.
    }
  }
  const found = [pid];
  for (const each of found) found.push(...(children.get(each) ?? []));
  return found;
}

/** CPU time of a set of processes with all their threads, in microseconds since they began (user + system, from the scheduler's accounting in nanoseconds). */
export function cpuMicroseconds(pids: readonly number[]): number {
  let nanoseconds = 0;
  for (const pid of pids) {
    let threads: string[];
    try {
      threads = readdirSync(`/proc/${pid}/task`);
    } catch {
      continue;
    }
    for (const thread of threads) {
      try {
        nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "latin1").split(" ")[0]);
      } catch {
        // The thread ended in between; what it used is lost to both readings alike.
      }
    }
  }
  return nanoseconds / 1_000;
}

/** Highest resident memory of a set of processes together, MiB. */
export function peakMemory(pids: readonly number[]): number {
  let kibibytes = 0;
  for (const pid of pids) {
    try {
      kibibytes += Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0);
    } catch {
      // Gone.
    }
  }
  return kibibytes / 1_024;
}

/** Resolves when a TCP port of this machine or a unix socket accepts connections. */
export async function accepting(target: number | string): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  for (;;) {
    const socket = typeof target === "number" ? connect(target, "127.0.0.1") : connect(target);
    const ok = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    socket.destroy();
    if (ok) return;
    if (Date.now() > deadline)
      throw new BenchError(`nothing accepts connections on ${target} after ${READY_TIMEOUT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The full path of a program, or undefined where it is not installed. */
export function which(program: string): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"];
  return folders.map((folder) => `${folder}/${program}`).find((path) => existsSync(path));
}
