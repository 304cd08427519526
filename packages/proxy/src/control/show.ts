/** Answers of a running proxy, for a person. */
import { formatSize } from "../config/units.ts";
import type { ControlCommand, ControlResults, ProxyStatus } from "./protocol.ts";

const MIB = 1024 * 1024;

function uptime(startedAt: string): string {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(startedAt)) / 1000));
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  return (first === -1 ? parts.slice(3) : parts.slice(first, first + 2))
    .map(([count, unit]) => `${count}${unit}`)
    .join(" ");
}

function showStatus(status: ProxyStatus): string {
  const { process: serving, refused } = status;
  const rows = [
    ["master", `pid ${status.pid}, version ${status.proxyVersion}, up ${uptime(status.startedAt)}`],
    [
      "configuration",
      `${status.config} (sites: ${status.sites}, routes: ${status.routes}, upstreams: ${status.upstreams})`,
    ],
    ["reloads", `${status.reloads}${refused === null ? "" : `; refused at ${refused.at}: ${refused.reason}`}`],
    ["addresses", status.addresses.join(", ")],
    [
      "serving",
      serving === null
        ? "nobody at the moment"
        : `pid ${serving.pid}, threads ${status.threads}, connections ${serving.connections}, requests ${serving.requests}, memory ${formatSize(Math.round(serving.memory / MIB) * MIB)}`,
    ],
  ];
  return rows.map(([name, text]) => `${name!.padEnd(14)} ${text!}`).join("\n");
}

export const SHOW: { readonly [Command in ControlCommand]: (result: ControlResults[Command]) => string } = {
  status: showStatus,
  reload: ({ sites, routes, addresses }) => `reloaded (sites: ${sites}, routes: ${routes}; ${addresses.join(", ")})`,
  stop: ({ pid }) => `stopped (pid ${pid})`,
};
