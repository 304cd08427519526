/**
 * `node --conditions=@portico/source packages/http1/bench/compare.ts [seconds] [rounds]`
 *
 * Our listener against node:http, in turn on the same core, driven by wrk from the other one: requests per second, CPU
 * per request from the kernel's accounting, and the ratios. Needs wrk, taskset and Linux; not published.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const [seconds = "3", rounds = "3"] = process.argv.slice(2);
const SERVERS = fileURLToPath(new URL("servers.ts", import.meta.url));
const PORTS = { ours: 18_471, node: 18_472 };
const KINDS = ["ours", "node"] as const;
const TICK_US = 10_000; // USER_HZ is 100 on every Linux

/** Microseconds of CPU that a process and its threads have used. */
function cpu(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
}

async function start(kind: "ours" | "node"): Promise<ChildProcess> {
  const port = String(PORTS[kind]);
  const child = spawn("taskset", ["-c", "1", process.execPath, ...process.execArgv, SERVERS, kind, port], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}

function drive(kind: "ours" | "node", pid: number): { rate: number; cost: number } {
  const before = cpu(pid);
  const url = `http://127.0.0.1:${PORTS[kind]}/`;
  const text = execFileSync("taskset", ["-c", "0", "wrk", "-t1", "-c64", `-d${seconds}`, url], { encoding: "utf8" });
  if (/Non-2xx|Socket errors/.test(text)) throw new RangeError(`void: ${text}`);
  const count = Number(/(\d+) requests in/.exec(text)?.[1]);
  return { rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]), cost: (cpu(pid) - before) / count };
}

const children = { ours: await start("ours"), node: await start("node") };
const best = { ours: { rate: 0, cost: Infinity }, node: { rate: 0, cost: Infinity } };
for (let round = 0; round <= Number(rounds); round++) {
  for (const kind of KINDS) {
    const result = drive(kind, children[kind].pid as number);
    if (round === 0) continue; // warming up
    console.log(`${kind.padEnd(5)} ${result.rate.toFixed(0)} requests/s, ${result.cost.toFixed(2)} us CPU each`);
    best[kind] = { rate: Math.max(best[kind].rate, result.rate), cost: Math.min(best[kind].cost, result.cost) };
  }
}
console.log(
  `CPU ratio ours / node:http: ${(best.ours.cost / best.node.cost).toFixed(2)}, throughput ${(best.ours.rate / best.node.rate).toFixed(2)}`,
);
for (const kind of KINDS) children[kind].kill();
