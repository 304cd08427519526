/**
 * In the worker: answers what the master asks of it for a person. Loaded when the first such question comes.
 * Files are made for the workers' user alone, because profiles and heaps hold what the application holds.
 */
import { createWriteStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { Session } from "node:inspector/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { getHeapSnapshot } from "node:v8";
import { PorticoServerError } from "./error.ts";

/** The owner's alone. */
const FILE_MODE = 0o600;
const MS = 1_000;
/** Samples' distance, microseconds. V8's default is 1,000; a tenth of it finds short functions, and costs a few percent. */
const SAMPLE_US = 200;

let profiling = false;

/** Takes a CPU profile of this process. Resolves with the file's path. */
export async function takeProfile(seconds: number, file: string | undefined): Promise<string> {
  if (profiling) throw new PorticoServerError("control", "a profile of this worker is being taken already");
  profiling = true;
  const session = new Session();
  session.connect();
  try {
    await session.post("Profiler.enable");
    await session.post("Profiler.setSamplingInterval", { interval: SAMPLE_US });
    await session.post("Profiler.start");
    await new Promise((wake) => setTimeout(wake, seconds * MS));
    const { profile } = await session.post("Profiler.stop");
    return await writeNew(file ?? unnamed("cpuprofile"), JSON.stringify(profile));
  } finally {
    profiling = false;
    session.disconnect();
  }
}

/** Takes a heap snapshot. The event loop stands still until V8 has made it; it is written to the file after that. */
export async function takeHeapSnapshot(file: string | undefined): Promise<string> {
  const path = file ?? unnamed("heapsnapshot");
  // The file first: what cannot be written need not be made.
  const target = await openNew(path);
  await pipeline(getHeapSnapshot(), createWriteStream(path, { fd: target }));
  return path;
}

/** Node's diagnostic report: stacks, heap, libuv handles, limits. Without the environment, which holds secrets. */
export async function writeReport(file: string | undefined): Promise<string> {
  const report = process.report.getReport() as unknown as Record<string, unknown>;
  delete report["environmentVariables"];
  return await writeNew(file ?? unnamed("report.json"), JSON.stringify(report, null, 2));
}

export async function sizeOf(file: string): Promise<number> {
  return (await stat(file)).size;
}

async function writeNew(path: string, text: string): Promise<string> {
  const file = await openNew(path);
  try {
    await file.writeFile(text);
  } finally {
    await file.close();
  }
  return path;
}

/** Never over a file that is there: in a folder that others can write to it could be a link to something dear. */
async function openNew(path: string): ReturnType<typeof open> {
  try {
    return await open(path, "wx", FILE_MODE);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reasons: Readonly<Record<string, string>> = {
      EEXIST: "it is there already",
      EACCES: "the workers' user may not write there",
      ENOENT: "there is no such folder",
    };
    throw new PorticoServerError("control", `cannot write ${path}: ${reasons[code ?? ""] ?? message}`, {
      cause: error,
    });
  }
}

function unnamed(kind: string): string {
  const time = new Date().toISOString().replaceAll(/[-:]|\.\d+Z$/g, "");
  return join(tmpdir(), `portico-${process.pid}-${time}-${Math.random().toString(36).slice(2, 8)}.${kind}`);
}
