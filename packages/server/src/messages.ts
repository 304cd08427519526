/** What the server's master and its workers say to each other, beyond what the supervisor's protocol says. Plain data. */
import type { FunctionInterface } from "./application-kind.ts";
import type { LogOptions } from "./log.ts";
import type { ModuleSpecifier } from "./module-specifier.ts";

/** Everything a worker is started with. A reload sends a new one to the new workers. */
export interface WorkerInit {
  readonly module: ModuleSpecifier;
  readonly interface: FunctionInterface;
  readonly env: Readonly<Record<string, string>>;
  /** Requests at a time; 0: no limit. */
  readonly concurrency: number;
  /** HTTP requests that wait beyond it. */
  readonly queue: number;
  readonly keepAliveMs: number;
  /** How long the master waits for a worker that leaves. */
  readonly gracefulMs: number;
  readonly forwardedAllowIps: readonly string[];
  readonly linkSecret: string | undefined;
  /** Path, `-` for standard output, undefined: none. */
  readonly accessLog: string | undefined;
  readonly name: string;
  readonly log: LogOptions;
}

export type ToWorker =
  /** A connection of the link comes with this message; `secret`: it must prove that it knows the shared one; `unixPath`: where it came in, if on a unix socket. */
  | { readonly kind: "link"; readonly secret: boolean; readonly unixPath: string | undefined }
  | { readonly kind: "reopen-logs" };

export type FromWorker =
  /** Sent once, before the worker is ready. `asked`: where the program wanted to listen. */
  | { readonly kind: "loaded"; readonly application: string; readonly asked: readonly string[] }
  /** One of the links that the master passed on has ended. */
  | { readonly kind: "link-closed" }
  /** The worker takes no new connections any more, and will exit. */
  | { readonly kind: "leaving" };
