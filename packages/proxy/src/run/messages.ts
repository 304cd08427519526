/** What master, process and threads of a proxy say to each other. */
import type { ResolvedConfig } from "../config/schema.ts";
import type { LogName } from "../log/batch.ts";

/** Given to the proxy process by its master. */
export interface ProcessInit {
  readonly config: ResolvedConfig;
  readonly threads: number;
  /** Private, exists. */
  readonly tempDirectory: string;
}

/** Master → process. */
export type ToProcess =
  | { readonly type: "reload"; readonly turn: number; readonly config: ResolvedConfig }
  | { readonly type: "reopen" };

/** Process → master. `error` is the reason why nothing was changed. */
export interface FromProcess {
  readonly type: "reloaded";
  readonly turn: number;
  readonly error: string | undefined;
}

/** A listening socket as a thread gets it: a descriptor of its own. */
export interface ThreadListener {
  readonly fd: number;
  readonly url: string;
  readonly backlog: number;
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
}

/** Process → thread. A configuration is compiled by `prepare` in every thread before `commit` puts it in force in any. */
export type ToThread =
  | { readonly type: "prepare"; readonly config: ResolvedConfig }
  | { readonly type: "commit" }
  | { readonly type: "discard" }
  | { readonly type: "drain"; readonly graceMs: number };

/** Thread → process. */
export type FromThread =
  | { readonly type: "ready" }
  | { readonly type: "prepared"; readonly error: string | undefined }
  | { readonly type: "committed" }
  | { readonly type: "drained" }
  | { readonly type: "log"; readonly log: LogName; readonly lines: string };
