/**
 * The load generator, wrk, on a core of its own, and what it reports.
 */
import { spawn } from "node:child_process";
import { BenchError, LOAD_CORE } from "./processes.ts";

export interface Load {
  readonly requests: number;
  readonly requestsPerSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  /** Non-2xx answers and socket errors. */
  readonly errors: number;
  /** Mean bytes read for one answer, head included. */
  readonly bytesPerRequest: number;
}

/** Drives a URL with a number of keep-alive connections for some seconds. */
export async function drive(url: string, connections: number, seconds: number): Promise<Load> {
  const args = [
    "-c",
    LOAD_CORE,
    "wrk",
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    "--timeout",
    "10s",
    "--latency",
    url,
  ];
  const child = spawn("taskset", args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  if (code !== 0) throw new BenchError(`wrk ended with ${code}: ${output.trim()}`);
  return readReport(output);
}

export function readReport(output: string): Load {
  const requests = Number(/(\d+) requests in/.exec(output)?.[1] ?? Number.NaN);
  const bytes = amount(/requests in [^,]+, ([\d.]+)([KMGT]?B) read/.exec(output), {
    B: 1,
    KB: 1_024,
    MB: 1_024 ** 2,
    GB: 1_024 ** 3,
    TB: 1_024 ** 4,
  });
  const socketErrors =
    /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output)?.slice(1) ?? [];
  return {
    requests,
    requestsPerSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(output)?.[1] ?? Number.NaN),
    p50: milliseconds(/\s50%\s+([\d.]+)(us|ms|s|m)\b/.exec(output)),
    p99: milliseconds(/\s99%\s+([\d.]+)(us|ms|s|m)\b/.exec(output)),
    errors:
      Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0) +
      socketErrors.reduce((sum, each) => sum + Number(each), 0),
    bytesPerRequest: bytes / requests,
  };
}

function milliseconds(match: RegExpExecArray | null): number {
  return amount(match, { us: 0.001, ms: 1, s: 1_000, m: 60_000 });
}

function amount(match: RegExpExecArray | null, units: Record<string, number>): number {
  return match === null ? Number.NaN : Number(match[1]) * (units[match[2]!] ?? Number.NaN);
}
