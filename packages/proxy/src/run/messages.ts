/** What master, process and threads of a proxy say to each other. */
import type { ResolvedConfig } from "../config/schema.ts";
import type { LogName } from "../log/batch.ts";

/** A bound socket, as the configuration in force has it. */
export interface SocketOrder {
  /** Names the socket for as long as it is bound. */
  readonly key: string;
  /** Place in `listen`: its settings. */
  readonly index: number;
  readonly url: string;
  readonly backlog: number;
}

/** Given to the proxy process by its master. `sockets` are in the order of the listeners that it inherits. */
export interface ProcessInit {
  readonly config: ResolvedConfig;
  readonly threads: number;
  /** Private, exists. */
  readonly tempDirectory: string;
  readonly sockets: readonly SocketOrder[];
}

/** Master → process. */
export type ToProcess =
  /** Comes with a descriptor: one for each thread before the `reload` that opens it. */
  | { readonly type: "socket"; readonly turn: number; readonly key: string }
  /** All sockets from now on; those that were not sent before are open already, those that are missing are closed. */
  | {
      readonly type: "reload";
      readonly turn: number;
      readonly config: ResolvedConfig;
      readonly sockets: readonly SocketOrder[];
    }
  | { readonly type: "status"; readonly turn: number }
  | { readonly type: "reopen" };

/** Process → master. `error` is the reason why nothing was changed. */
export type FromProcess =
  | { readonly type: "reloaded"; readonly turn: number; readonly error: string | undefined }
  | { readonly type: "status"; readonly turn: number; readonly status: ProcessStatus };

/** What a process says of itself. */
export interface ProcessStatus {
  /** Client connections that are open. */
  readonly connections: number;
  /** Requests received since it started. */
  readonly requests: number;
  /** Resident memory, bytes. */
  readonly memory: number;
}

/** A listening socket as a thread gets it. */
export interface ThreadListener extends SocketOrder {
  /** A descriptor of its own, where it is to be opened; undefined: it is open. */
  readonly fd: number | undefined;
}

/** Given to each thread. */
export interface ThreadInit {
  readonly config: ResolvedConfig;
  /** From 0. */
  readonly thread: number;
  readonly threads: number;
  readonly tempDirectory: string;
  readonly listeners: readonly ThreadListener[];
  /** One Int32: client connections of all threads. */
  readonly connections: SharedArrayBuffer;
  /** Counts of requests under way, of all threads. */
  readonly zone: SharedArrayBuffer;
  /** One Int32 for each thread, which it counts up while its event loop turns. */
  readonly beats: SharedArrayBuffer;
}

/** Process → thread. A configuration is compiled by `prepare` in every thread before `commit` puts it in force in any. */
export type ToThread =
  | { readonly type: "prepare"; readonly config: ResolvedConfig; readonly listeners: readonly ThreadListener[] }
  | { readonly type: "commit" }
  | { readonly type: "discard" }
  | { readonly type: "count" }
  | { readonly type: "drain"; readonly graceMs: number };

/** Thread → process. */
export type FromThread =
  | { readonly type: "ready" }
  /** It cannot start; `code` is the system's (EADDRINUSE). */
  | { readonly type: "failed"; readonly error: string; readonly code: string | undefined }
  | { readonly type: "prepared"; readonly error: string | undefined }
  | { readonly type: "committed" }
  | { readonly type: "counted"; readonly requests: number }
  | { readonly type: "drained" }
  | { readonly type: "log"; readonly log: LogName; readonly lines: string };
