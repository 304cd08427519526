/**
 * How cost and memory grow: with connections, with the size of bodies, with idle connections.
 *
 *     node --conditions=@portico/source test/bench/growth.ts [--only SECTION]
 *
 * Writes docs/benchmarks-growth.md where all sections ran. Exit codes: 0 measured, 1 something is above what is due, 2 wrong usage.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { files, foreign, nodeHttp, type Running, stack } from "./growth-systems.ts";
import { drive } from "./load.ts";
import { median } from "./measure.ts";
import { PeakWatch, resident } from "../support/memory.ts";
import { cpuMicroseconds, LOAD_CORE, which } from "./processes.ts";
import { Connection, IdleConnections } from "../support/transfer.ts";

const BODIES_APP = join(import.meta.dirname, "../fixtures/apps/bodies.ts");
const FETCH_APP = join(import.meta.dirname, "targets/fetch.ts");
const CONNECTIONS = [1, 8, 64, 256, 1_000];
const KIB = 1_024;
const MIB = 1_048_576;
/** Body sizes, each with how many requests are measured: enough for a stable figure, few enough for a minute in all. */
const BODIES: readonly (readonly [number, number])[] = [
  [0, 3_000],
  [KIB, 3_000],
  [MIB, 100],
  [100 * MIB, 3],
];
const GIB = 1_024 * MIB;
const IDLE = 10_000;
const ROUNDS = 3;
const SECONDS = 2;

/** What is due (docs: performance). */
const DUE = { riseMiB: 64, idleRatio: 0.7, idleLoss: 0.15 };

const misses: string[] = [];

interface Section {
  readonly title: string;
  run(folder: string): Promise<string>;
}

/** Lets a system run for as long as it is used, in a folder of its own. */
async function using<Result>(running: Promise<Running>, use: (running: Running) => Promise<Result>): Promise<Result> {
  const system = await running;
  try {
    return await use(system);
  } finally {
    for (const each of system.launched) await each.stop();
  }
}

function pidsOf(system: Running): number[] {
  return [...system.processes().keys()];
}

/** CPU µs and requests a second under load, medians. */
async function load(
  system: Running,
  path: string,
  connections: number,
  rounds = ROUNDS,
): Promise<{ cpu: number; rate: number }> {
  const results: { cpu: number; rate: number }[] = [];
  const pids = pidsOf(system);
  for (let round = 0; round < rounds; round++) {
    const before = cpuMicroseconds(pids);
    const { requests, requestsPerSecond, errors } = await drive(
      `http://127.0.0.1:${system.port}${path}`,
      connections,
      SECONDS,
    );
    if (errors > 0) misses.push(`${errors} errors with ${connections} connections`);
    results.push({ cpu: (cpuMicroseconds(pids) - before) / requests, rate: requestsPerSecond });
  }
  return { cpu: median(results.map(({ cpu }) => cpu)), rate: median(results.map(({ rate }) => rate)) };
}

const connections: Section = {
  title: "Connections",
  async run(folder) {
    const rows = new Map(CONNECTIONS.map((count) => [count, [`${count}`]]));
    const measure = (system: Promise<Running>, path: string): Promise<void> =>
      using(system, async (each) => {
        await load(each, path, 64, 1);
        for (const count of CONNECTIONS) {
          const { cpu, rate } = await load(each, path, count);
          rows.get(count)!.push(cpu.toFixed(1), String(Math.round(rate)));
        }
      });
    await measure(files(folder, [KIB]), `/${KIB}`);
    await measure(stack(FETCH_APP, undefined, folder), "/");
    return table(
      ["connections", "static 1 KiB, CPU µs", "requests/s", "whole stack, CPU µs", "requests/s"],
      [...rows.values()],
    );
  },
};

const bodies: Section = {
  title: "Bodies",
  async run(folder) {
    const rows: string[][] = BODIES.map(([size]) => [sizeName(size)]);
    const measure = async (
      system: Running,
      request: (connection: Connection, size: number) => Promise<void>,
    ): Promise<void> => {
      const pids = pidsOf(system);
      for (const [index, [size, count]] of BODIES.entries()) {
        let connection = await Connection.open(system.port);
        let asked = 0;
        const ask = async (): Promise<void> => {
          // Before the server closes it: a connection has 1,000 requests.
          if (++asked % 900 === 0) {
            connection[Symbol.dispose]();
            connection = await Connection.open(system.port);
          }
          await request(connection, size);
        };
        for (let warm = 0; warm < Math.ceil(count / 3); warm++) await ask();
        const before = cpuMicroseconds(pids);
        for (let one = 0; one < count; one++) await ask();
        const cpu = (cpuMicroseconds(pids) - before) / count;
        rows[index]!.push(cpu.toFixed(cpu < 1_000 ? 1 : 0), size >= MIB ? ((cpu / size) * MIB).toFixed(0) : "");
        connection[Symbol.dispose]();
      }
    };
    await using(stack(BODIES_APP, undefined, folder), async (system) => {
      await measure(system, (connection, size) => connection.upload(size));
      await measure(system, (connection, size) => connection.download(`/?bytes=${size}`, size));
    });
    await using(
      files(
        folder,
        BODIES.map(([size]) => size),
      ),
      (system) => measure(system, (connection, size) => connection.download(`/${size}`, size)),
    );
    return table(
      [
        "body",
        "up, CPU µs a request",
        "µs a MiB",
        "down, CPU µs a request",
        "µs a MiB",
        "static, CPU µs a request",
        "µs a MiB",
      ],
      rows,
    );
  },
};

const memory: Section = {
  title: "A gigabyte",
  async run(folder) {
    const rows: string[][] = [];
    const watch = async (
      what: string,
      system: Running,
      transfer: (connection: Connection) => Promise<void>,
    ): Promise<void> => {
      const roles = system.processes();
      const peak = PeakWatch.start([...roles.keys()]);
      const began = performance.now();
      using connection = await Connection.open(system.port);
      await transfer(connection);
      const seconds = (performance.now() - began) / 1_000;
      const rises = peak.rise();
      for (const [pid, rise] of rises) {
        if (rise > DUE.riseMiB) misses.push(`${what}: the ${roles.get(pid)} rose by ${rise.toFixed(0)} MiB`);
      }
      const riseOf = (role: string): string => {
        const own = [...rises].filter(([pid]) => roles.get(pid) === role).map(([, rise]) => rise);
        return own.length === 0 ? "" : Math.max(...own).toFixed(1);
      };
      rows.push([what, riseOf("proxy"), riseOf("worker"), riseOf("master"), seconds.toFixed(1)]);
    };
    await using(stack(BODIES_APP, undefined, folder), async (system) => {
      // What a first request loads and compiles is not the body's.
      using connection = await Connection.open(system.port);
      await connection.upload(16 * MIB);
      await connection.download(`/?bytes=${16 * MIB}`, 16 * MIB);
      await watch("upload through both tiers", system, (one) => one.upload(GIB));
      await watch("download through both tiers", system, (one) => one.download(`/?bytes=${GIB}`, GIB));
    });
    const streamed = {
      upstreams: {},
      sites: [
        {
          hosts: ["*"],
          routes: [
            { path: "/*", proxy: { upstream: "app", request: { mode: "stream" }, response: { mode: "stream" } } },
          ],
        },
      ],
    };
    await using(stack(BODIES_APP, streamed, folder), async (system) => {
      using connection = await Connection.open(system.port);
      await connection.upload(16 * MIB);
      await connection.download(`/?bytes=${16 * MIB}`, 16 * MIB);
      await watch("the same, unbuffered: upload", system, (one) => one.upload(GIB));
      await watch("the same, unbuffered: download", system, (one) => one.download(`/?bytes=${GIB}`, GIB));
    });
    await using(files(folder, [GIB]), (system) => watch("static file", system, (one) => one.download(`/${GIB}`, GIB)));
    return table(["1 GiB", "proxy, MiB above idle", "worker", "master", "seconds"], rows);
  },
};

const idle: Section = {
  title: "Idle connections",
  async run(folder) {
    const rows: string[][] = [];
    const kib: number[] = [];
    const systems: readonly (readonly [string, Promise<Running>, string, number])[] = [
      ["ours, front with static files", files(folder, [KIB]), `/${KIB}`, KIB],
      ["node:http", nodeHttp(), "/", 50],
    ];
    for (const [name, starting, path, bytes] of systems) {
      await using(starting, async (system) => {
        const pids = pidsOf(system);
        await load(system, path, 64, 1);
        const alone: { cpu: number; rate: number }[] = [];
        const beside: typeof alone = [];
        let each = 0;
        for (let round = 0; round < ROUNDS; round++) {
          alone.push(await load(system, path, 64, 1));
          const before = resident(pids);
          using held = await IdleConnections.dial(system.port, path, bytes, IDLE);
          // The first round pays for what the heap grows by once.
          if (round === 0) each = ((resident(pids) - before) * KIB) / IDLE;
          // What opening them left to collect is not theirs.
          await load(system, path, 64, 1);
          beside.push(await load(system, path, 64, 1));
          held[Symbol.dispose]();
          await gone(system.port, path, bytes);
        }
        const rate = (all: typeof alone): number => median(all.map((one) => one.rate));
        const cpu = (all: typeof alone): number => median(all.map((one) => one.cpu));
        const loss = 1 - rate(beside) / rate(alone);
        kib.push(each);
        if (name.startsWith("ours") && loss > DUE.idleLoss)
          misses.push(`${IDLE} idle connections cost ${(loss * 100).toFixed(0)} % of the throughput`);
        rows.push([
          name,
          each.toFixed(1),
          String(Math.round(rate(alone))),
          String(Math.round(rate(beside))),
          `${(loss * 100).toFixed(1)} %`,
          cpu(alone).toFixed(1),
          cpu(beside).toFixed(1),
        ]);
      });
    }
    if (kib[0]! / kib[1]! > DUE.idleRatio)
      misses.push(`an idle connection takes ${kib[0]!.toFixed(1)} KiB, node:http's ${kib[1]!.toFixed(1)}`);
    return `${table([`${IDLE} idle`, "KiB each", "requests/s of 64 without", "with", "loss", "CPU µs without", "with"], rows)}\n\nMemory each, ours to node:http: ${(kib[0]! / kib[1]!).toFixed(2)} (due ≤ ${DUE.idleRatio}).`;
  },
};

/** Resolves when a fresh connection is served: the closing of thousands is behind the server. */
async function gone(port: number, path: string, bytes: number): Promise<void> {
  using connection = await Connection.open(port);
  await connection.download(path, bytes);
}

const calls: Section = {
  title: "System calls",
  async run(folder) {
    if (which("strace") === undefined) return "strace is not installed here.";
    const rows: string[][] = [];
    const systems: readonly (readonly [string, () => Promise<Running>, string])[] = [
      ["static 1 KiB", () => files(folder, [KIB]), `/${KIB}`],
      ["whole stack", () => stack(FETCH_APP, undefined, folder), "/"],
      ["foreign HTTP", () => foreign(folder), "/"],
    ];
    for (const [name, start, path] of systems) {
      await using(start(), async (system) => {
        await load(system, path, 64, 1);
        for (const role of ["proxy", "worker"]) {
          const pid = [...system.processes()].find(([, one]) => one === role)?.[0];
          if (pid === undefined) continue;
          const counted = await trace(pid, () => drive(`http://127.0.0.1:${system.port}${path}`, 64, 2));
          rows.push([`${name}, ${role}`, ...counted]);
        }
      });
    }
    return table(["64 connections", "calls a request", "which (a request)"], rows);
  },
};

/** Counts the system calls of a process and its threads while `work` runs. */
async function trace(pid: number, work: () => Promise<{ requests: number }>): Promise<string[]> {
  const tracer = spawn("strace", ["-c", "-f", "-U", "calls,name", "-p", String(pid)], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let output = "";
  tracer.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  while (!output.includes("attached")) await once(tracer.stderr, "data");
  const { requests } = await work();
  tracer.kill("SIGINT");
  await once(tracer, "close");
  const counts = [...output.matchAll(/^ *(\d+) +([a-z_0-9]+)$/gm)]
    .map(([, count, call]) => [call!, Number(count) / requests] as const)
    .filter(([call]) => call !== "total");
  const total = counts.reduce((sum, [, each]) => sum + each, 0);
  const named = counts.filter(([, each]) => each >= 0.01).toSorted((a, b) => b[1] - a[1]);
  return [total.toFixed(2), named.map(([call, each]) => `${call} ${each.toFixed(2)}`).join(", ")];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

function sizeName(bytes: number): string {
  return bytes >= MIB ? `${bytes / MIB} MiB` : bytes >= KIB ? `${bytes / KIB} KiB` : `${bytes} B`;
}

const sections: Readonly<Record<string, Section>> = { connections, bodies, memory, idle, calls };

function chosen(): string[] {
  const usage = `usage: growth.ts [--only ${Object.keys(sections).join("|")}]`;
  try {
    const { only } = parseArgs({ options: { only: { type: "string" } } }).values;
    if (only === undefined) return Object.keys(sections);
    if (only in sections) return [only];
    console.error(`growth: there is no section "${only}"\n${usage}`);
  } catch (error) {
    console.error(`growth: ${error instanceof Error ? error.message : String(error)}\n${usage}`);
  }
  return process.exit(2);
}

const names = chosen();
// The transfers are made by this very process: off the core of what is measured.
spawnSync("taskset", ["-a", "-pc", LOAD_CORE, String(process.pid)]);
let page = "";
for (const name of names) {
  const folder = mkdtempSync(join(tmpdir(), "portico-growth-"));
  try {
    const section = sections[name]!;
    const text = `## ${section.title}\n\n${await section.run(folder)}\n`;
    console.log(text);
    page += `\n${text}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
if (names.length > 1) {
  const intro = `# Growth

Written by \`node --conditions=@portico/source test/bench/growth.ts\`; do not edit. The system under test runs on one core, the load on
the other; one thread, one worker. CPU is user + system time of all its processes, from the kernel's accounting.

Measured ${new Date().toISOString().slice(0, 10)}, node ${process.version}, ${cpus()[0]?.model ?? "unknown CPU"}.
`;
  const due = `\n## Due\n\nAt most ${DUE.riseMiB} MiB above idle for 1 GiB; an idle connection at most ${DUE.idleRatio} of node:http's; at most ${DUE.idleLoss * 100} % of the throughput lost to ${IDLE} idle connections.${misses.length === 0 ? " All of it was reached." : `\n\nNot reached:\n\n${misses.map((miss) => `- ${miss}`).join("\n")}`}\n`;
  writeFileSync(join(import.meta.dirname, "../../docs/benchmarks-growth.md"), intro + page + due);
}
for (const miss of misses) console.error(`growth: NOT REACHED: ${miss}`);
process.exitCode = misses.length === 0 ? 0 : 1;
