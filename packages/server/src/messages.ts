/** What the server's master and its workers say to each other, beyond what the supervisor's protocol says. Plain data. */
import type { Identity } from "@portico/supervisor";
import type { FunctionInterface } from "./application-kind.ts";
import type { LogOptions } from "./log.ts";
import type { WorkerReport } from "./metrics/registry.ts";
import type { ModuleSpecifier } from "./module-specifier.ts";
import type { RequestUnderWay } from "./under-way.ts";

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
  /** `FOLDER=LOCATION` of the front. */
  readonly accel: readonly string[];
  /** Who the worker becomes before it loads the application; undefined: as the master. */
  readonly identity: Identity | undefined;
  /** Where compiled code is kept, for a worker that becomes somebody else; others have it from their environment. */
  readonly compileCache: string | undefined;
  /** URLs of the listeners whose connections begin with a PROXY protocol header. */
  readonly proxied: readonly string[];
  /** Path, `-` for standard output, undefined: none. */
  readonly accessLog: string | undefined;
  readonly accessLogFormat: "json" | "combined";
  /** `--reload`: loaded files are told, failures are shown in the browser. */
  readonly development: boolean;
  /** Statuses and durations are counted, and told every second. */
  readonly metrics: boolean;
  readonly name: string;
  readonly log: LogOptions;
  readonly retirement: RetirementLimits;
  /** The configuration module, where it has hooks that run in workers. */
  readonly hooks: string | undefined;
}

/** When a worker asks to be replaced; 0 each: never. */
export interface RetirementLimits {
  readonly maxRequests: number;
  /** Up to so many more, by chance. */
  readonly maxRequestsJitter: number;
  readonly maxLifetimeMs: number;
  /** Bytes */
  readonly maxRss: number;
  /** Bytes */
  readonly maxHeap: number;
}

export type ToWorker =
  /** A connection of the link comes with this message; `secret`: it must prove that it knows the shared one; `unixPath`: where it came in, if on a unix socket. */
  | { readonly kind: "link"; readonly secret: boolean; readonly unixPath: string | undefined }
  | { readonly kind: "reopen-logs" }
  /** With `--reload`: what is on the disk now does not come up. */
  | { readonly kind: "broken"; readonly text: string }
  /** For a person; `number` comes back with the answer. */
  | { readonly kind: "ask"; readonly number: number; readonly question: WorkerQuestion }
  /** A connection of a sibling's link comes with this message. */
  | { readonly kind: "sibling" }
  /** Answers `find-session`; undefined: nobody has opened it. */
  | { readonly kind: "session-found"; readonly key: string; readonly owner: number | undefined };

export type FromWorker =
  /** Sent once, before the worker is ready. `asked`: where the program wanted to listen. */
  | { readonly kind: "loaded"; readonly application: string; readonly asked: readonly string[] }
  /** One of the links that the master passed on has ended. */
  | { readonly kind: "link-closed" }
  /** A session of clients was opened here: its later requests are for this worker. */
  | { readonly kind: "session-opened"; readonly key: string }
  /** Whose session is this? */
  | { readonly kind: "find-session"; readonly key: string }
  /** One end of a connection comes with this message, for the process of that number. */
  | { readonly kind: "introduce"; readonly to: number }
  /** The worker takes no new connections any more, and will exit. */
  | { readonly kind: "leaving" }
  /** With `--reload`: files that were loaded. */
  | { readonly kind: "files"; readonly files: readonly string[] }
  /** What it has counted so far, where it counts. */
  | { readonly kind: "counts"; readonly report: WorkerReport }
  /** To a question; `failure`: why there is no result. */
  | { readonly kind: "answer"; readonly number: number; readonly result?: unknown; readonly failure?: string };

/** What can be asked of a worker. Files are paths; undefined: one in the temporary folder. */
export type WorkerQuestion =
  | { readonly what: "facts" }
  | { readonly what: "requests" }
  | { readonly what: "report"; readonly file: string | undefined }
  | { readonly what: "profile"; readonly seconds: number; readonly file: string | undefined }
  | { readonly what: "heap"; readonly file: string | undefined };

/** Question → answer. */
export interface WorkerResults {
  facts: WorkerFigures;
  requests: readonly RequestUnderWay[];
  report: WrittenBytes;
  profile: WrittenBytes;
  heap: WrittenBytes;
}

export interface WorkerFigures {
  /** Begun since the worker started. */
  readonly requests: number;
  readonly inFlight: number;
  readonly waiting: number;
  /** Bytes */
  readonly heapUsed: number;
}

export interface WrittenBytes {
  readonly file: string;
  readonly bytes: number;
}
