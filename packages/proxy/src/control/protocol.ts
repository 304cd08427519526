/**
 * What a running proxy and the commands that ask it say to each other, over a unix socket.
 *
 * One line of JSON asks, one line answers, and the connection is closed: `{"command":"status"}` and
 * `{"version":1,"result":{…}}`, or `{"version":1,"error":{"code","message","exitCode"}}`. The results are what `--json`
 * prints, and stable: within a version fields are added, never changed or taken away.
 */
export const CONTROL_VERSION = 1;

export type ControlCommand = "status" | "reload" | "stop";

export interface ControlQuestion {
  readonly command: ControlCommand;
  /** Of `stop`: do not wait for what is under way. */
  readonly quick?: boolean;
}

/** What a running proxy says of itself. */
export interface ProxyStatus {
  /** Of the master. */
  readonly pid: number;
  /** Of `@portico/proxy`. */
  readonly proxyVersion: string;
  /** Absolute. */
  readonly config: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly addresses: readonly string[];
  readonly sites: number;
  readonly routes: number;
  readonly upstreams: number;
  readonly threads: number;
  /** Reloads that were put in force, and the last that was refused since. */
  readonly reloads: number;
  readonly refused: { readonly at: string; readonly reason: string } | null;
  /** The process that serves; null: there is none at the moment. */
  readonly process: {
    readonly pid: number;
    readonly connections: number;
    readonly requests: number;
    /** Resident, bytes. */
    readonly memory: number;
  } | null;
}

export interface ControlResults {
  readonly status: ProxyStatus;
  readonly reload: { readonly sites: number; readonly routes: number; readonly addresses: readonly string[] };
  readonly stop: { readonly pid: number };
}

export interface ControlFailure {
  readonly code: string;
  readonly message: string;
  readonly exitCode: number;
}

export type ControlAnswer<Command extends ControlCommand> =
  | { readonly version: number; readonly result: ControlResults[Command] }
  | { readonly version: number; readonly error: ControlFailure };
