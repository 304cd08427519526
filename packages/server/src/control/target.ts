/** What the commands do to a running server. */
import type { StackReport } from "@portico/supervisor";
import { PorticoServerError } from "../error.ts";
import { applicationFrames } from "../source-line.ts";
import { packageVersion } from "../package-version.ts";
import type { RunningServer, WorkerInfo } from "../server.ts";
import type { ControlQuestion, ControlTarget, ServerStatus, WorkerDump, WorkerStatus } from "./protocol.ts";

/** For a worker's figures: a blocked one does not answer, and must not keep the table from its reader. */
const FIGURES_MS = 1_000;
const DEFAULT_PROFILE_SECONDS = 10;

/** What the program around the server does itself, because it is more than the server's business. */
export interface ControlActions {
  /** Reads the configuration again, and reloads. */
  reload(): Promise<void>;
  /** Resolves when nothing is left. */
  stop(mode: "graceful" | "quick"): Promise<void>;
  metrics(server: RunningServer): string;
}

export interface ServerFacts {
  readonly name: string;
  readonly app: string;
  readonly cwd: string;
}

/** @param server undefined until it has begun to start */
export function controlTarget(
  server: () => RunningServer | undefined,
  facts: () => ServerFacts,
  actions: ControlActions,
): ControlTarget {
  const startedAt = new Date().toISOString();
  const running = (): RunningServer => {
    const found = server();
    if (found === undefined) throw new PorticoServerError("control", "the server is not up yet");
    return found;
  };
  return {
    status: async () => await statusOf(running(), facts(), startedAt),
    workers: async () => ({ workers: await workersOf(running()) }),
    async scale({ workers }) {
      if (!Number.isInteger(workers) || workers! < 1) throw wrong("scale", "workers: a whole number from 1");
      await running().scale(workers!);
      return { wanted: workers! };
    },
    async reload() {
      await actions.reload();
      return { generation: generationOf(running()) };
    },
    async restart(question) {
      const { id } = workerOf(running(), idOf(question));
      await running().restart(id);
      return { id, pid: workerOf(running(), id).pid };
    },
    async kill(question) {
      const { id, pid } = workerOf(running(), idOf(question));
      await running().kill(id);
      return { id, pid };
    },
    dump: async (question) => await dumpOf(running(), question),
    async stop({ quick }) {
      await actions.stop(quick === true ? "quick" : "graceful");
      return { pid: process.pid };
    },
    async profile(question) {
      const id = idOf(question);
      const { pid } = workerOf(running(), id);
      const seconds = question.seconds ?? DEFAULT_PROFILE_SECONDS;
      return { id, pid, ...(await running().ask(pid, { what: "profile", seconds, file: question.file })) };
    },
    async heap(question) {
      const id = idOf(question);
      const { pid } = workerOf(running(), id);
      return { id, pid, ...(await running().ask(pid, { what: "heap", file: question.file })) };
    },
    metrics: () => Promise.resolve({ text: actions.metrics(running()) }),
  };
}

async function statusOf(server: RunningServer, facts: ServerFacts, startedAt: string): Promise<ServerStatus> {
  return {
    pid: process.pid,
    name: facts.name,
    serverVersion: packageVersion(),
    nodeVersion: process.versions.node,
    startedAt,
    cwd: facts.cwd,
    app: facts.app,
    application: server.application,
    addresses: server.addresses,
    generation: generationOf(server),
    wanted: server.wanted,
    workers: await workersOf(server),
  };
}

function workersOf(server: RunningServer): Promise<WorkerStatus[]> {
  return Promise.all(
    server.workers().map(async (worker) => {
      const figures =
        worker.state === "starting"
          ? undefined
          : await server.ask(worker.pid, { what: "facts" }, FIGURES_MS).catch(() => undefined);
      return {
        id: worker.id,
        pid: worker.pid,
        generation: worker.generation,
        state: worker.state,
        startedAt: new Date(worker.startedAt).toISOString(),
        readyAt: worker.readyAt === undefined ? null : new Date(worker.readyAt).toISOString(),
        links: worker.links,
        requests: figures?.requests ?? null,
        inFlight: figures?.inFlight ?? null,
        waiting: figures?.waiting ?? null,
        lagMs: worker.lag ?? null,
        rss: worker.rss ?? null,
        heapUsed: figures?.heapUsed ?? null,
      };
    }),
  );
}

async function dumpOf(server: RunningServer, question: ControlQuestion): Promise<WorkerDump> {
  const id = idOf(question);
  const { pid } = workerOf(server, id);
  const found = await server.stack(pid); // before it is asked: else it would be found answering
  const requests = await server.ask(pid, { what: "requests" }, FIGURES_MS).catch(() => null);
  const report =
    question.report === true && requests !== null
      ? (await server.ask(pid, { what: "report", file: question.file })).file
      : null;
  return {
    id,
    pid,
    ...stackOf(found),
    requests,
    doing: requests === null ? (found?.doing ?? null) : null,
    report,
  };
}

/** A stack without a frame of the application is that of the heartbeat, or of the request for the stack. */
function stackOf(report: StackReport | undefined): Pick<WorkerDump, "stack" | "reason"> {
  if (report === undefined) return { stack: null, reason: "nothing in the process answers: it is stopped, or dead" };
  if (report.stack === undefined) return { stack: null, reason: report.reason ?? "unknown" };
  if (applicationFrames(report.stack) === undefined)
    return { stack: null, reason: "no JavaScript of the application runs: its event loop waits" };
  return { stack: report.stack, reason: null };
}

function generationOf(server: RunningServer): number {
  return Math.max(
    0,
    ...server
      .workers()
      .filter(({ state }) => state === "ready")
      .map(({ generation }) => generation),
  );
}

function workerOf(server: RunningServer, id: number): WorkerInfo {
  const workers = server.workers().filter((worker) => worker.id === id);
  const worker = workers.find(({ state }) => state === "ready") ?? workers[0];
  if (worker !== undefined) return worker;
  const ids = [...new Set(server.workers().map((other) => other.id))].toSorted((a, b) => a - b);
  throw new PorticoServerError("control", `there is no worker ${id} (there are: ${ids.join(", ") || "none"})`);
}

function idOf({ command, id }: ControlQuestion): number {
  if (!Number.isInteger(id) || id! < 1) throw wrong(command, "id: a whole number from 1");
  return id!;
}

function wrong(command: string, expected: string): PorticoServerError {
  return new PorticoServerError("usage", `${command} takes ${expected}`);
}
