/**
 * Node's diagnostic reports of children that hung or ran out of memory. Written by the child, into a folder of its
 * user's own; read by the master, which learns from it what a SIGABRT meant.
 */
import type { Identity } from "./identity.ts";
import { chownSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { processState } from "./process-state.ts";
import { removeIfEmpty } from "./remove-if-empty.ts";

/** Kept of all reports in the folder, newest first: enough for an incident, and a bound. About 100 kB each. */
const MOST_REPORTS = 20;
const REPORT_NAME = /^portico-[a-z-]+-\d+(-\d+)?\.json$/;
const PRIVATE_MODE = 0o700;
const OTHERS_BITS = 0o077;

const fatalName = (pid: number): string => `portico-fatal-${pid}.json`;

/**
 * In the child: from now on a fatal error (the heap's limit) leaves a report, and {@link writeHangReport} can. Secrets
 * of the environment and name look-ups stay out of it. False: the folder cannot be made, or is somebody else's.
 */
export function prepareReports(folder: string, owner?: Identity): boolean {
  try {
    const made = mkdirSync(folder, { recursive: true, mode: PRIVATE_MODE });
    if (made !== undefined && owner !== undefined) chownSync(folder, owner.uid, owner.gid);
    const found = lstatSync(folder);
    if (!found.isDirectory() || found.uid !== (owner?.uid ?? process.geteuid?.()) || (found.mode & OTHERS_BITS) !== 0)
      return false;
  } catch {
    return false;
  }
  const report: NodeJS.ProcessReport & { excludeNetwork?: boolean } = process.report; // newer than its types
  report.directory = folder;
  report.filename = fatalName(process.pid);
  report.compact = true;
  report.excludeEnv = true;
  report.excludeNetwork = true;
  report.reportOnFatalError = true;
  return true;
}

/** In the child, on its stuck main thread: the report's path. */
export function writeHangReport(folder: string): string {
  mkdirSync(folder, { recursive: true, mode: PRIVATE_MODE }); // another server may have left it as empty
  prune(folder);
  return join(folder, process.report.writeReport(`portico-hang-${process.pid}-${Date.now()}.json`));
}

/** In the master: folders that others of its kind, killed before they could, have left empty. */
export function sweepReports(folder: string): void {
  const kind = /^(.*-)\d+$/.exec(basename(folder))?.[1];
  if (kind === undefined) return; // not named by process id: somebody's own
  const parent = dirname(folder);
  for (const name of existsSync(parent) ? readdirSync(parent) : []) {
    const pid = name.startsWith(kind) ? name.slice(kind.length) : "";
    if (/^\d+$/.test(pid) && processState(Number(pid)) === "gone") removeIfEmpty(join(parent, name));
  }
}

function prune(folder: string): void {
  const reports = readdirSync(folder)
    .filter((name) => REPORT_NAME.test(name))
    .map((name) => join(folder, name))
    .map((path) => ({ path, at: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .toSorted((a, b) => b.at - a.at);
  for (const { path } of reports.slice(MOST_REPORTS - 1)) rmSync(path, { force: true });
}

interface Report {
  readonly header?: { readonly event?: string; readonly trigger?: string };
  readonly javascriptStack?: { readonly stack?: readonly string[] };
}

/** In the master: what a child that aborted has left, if it says that memory was the reason. */
export function memoryReport(folder: string, pid: number): { report: string; stack: string | undefined } | undefined {
  const path = join(folder, fatalName(pid));
  let report: Report;
  try {
    report = JSON.parse(readFileSync(path, "utf8")) as Report;
  } catch {
    return undefined; // none, or not whole
  }
  if (!/out of memory|heap limit/i.test(`${report.header?.event} ${report.header?.trigger}`)) return undefined;
  const frames = report.javascriptStack?.stack?.filter((frame) => !/unavailable|empty/i.test(frame)) ?? [];
  return { report: path, stack: frames.length === 0 ? undefined : frames.map((frame) => `    ${frame}`).join("\n") };
}
