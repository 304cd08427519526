/** What master and child say to each other over the IPC channel and over the watch pipe. Private to this package. */
import type { ListenAddress } from "./address.ts";
import type { Identity } from "./identity.ts";

/** `graceful`: finish what is under way. `quick`: close now, in order. `kill`: SIGKILL. */
export type StopMode = "graceful" | "quick" | "kill";

/** A listening socket as the child sees it. */
export interface InheritedListener {
  /** The first of `fds`. */
  readonly fd: number;
  /** One descriptor per accepting thread, all of the same socket. Each must be given to exactly one `server.listen({ fd })`, which then owns and closes it. */
  readonly fds: readonly number[];
  readonly address: ListenAddress;
  readonly url: string;
  /** Pass to `listen`: connections that may wait in the kernel. */
  readonly backlog: number;
}

/** An error that crossed the process border. */
export interface ChildFailure {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly code: string | undefined;
  /** What the child exits with: 3 it did not boot, 4 the application did not load. */
  readonly exitCode: number;
}

export interface InitMessage {
  readonly portico: "init";
  readonly init: unknown;
  readonly id: number;
  readonly slot: number;
  readonly generation: number;
  readonly count: number;
  readonly listeners: readonly InheritedListener[];
  readonly heartbeatMs: number;
  readonly gracefulMs: number;
  readonly watchdog: boolean;
  /** Folder for diagnostic reports; undefined: none are written. */
  readonly reports: string | undefined;
  /** Whose the folder is to be; undefined: the child's as it starts. */
  readonly reportsOwner: Identity | undefined;
  readonly umask: number | undefined;
}

export type ToChild =
  | InitMessage
  | { readonly portico: "drain"; readonly mode: "graceful" | "quick" }
  | { readonly portico: "count"; readonly count: number }
  /** No replacement came up for a child that asked to retire: it goes on, and may ask again. */
  | { readonly portico: "stay" }
  | { readonly portico: "message"; readonly body: unknown };

/** Sent with every beat of the child's event loop. */
export interface Beat {
  /** How late the event loop ran the beat, milliseconds. */
  readonly lagMs: number;
  /** Resident memory, bytes. */
  readonly rss: number;
}

export type FromChild =
  | { readonly portico: "ready" }
  | { readonly portico: "failed"; readonly failure: ChildFailure }
  | ({ readonly portico: "beat" } & Beat)
  | { readonly portico: "retire"; readonly reason: string }
  | { readonly portico: "message"; readonly body: unknown };

/** What the watchdog thread found out about a main thread that does not answer. */
export interface StackReport {
  /** The JavaScript stack, one frame a line as in `Error.stack`; undefined: none could be taken, `reason` says why. */
  readonly stack: string | undefined;
  /** What the child says it was doing (see `ChildRuntime.describe`). */
  readonly doing: string | undefined;
  /** Path of the diagnostic report, where one was asked for and written. */
  readonly report: string | undefined;
  readonly reason: string | undefined;
}

/** `stack`: where is it? `hang`: the same, and a diagnostic report, because it is about to be killed. */
export type WatchQuestion = "stack" | "hang";

/** Index in `stdio` of the watch pipe; the IPC channel is before it, the listeners are after it. */
export const WATCH_FD = 4;

/** Where the child leaves the function that says what it is doing, for the watchdog to call while the main thread is stuck. */
export const DESCRIBE_KEY = "portico.supervisor.describe";

/** As `DESCRIBE_KEY`: the function that writes a diagnostic report, and gives its path. */
export const REPORT_KEY = "portico.supervisor.report";

/** Longest the watchdog tries to get a stack, milliseconds: a debugger attaches in about 60 on a busy loop. */
export const STACK_WAIT_MS = 1_500;

/** First line of the watchdog's answer, sent at once; the report is the second. */
export const ALIVE = "alive";

export function isFromChild(message: unknown): message is FromChild {
  return typeof message === "object" && message !== null && "portico" in message;
}
