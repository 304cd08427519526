/**
 * A command under test: started as a user would, watched by what it prints, stopped at the end of its scope.
 * Nothing here waits for time: every wait is for a line, an exit or an end of output.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");

/** Entry points, run from their sources. */
export const bins = {
  portico: join(root, "packages/portico/src/bin.ts"),
  server: join(root, "packages/server/src/bin.ts"),
  proxy: join(root, "packages/proxy/src/bin.ts"),
  demo: join(root, "apps/demo/start.ts"),
} as const;

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Path of a program to run in the place of ours. */
  readonly script?: string;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Command implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly exited: Promise<Exit>;
  #output = "";
  readonly #waiting = new Set<() => void>();

  constructor(bin: keyof typeof bins, args: readonly string[], options: CommandOptions = {}) {
    this.child = spawn(process.execPath, ["--conditions=@portico/source", options.script ?? bins[bin], ...args], {
      cwd: options.cwd ?? root,
      env: { ...process.env, NO_COLOR: "1", ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child.stdout?.on("data", (chunk: Buffer) => this.#read(chunk));
    this.child.stderr?.on("data", (chunk: Buffer) => this.#read(chunk));
    this.exited = new Promise((resolve) => {
      this.child.once("close", (code, signal) => {
        resolve({ code, signal });
        for (const wake of this.#waiting) wake();
      });
    });
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Everything printed so far, standard output and error together. */
  get output(): string {
    return this.#output;
  }

  /** Waits for a line to match, from an offset into the output on; fails when the command ends before. */
  async printed(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.#output.slice(from));
      if (match !== null) return match;
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        await this.exited;
        const last = pattern.exec(this.#output.slice(from));
        if (last !== null) return last;
        throw new Error(
          `the command ended (${this.child.signalCode ?? this.child.exitCode}) before it printed ${pattern}:\n${this.#output}`,
        );
      }
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
      });
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<Exit> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    return this.exited;
  }

  /** Ends the command and whatever it started, however it is. */
  async [Symbol.asyncDispose](): Promise<void> {
    const pids = descendants(this.pid);
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL");
    for (const pid of pids) kill(pid);
    await this.exited;
  }

  #read(chunk: Buffer): void {
    this.#output += chunk.toString();
    for (const wake of this.#waiting) wake();
  }
}

/** Process ids below one, at this moment. */
export function descendants(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, "latin1");
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state !== "Z") parents.set(Number(entry), Number(parent));
    } catch {
      // It ended meanwhile.
    }
  }
  const found: number[] = [];
  for (let level = [pid]; level.length > 0;) {
    level = [...parents].filter(([, parent]) => level.includes(parent)).map(([child]) => child);
    found.push(...level);
  }
  return found;
}

/** True while a process runs (a zombie does not). */
export function running(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat[stat.lastIndexOf(")") + 2] !== "Z";
  } catch {
    return false;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}
