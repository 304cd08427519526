/** Everything a child is started with, and how it is handed to the new process. */
import type { StdioOptions } from "node:child_process";
import type { Identity } from "./identity.ts";
import type { BoundListener } from "./listener.ts";
import { WATCH_FD } from "./messages.ts";
import type { InitMessage } from "./messages.ts";

export interface ChildSpec {
  readonly entry: string;
  readonly execArgv: readonly string[];
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv | undefined;
  readonly cwd: string | undefined;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  readonly umask: number | undefined;
  readonly init: unknown;
  readonly generation: number;
  readonly listeners: readonly BoundListener[];
  /** Descriptors per listener. */
  readonly copies: number;
  readonly heartbeatMs: number;
  readonly gracefulMs: number;
  readonly watchdog: boolean;
  /** Folder for diagnostic reports; undefined: none are written. */
  readonly reports: string | undefined;
  /** Whose the folder is to be; undefined: the child's as it starts. */
  readonly reportsOwner: Identity | undefined;
}

/** Standard streams, the IPC channel, the watch pipe, then the listening sockets. */
export function stdioOf(spec: ChildSpec, piped: boolean): StdioOptions {
  const output = piped ? "pipe" : "inherit";
  const sockets = spec.listeners.flatMap((listener) => Array.from({ length: spec.copies }, () => listener.fd));
  return ["ignore", output, output, "ipc", "pipe", ...sockets];
}

/** The child's first message. */
export function initMessage(spec: ChildSpec, place: { id: number; slot: number; count: number }): InitMessage {
  const first = WATCH_FD + 1;
  return {
    portico: "init",
    init: spec.init,
    id: place.id,
    slot: place.slot,
    generation: spec.generation,
    count: place.count,
    listeners: spec.listeners.map((listener, index) => {
      const fds = Array.from({ length: spec.copies }, (_, copy) => first + index * spec.copies + copy);
      return {
        fd: first + index * spec.copies,
        fds,
        address: listener.address,
        url: listener.url,
        backlog: listener.backlog,
      };
    }),
    heartbeatMs: spec.heartbeatMs,
    gracefulMs: spec.gracefulMs,
    watchdog: spec.watchdog,
    reports: spec.reports,
    reportsOwner: spec.reportsOwner,
    umask: spec.umask,
  };
}
