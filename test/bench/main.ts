/**
 * The side-by-side benchmark. `npm run bench -- [--quick] [--only TEXT] [--json FILE]`
 *
 * Exit codes: 0 all rows count (whether or not they reach what is due), 1 a row is void, 2 wrong usage.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { measure, type Pace, type Row } from "./measure.ts";
import { missing, scenarios } from "./scenarios.ts";
import { table } from "./table.ts";
import { which } from "./processes.ts";

const paces: Record<"quick" | "full", Pace> = {
  quick: { rounds: 3, seconds: 1, warmup: 1 },
  full: { rounds: 5, seconds: 4, warmup: 3 },
};

const options = readOptions();
const pace = options.quick ? paces.quick : paces.full;
const chosen = scenarios.filter(({ name }) => name.includes(options.only));
if (chosen.length === 0) {
  console.error(
    `bench: no scenario contains "${options.only}"; there are: ${scenarios.map(({ name }) => name).join("; ")}`,
  );
  process.exit(2);
}

const rows: Row[] = [];
for (const scenario of chosen) {
  const lacking = missing(scenario);
  if (lacking.length > 0) {
    console.log(`${scenario.name}: skipped, not installed here: ${lacking.join(", ")}`);
    continue;
  }
  const row = await measure(scenario, pace);
  rows.push(row);
  console.log(line(row));
}

const report = { date: new Date().toISOString(), pace, settings: settings(), rows };
const file = options.json ?? join(import.meta.dirname, "results", `${options.quick ? "quick" : "full"}.json`);
mkdirSync(dirname(resolve(file)), { recursive: true });
writeFileSync(file, `${JSON.stringify(options.json === undefined ? report : rows, null, 2)}\n`);
if (!options.quick && options.only === "")
  writeFileSync(join(import.meta.dirname, "../../docs/benchmarks.md"), table(report));
process.exit(rows.some((row) => row.void !== undefined) ? 1 : 0);

function line(row: Row): string {
  if (row.void !== undefined) return `${row.scenario}: VOID, ${row.void}`;
  const verdict = row.ratio <= row.aim ? "aim reached" : row.ratio <= row.due ? "due reached" : "NOT REACHED";
  return `${row.scenario}: ${row.ours.toFixed(1)} µs, ${row.peerName} ${row.peer.toFixed(1)} µs, ratio ${row.ratio.toFixed(2)} (due ${row.due}, aim ${row.aim}): ${verdict}`;
}

function settings(): Record<string, string> {
  const version = (program: string, ...args: string[]): string => {
    const path = which(program);
    if (path === undefined) return "not installed";
    const { stdout, stderr } = spawnSync(path, args, { encoding: "utf8" });
    return (stdout + stderr).trim().split("\n")[0] ?? "";
  };
  return {
    node: process.version,
    nginx: version("nginx", "-v"),
    wrk: version("wrk", "-v"),
    cpu: cpus()[0]?.model ?? "unknown",
    cores: String(cpus().length),
  };
}

function readOptions(): { quick: boolean; only: string; json: string | undefined } {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: "boolean", default: false },
        only: { type: "string", default: "" },
        json: { type: "string" },
      },
    });
    return { quick: values.quick, only: values.only, json: values.json };
  } catch (error) {
    console.error(
      `bench: ${error instanceof Error ? error.message : String(error)}\nusage: npm run bench -- [--quick] [--only TEXT] [--json FILE]`,
    );
    return process.exit(2);
  }
}
