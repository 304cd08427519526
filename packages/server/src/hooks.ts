/**
 * Functions that the configuration module may export as `hooks`, each called at its moment and in its process. Types,
 * validation and the reference page come from here.
 */
import type { Logger } from "@portico/gateway";
import type { EndKind } from "@portico/supervisor";
import { suggestion } from "@portico/supervisor/nearest";
import { PorticoServerError } from "./error.ts";
import type { RunningServer } from "./server.ts";

/** The master, for hooks that run in it. */
export interface HookServer extends Pick<RunningServer, "addresses" | "application" | "wanted" | "workers"> {
  readonly log: Logger;
}

/** A worker as the master knows it before it runs. */
export interface HookPlace {
  /** From 1; a replacement has the id of the one it replaces. */
  readonly id: number;
  readonly generation: number;
}

/** A worker that has ended. */
export interface HookEnd extends HookPlace {
  readonly pid: number;
  /** `told`: it left because it was told to; the others say whose doing it was. */
  readonly how: EndKind;
  /** One line. */
  readonly reason: string;
}

/** The worker, for hooks that run in it. */
export interface HookWorker extends HookPlace {
  readonly pid: number;
  readonly log: Logger;
}

/** A request, for the hooks around it. */
export interface HookRequest {
  readonly id: string;
  readonly method: string;
  /** As it came: path and query. */
  readonly target: string;
  readonly authority: string;
  /** Address of the client. */
  readonly client: string;
  /** Milliseconds since the epoch. */
  readonly receivedAt: number;
}

/** What came of a request. */
export interface HookOutcome {
  /** 0: none was begun. */
  readonly status: number;
  /** Body bytes that were handed over. */
  readonly bytes: number;
  readonly ms: number;
  /** Why it ended before it was done; undefined: it is done. */
  readonly aborted: string | undefined;
}

type Later = Promise<void> | void;

/** All of them optional. */
export interface ServerHooks {
  readonly onStarting?: (server: HookServer) => Later;
  readonly onReload?: (server: HookServer) => Later;
  readonly whenReady?: (server: HookServer) => Later;
  readonly preFork?: (server: HookServer, worker: HookPlace) => void;
  readonly childExit?: (server: HookServer, worker: HookEnd) => void;
  readonly workersChanged?: (server: HookServer, now: number, before: number) => void;
  readonly preExec?: (server: HookServer) => Later;
  readonly onExit?: (server: HookServer) => Later;
  readonly postFork?: (worker: HookWorker) => Later;
  readonly postWorkerInit?: (worker: HookWorker) => Later;
  readonly preRequest?: (worker: HookWorker, request: HookRequest) => void;
  readonly postRequest?: (worker: HookWorker, request: HookRequest, outcome: HookOutcome) => void;
  readonly workerInt?: (worker: HookWorker) => void;
  readonly workerAbort?: (worker: HookWorker) => void;
  readonly workerExit?: (worker: HookWorker) => Later;
}

export type HookName = keyof ServerHooks;

interface HookRow {
  readonly process: "master" | "worker";
  /** When it is called. */
  readonly moment: string;
  /** What its failure means; else it is logged, and nothing more. */
  readonly failure?: string;
}

/** In the order of a server's life. */
export const HOOKS: Readonly<Record<HookName, HookRow>> = {
  onStarting: { process: "master", moment: "Before anything is bound or started.", failure: "the start fails" },
  preFork: { process: "master", moment: "Before each worker process is started." },
  postFork: {
    process: "worker",
    moment: "The process runs; the application is not loaded yet.",
    failure: "the worker does not come up",
  },
  postWorkerInit: {
    process: "worker",
    moment: "The application is loaded and has started up; requests come after this.",
    failure: "the worker does not come up",
  },
  whenReady: { process: "master", moment: "The first workers are ready, and the addresses are served." },
  preRequest: { process: "worker", moment: "Before each request is given to the application. Must not wait." },
  postRequest: { process: "worker", moment: "After each request has ended, whole or not. Must not wait." },
  onReload: {
    process: "master",
    moment: "A reload begins: the new configuration is read, nothing has changed yet.",
    failure: "the reload fails, the old workers stay",
  },
  workersChanged: { process: "master", moment: "There are to be more workers, or fewer, and so there are." },
  preExec: {
    process: "master",
    moment: "Before the new master of an upgrade is started.",
    failure: "the upgrade fails",
  },
  workerInt: { process: "worker", moment: "It is told to leave without finishing (SIGINT or SIGQUIT to the master)." },
  workerAbort: {
    process: "worker",
    moment:
      "Its event loop has stood still for `timeout`, and it is about to be killed. Called on the thread that is stuck, where it is stuck: must not wait. Not where it is inside native code.",
  },
  workerExit: {
    process: "worker",
    moment: "The last thing before it leaves in order, after the application's shutdown.",
  },
  childExit: { process: "master", moment: "After each worker process has ended, however it did." },
  onExit: { process: "master", moment: "All workers are gone, and this process ends." },
};

/** Types the hooks of a configuration module: `export const hooks = defineHooks({ ... })`. Returns what it is given. */
export function defineHooks(hooks: ServerHooks): ServerHooks {
  return hooks;
}

/** @throws PorticoServerError `config`: an unknown name, or what is no function */
export function checkHooks(value: unknown, file: string): ServerHooks {
  if (typeof value !== "object" || value === null)
    throw new PorticoServerError("config", `${file}: hooks must be an object of functions`);
  for (const [name, hook] of Object.entries(value)) {
    if (!Object.hasOwn(HOOKS, name))
      throw new PorticoServerError("config", `${file}: unknown hook "${name}"${suggestion(name, Object.keys(HOOKS))}`);
    if (hook !== undefined && typeof hook !== "function")
      throw new PorticoServerError("config", `${file}: hooks.${name} must be a function`);
  }
  return value;
}
