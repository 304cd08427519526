/**
 * What a running server and the commands that ask it say to each other, over a unix socket.
 *
 * One line of JSON asks, one line answers, and the connection is closed: `{"command":"scale","workers":4}` and
 * `{"version":1,"result":{…}}`, or `{"version":1,"error":{"code","message","detail","exitCode"}}`. The results are
 * what `--json` prints, and stable: within a version fields are added, never changed or taken away.
 */
import type { PorticoServerError } from "../error.ts";

/** Of the results' shapes. */
export const CONTROL_VERSION = 1;

/** Longer questions are no questions, bytes. */
export const MOST_QUESTION_BYTES = 64 * 1024;

/** One worker process. */
export interface WorkerStatus {
  /** From 1; a replacement has the id of the one it replaces. */
  readonly id: number;
  readonly pid: number;
  readonly generation: number;
  readonly state: "starting" | "ready" | "draining" | "gone";
  /** ISO 8601 */
  readonly startedAt: string;
  /** ISO 8601; null while it starts. */
  readonly readyAt: string | null;
  /** Link connections that it holds. */
  readonly links: number;
  /** Requests that it has begun; null where it did not answer in time (it is blocked, or starts). */
  readonly requests: number | null;
  /** Requests under way; null as before. */
  readonly inFlight: number | null;
  /** Requests that wait for a turn, where `concurrency` is limited; null as before. */
  readonly waiting: number | null;
  /** How late its event loop was at the last beat, milliseconds; null before the first. */
  readonly lagMs: number | null;
  /** Resident memory at the last beat, bytes; null before the first. */
  readonly rss: number | null;
  /** JavaScript heap in use, bytes; null where it did not answer. */
  readonly heapUsed: number | null;
}

/** `status` */
export interface ServerStatus {
  readonly pid: number;
  readonly name: string;
  /** Of `@portico/server`. */
  readonly serverVersion: string;
  readonly nodeVersion: string;
  /** ISO 8601 */
  readonly startedAt: string;
  readonly cwd: string;
  /** MODULE as it was written. */
  readonly app: string;
  /** What it turned out to be: `express`, `fetch`, `tsgi`. */
  readonly application: string;
  readonly addresses: readonly string[];
  /** Counted up by each reload. */
  readonly generation: number;
  /** How many workers there should be. */
  readonly wanted: number;
  readonly workers: readonly WorkerStatus[];
}

/** A request under way. */
export interface RequestStatus {
  readonly id: string;
  readonly method: string;
  readonly target: string;
  /** Milliseconds since it was received. */
  readonly age: number;
}

/** `dump ID` */
export interface WorkerDump {
  readonly id: number;
  readonly pid: number;
  /** The JavaScript stack its main thread is in, one frame a line; null where it runs none. */
  readonly stack: string | null;
  /** Why there is no stack; null where there is one. */
  readonly reason: string | null;
  /** Oldest first; null where its event loop did not answer: `doing` says what it was at, in words. */
  readonly requests: readonly RequestStatus[] | null;
  readonly doing: string | null;
  /** Node's diagnostic report, where it was asked for and the event loop answers: a file. */
  readonly report: string | null;
}

/** `profile ID`, `heap ID` */
export interface WrittenFile {
  readonly id: number;
  readonly pid: number;
  /** Absolute; readable by the workers' user alone. */
  readonly file: string;
  readonly bytes: number;
}

/** Command → what comes of it. */
export interface ControlResults {
  status: ServerStatus;
  workers: { readonly workers: readonly WorkerStatus[] };
  scale: { readonly wanted: number };
  reload: { readonly generation: number };
  restart: { readonly id: number; readonly pid: number };
  kill: { readonly id: number; readonly pid: number };
  dump: WorkerDump;
  stop: { readonly pid: number };
  profile: WrittenFile;
  heap: WrittenFile;
  metrics: { readonly text: string };
}

export type ControlCommand = keyof ControlResults;

/** What a command is asked with; which of them it takes, its row in `commands.ts` says. */
export interface ControlQuestion {
  readonly command: ControlCommand;
  /** scale */
  readonly workers?: number | undefined;
  /** restart, kill, dump, profile, heap */
  readonly id?: number | undefined;
  /** profile: how long, seconds. */
  readonly seconds?: number | undefined;
  /** profile, heap, dump: absolute path of the file to write. */
  readonly file?: string | undefined;
  /** dump: with a diagnostic report. */
  readonly report?: boolean | undefined;
  /** stop: do not wait for requests under way. */
  readonly quick?: boolean | undefined;
}

export type ControlAnswer<Command extends ControlCommand = ControlCommand> =
  | { readonly version: number; readonly result: ControlResults[Command] }
  | { readonly version: number; readonly error: ControlFailure };

export interface ControlFailure {
  /** Of the table of errors in the reference. */
  readonly code: string;
  readonly message: string;
  readonly detail: string | null;
  /** What the command exits with. */
  readonly exitCode: number;
}

export function failureOf(error: unknown): ControlFailure {
  const { code, detail, exitCode } = error as Partial<PorticoServerError>;
  return {
    code: typeof code === "string" ? code : "internal",
    message: error instanceof Error ? error.message : String(error),
    detail: typeof detail === "string" ? detail : null,
    exitCode: typeof exitCode === "number" && exitCode > 0 ? exitCode : 1,
  };
}

/** What answers a command; the master of `portico-server`, or that of `portico`. */
export type ControlTarget = {
  readonly [Command in ControlCommand]: (question: ControlQuestion) => Promise<ControlResults[Command]>;
};
