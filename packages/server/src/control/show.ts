/** Results of commands for a person. */
import type { ControlCommand, ControlResults, ServerStatus, WorkerDump, WorkerStatus } from "./protocol.ts";

const KIB = 1_024;
const MINUTE_S = 60;
const HOUR_S = 3_600;
const DAY_S = 86_400;

type Show = { readonly [Command in ControlCommand]: (result: ControlResults[Command]) => string };

/** Without the last newline. */
export const SHOW: Show = {
  status: showStatus,
  workers: ({ workers }) => table(workers),
  scale: ({ wanted }) => `${wanted} worker${wanted === 1 ? "" : "s"}`,
  reload: ({ generation }) => `reloaded: generation ${generation} serves`,
  restart: ({ id, pid }) => `worker ${id} was replaced (pid ${pid} now)`,
  kill: ({ id, pid }) => `worker ${id} was killed (pid ${pid})`,
  dump: showDump,
  stop: ({ pid }) => `stopped (pid ${pid})`,
  profile: ({ file }) => file,
  heap: ({ file }) => file,
  metrics: ({ text }) => text.trimEnd(),
};

function showStatus(status: ServerStatus): string {
  const since = (Date.now() - Date.parse(status.startedAt)) / 1_000;
  return [
    `${status.name}, pid ${status.pid}, up ${duration(since)}, version ${status.serverVersion} on Node ${status.nodeVersion}`,
    `application  ${status.app} (${status.application}) in ${status.cwd}`,
    `listens on   ${status.addresses.join(", ")}`,
    `workers      ${status.workers.filter(({ state }) => state === "ready").length} of ${status.wanted} ready, generation ${status.generation}`,
    "",
    table(status.workers),
  ].join("\n");
}

function showDump({ id, pid, stack, reason, requests, doing, report }: WorkerDump): string {
  const lines = [`worker ${id} (pid ${pid})`, stack ?? `    no stack: ${reason ?? "nobody answered"}`];
  if (requests === null) lines.push(`its event loop does not answer${doing === null ? "" : `: ${doing}`}`);
  else if (requests.length === 0) lines.push("no request under way");
  else
    for (const request of requests)
      lines.push(`${String(request.age).padStart(8)} ms  ${request.method} ${request.target}  ${request.id}`);
  if (report !== null) lines.push(`diagnostic report: ${report}`);
  return lines.join("\n");
}

const HEAD = ["id", "pid", "gen", "state", "age", "requests", "in flight", "waiting", "links", "delay", "rss", "heap"];

function table(workers: readonly WorkerStatus[]): string {
  const rows = workers.map((worker) => [
    String(worker.id),
    String(worker.pid),
    String(worker.generation),
    worker.state,
    duration((Date.now() - Date.parse(worker.startedAt)) / 1_000),
    number(worker.requests),
    number(worker.inFlight),
    number(worker.waiting),
    String(worker.links),
    worker.lagMs === null ? "-" : `${worker.lagMs.toFixed(1)} ms`,
    bytes(worker.rss),
    bytes(worker.heapUsed),
  ]);
  const widths = HEAD.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  return [HEAD, ...rows]
    .map((row) =>
      row
        .map((cell, column) => (column === 3 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function number(value: number | null): string {
  return value === null ? "-" : String(value);
}

function bytes(value: number | null): string {
  if (value === null) return "-";
  return value < KIB ** 3 ? `${Math.round(value / KIB ** 2)} MiB` : `${(value / KIB ** 3).toFixed(1)} GiB`;
}

function duration(seconds: number): string {
  if (seconds < MINUTE_S) return `${Math.max(0, Math.round(seconds))}s`;
  if (seconds < HOUR_S)
    return `${Math.floor(seconds / MINUTE_S)}m${String(Math.floor(seconds % MINUTE_S)).padStart(2, "0")}s`;
  if (seconds < DAY_S)
    return `${Math.floor(seconds / HOUR_S)}h${String(Math.floor((seconds % HOUR_S) / MINUTE_S)).padStart(2, "0")}m`;
  return `${Math.floor(seconds / DAY_S)}d${Math.floor((seconds % DAY_S) / HOUR_S)}h`;
}
