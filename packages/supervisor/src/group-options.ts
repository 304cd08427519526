/** What a group is made with, its defaults, and what they come to for one child. */
import { DEFAULT_BACKOFF } from "./backoff.ts";
import type { BackoffOptions } from "./backoff.ts";
import type { ChildHandle } from "./child-handle.ts";
import type { ChildSpec } from "./child-spec.ts";
import type { EventLevel, GroupEvent } from "./events.ts";
import { DEFAULT_HEARTBEAT } from "./heartbeat.ts";
import type { HeartbeatOptions } from "./heartbeat.ts";
import type { Identity } from "./identity.ts";
import type { BoundListener } from "./listener.ts";

/** The part of a logger that a group uses; pino fits. */
export type GroupLog = { [Level in EventLevel]: (fields: object, message: string) => void };

export interface ProcessGroupOptions {
  /** For events and logs: `worker`, `proxy`. */
  readonly name: string;
  /** Path of the module that children run; it calls `runChild`. */
  readonly entry: string;
  /** How many children; 0 is allowed. */
  readonly count: number;
  /** Sockets that children inherit. They stay the caller's: close them after `stop`. */
  readonly listeners?: readonly BoundListener[];
  /** Descriptors per listener and child, one for each thread that accepts. Default 1. */
  readonly copies?: number;
  /** Given to every child's `start`; anything structured-cloneable. */
  readonly init?: unknown;
  /** Default: this process's own, without its inspector flags. */
  readonly execArgv?: readonly string[];
  /** Arguments after the entry, for people who look at the process list. */
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly umask?: number;
  /** Milliseconds from spawn to ready. Default 60,000: a large application loads in seconds, a hung one never does. */
  readonly readyTimeout?: number;
  readonly heartbeat?: Partial<HeartbeatOptions>;
  /** Run the thread in each child that can take the stack of a hung main thread. Default true. */
  readonly watchdog?: boolean;
  /** Milliseconds a child may take to drain before it is killed. Default 30,000. */
  readonly gracefulTimeout?: number;
  /**
   * Milliseconds a reload waits for a child that drains before it replaces the next one; the old one drains on, beside.
   * Default 2,000: longer than requests take, shorter than event streams and WebSockets, which have no end of their own.
   */
  readonly drainPatience?: number;
  /** As `gracefulTimeout`, for a quick stop. Default 5,000. */
  readonly quickTimeout?: number;
  readonly backoff?: Partial<BackoffOptions>;
  /** Replacements at once, during a reload. Default 1. */
  readonly maxSurge?: number;
  /**
   * Milliseconds for which the first replacements of a reload serve beside the children that they replace, before those
   * drain: what dies meanwhile has cost nobody anything, and fails the reload. Default 2,000; 0: none.
   */
  readonly probation?: number;
  /** Folder for diagnostic reports of children that hang or run out of memory; made by the child, with mode 0700. Default: none are written. */
  readonly reports?: string;
  /** Who the children become by themselves, where they start as root: the folder will be theirs. */
  readonly reportsOwner?: Identity | undefined;
  readonly log?: GroupLog;
  /** Called before each process is started; must not throw. */
  onSpawn?(slot: number, generation: number): void;
  onMessage?(child: ChildHandle, message: unknown, handle: unknown): void;
  onEvent?(event: GroupEvent): void;
  /** Takes the children's output by line; without it they write to this process's stdout and stderr. */
  onOutput?(child: ChildHandle, stream: "stdout" | "stderr", line: string): void;
}

/** What may change with a reload. */
export interface ReloadOptions {
  readonly listeners?: readonly BoundListener[];
  /** Descriptors per listener and child. */
  readonly copies?: number;
  readonly env?: NodeJS.ProcessEnv;
}

/** Milliseconds, and the rest that has a default. */
export interface GroupSettings {
  readonly readyMs: number;
  readonly gracefulMs: number;
  readonly quickMs: number;
  readonly patienceMs: number;
  readonly maxSurge: number;
  readonly probationMs: number;
  readonly heartbeat: HeartbeatOptions;
  readonly backoff: BackoffOptions;
}

const READY_TIMEOUT_MS = 60_000; // a large application loads in seconds, a hung one never does
const GRACEFUL_TIMEOUT_MS = 30_000; // reliability.md, as gunicorn's
const DRAIN_PATIENCE_MS = 2_000; // most requests take less; with streams a reload would take gracefulTimeout per child
const PROBATION_MS = 2_000; // code that fails under its first requests does so within a second or two
const QUICK_TIMEOUT_MS = 5_000; // to close files and connections, not to finish anything

export function settle(options: ProcessGroupOptions): GroupSettings {
  return {
    readyMs: options.readyTimeout ?? READY_TIMEOUT_MS,
    gracefulMs: options.gracefulTimeout ?? GRACEFUL_TIMEOUT_MS,
    quickMs: options.quickTimeout ?? QUICK_TIMEOUT_MS,
    patienceMs: options.drainPatience ?? DRAIN_PATIENCE_MS,
    maxSurge: Math.max(1, options.maxSurge ?? 1),
    probationMs: options.probation ?? PROBATION_MS,
    heartbeat: { ...DEFAULT_HEARTBEAT, ...options.heartbeat },
    backoff: { ...DEFAULT_BACKOFF, ...options.backoff },
  };
}

/** What the children of the first generation are started with. */
export function firstSpec(options: ProcessGroupOptions, settings: GroupSettings): ChildSpec {
  return {
    entry: options.entry,
    // Children of a master under the inspector would all ask for its port.
    execArgv: options.execArgv ?? process.execArgv.filter((flag) => !flag.startsWith("--inspect")),
    args: options.args ?? [],
    env: options.env,
    cwd: options.cwd,
    uid: options.uid,
    gid: options.gid,
    umask: options.umask,
    init: options.init,
    generation: 1,
    listeners: options.listeners ?? [],
    copies: options.copies ?? 1,
    heartbeatMs: settings.heartbeat.interval,
    gracefulMs: settings.gracefulMs,
    watchdog: options.watchdog ?? true,
    reports: options.reports,
    reportsOwner: options.reportsOwner,
  };
}
