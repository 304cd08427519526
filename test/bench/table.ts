/** The page docs/benchmarks.md, from a report. */
import type { Pace, Row, Side } from "./measure.ts";

export interface Report {
  readonly date: string;
  readonly pace: Pace;
  readonly settings: Record<string, string>;
  readonly rows: readonly Row[];
}

export function table(report: Report): string {
  const settings = Object.entries(report.settings).map(([key, value]) => `${key}: ${value}`);
  return `# Benchmarks

Written by \`npm run bench\`; do not edit. Both sides of a row run on one core, the load generator on the other, driven in
turn; CPU is user + system time of every process of the system under test, per request, from the kernel's accounting.
Smaller is better; the ratio is ours divided by the peer's.

Measured ${report.date.slice(0, 10)}: ${report.pace.rounds} rounds of ${report.pace.seconds} s each, medians. ${settings.join("; ")}.

| scenario | ours, CPU µs | peer | peer, CPU µs | ratio | due | aim |
| --- | --- | --- | --- | --- | --- | --- |
${report.rows.map(summary).join("\n")}

| scenario | side | requests/s | p50 ms | p99 ms | peak memory MiB |
| --- | --- | --- | --- | --- | --- |
${report.rows.flatMap(details).join("\n")}
`;
}

function summary(row: Row): string {
  if (row.void !== undefined)
    return `| ${row.scenario} | void: ${row.void} | ${row.peerName} | | | ≤ ${row.due} | ≤ ${row.aim} |`;
  return `| ${row.scenario} | ${row.ours.toFixed(1)} | ${row.peerName} | ${row.peer.toFixed(1)} | **${row.ratio.toFixed(2)}** | ≤ ${row.due} | ≤ ${row.aim} |`;
}

function details(row: Row): string[] {
  if (row.details === undefined) return [];
  const side = (name: string, values: Side): string =>
    `| ${row.scenario} | ${name} | ${Math.round(values.requestsPerSecond)} | ${values.p50.toFixed(2)} | ${values.p99.toFixed(2)} | ${Math.round(values.peakMemory)} |`;
  return [side("ours", row.details.ours), side(row.peerName, row.details.peer)];
}
