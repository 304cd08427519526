/**
 * One scenario: both sides up, warmed, then driven in turn (A B A B), and compared by CPU per request.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { drive } from "./load.ts";
import { BenchError, cpuMicroseconds, peakMemory, tree } from "./processes.ts";
import type { Scenario, System } from "./scenarios.ts";

export interface Pace {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmup: number;
}

/** Medians over the rounds of one side. */
export interface Side {
  /** CPU microseconds per request of every measured process. */
  readonly cpu: number;
  readonly requestsPerSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  /** MiB. */
  readonly peakMemory: number;
  readonly errors: number;
}

export interface Row {
  readonly scenario: string;
  /** CPU microseconds per request. */
  readonly ours: number;
  readonly peer: number;
  readonly peerName: string;
  readonly ratio: number;
  readonly due: number;
  readonly aim: number;
  /** Why the row counts for nothing; undefined when it counts. */
  readonly void?: string;
  readonly details?: { readonly ours: Side; readonly peer: Side };
}

export async function measure(scenario: Scenario, pace: Pace): Promise<Row> {
  const folder = mkdtempSync(join(tmpdir(), "portico-bench-"));
  const systems: System[] = [];
  const base = { scenario: scenario.name, peerName: scenario.peerName, due: scenario.due, aim: scenario.aim };
  try {
    const ours = await up(() => scenario.ours(join(folder, "ours")), join(folder, "ours"));
    systems.push(ours);
    const peer = await up(() => scenario.peer(join(folder, "peer")), join(folder, "peer"));
    systems.push(peer);
    for (const system of systems) {
      await correct(system);
      await drive(system.url, scenario.connections, pace.warmup);
    }
    const rounds: [Side[], Side[]] = [[], []];
    for (let round = 0; round < pace.rounds; round += 1) {
      rounds[0].push(await once(ours, scenario.connections, pace.seconds));
      rounds[1].push(await once(peer, scenario.connections, pace.seconds));
    }
    for (const system of systems) await correct(system);
    const details = { ours: medians(rounds[0]), peer: medians(rounds[1]) };
    const errors = details.ours.errors + details.peer.errors;
    const row = {
      ...base,
      ours: details.ours.cpu,
      peer: details.peer.cpu,
      ratio: details.ours.cpu / details.peer.cpu,
      details,
    };
    return errors > 0 ? { ...row, void: `errors: ours ${details.ours.errors}, peer ${details.peer.errors}` } : row;
  } catch (error) {
    return {
      ...base,
      ours: Number.NaN,
      peer: Number.NaN,
      ratio: Number.NaN,
      void: error instanceof Error ? error.message : String(error),
    };
  } finally {
    for (const system of systems) for (const each of system.all) await each.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function up(start: () => Promise<System>, folder: string): Promise<System> {
  const { mkdirSync } = await import("node:fs");
  mkdirSync(folder, { recursive: true });
  return start();
}

/** A row whose answers are wrong is worth nothing: the whole body is compared, not its length alone. */
async function correct(system: System): Promise<void> {
  const response = await fetch(system.url);
  const body = new Uint8Array(await response.arrayBuffer());
  if (response.status !== 200) throw new BenchError(`${system.url} answered ${response.status}`);
  if (Buffer.compare(body, system.body) !== 0)
    throw new BenchError(`${system.url} gave ${body.length} bytes that differ from the ${system.body.length} expected`);
}

async function once(system: System, connections: number, seconds: number): Promise<Side> {
  const pids = system.measured.flatMap(({ pid }) => tree(pid));
  const before = cpuMicroseconds(pids);
  const load = await drive(system.url, connections, seconds);
  const used = cpuMicroseconds(pids) - before;
  const short = load.bytesPerRequest < system.body.length * 0.99 ? 1 : 0; // wrk rounds its byte count to three digits
  return {
    cpu: used / load.requests,
    requestsPerSecond: load.requestsPerSecond,
    p50: load.p50,
    p99: load.p99,
    peakMemory: peakMemory(pids),
    errors: load.errors + short,
  };
}

function medians(sides: readonly Side[]): Side {
  const of = (key: keyof Side): number => median(sides.map((side) => side[key]));
  return {
    cpu: of("cpu"),
    requestsPerSecond: of("requestsPerSecond"),
    p50: of("p50"),
    p99: of("p99"),
    peakMemory: of("peakMemory"),
    errors: sides.reduce((sum, side) => sum + side.errors, 0),
  };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
