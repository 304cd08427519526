/** Sends metrics to a statsd over UDP: counters as what came since the last time, gauges as they are. */
import { createSocket } from "node:dgram";
import type { Logger } from "@portico/gateway";
import { PorticoServerError } from "../error.ts";
import { type Counts, noCounts } from "./counts.ts";
import type { MetricsSnapshot } from "./registry.ts";

/** statsd's own flush interval: more often would be thrown together there. */
const INTERVAL_MS = 10_000;
/** Fits the smallest packet that no network splits: 1,280 bytes of IPv6 without its heads. */
const MOST_BYTES = 1_200;

export interface StatsdSender {
  /** Sends what has come since the last time. */
  close(): Promise<void>;
}

/**
 * @param address `host:port`
 * @throws PorticoServerError `config`
 */
export function sendToStatsd(
  address: string,
  prefix: string,
  snapshot: () => MetricsSnapshot,
  log: Logger,
): StatsdSender {
  const match = /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65_535)
    throw new PorticoServerError("config", `statsd: "${address}" is not host:port`);
  const host = match[1] ?? match[2]!;
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.unref();
  let complained = false;
  socket.on("error", (error) => {
    if (!complained) log.warn({ err: error }, `statsd ${address}: ${error.message}`);
    complained = true;
  });
  let before = noCounts();
  const send = async (): Promise<void> => {
    const now = snapshot();
    const packets = packed(statsdLines(prefix, before, now));
    before = now.counts;
    await Promise.all(
      packets.map((packet) => new Promise<void>((sent) => socket.send(packet, port, host, () => sent()))),
    );
  };
  const timer = setInterval(() => void send(), INTERVAL_MS).unref();
  return {
    async close() {
      clearInterval(timer);
      await send();
      socket.close();
    },
  };
}

/** `portico.requests:12|c` and so on; counters that did not move are left out. */
export function statsdLines(prefix: string, before: Counts, { counts, workers }: MetricsSnapshot): string[] {
  const name = (text: string): string => (prefix === "" ? text : `${prefix}.${text}`);
  const total = (of: Counts): number => of.duration.buckets.reduce((sum, count) => sum + count, 0);
  const requests = total(counts) - total(before);
  const counters: [string, number][] = [
    ["requests", requests],
    ...Object.entries(counts.statuses).map(([status, count]): [string, number] => [
      `status.${status}`,
      count - (before.statuses[status] ?? 0),
    ]),
    ...Object.entries(counts.aborted).map(([reason, count]): [string, number] => [
      `aborted.${reason}`,
      count - (before.aborted[reason] ?? 0),
    ]),
  ];
  const ready = workers.filter(({ state }) => state === "ready");
  const sum = (pick: (worker: (typeof ready)[number]) => number): number =>
    ready.reduce((so, worker) => so + pick(worker), 0);
  const gauges: [string, number][] = [
    ["workers", ready.length],
    ["in_flight", sum(({ inFlight }) => inFlight)],
    ["rss_bytes", sum(({ rss }) => rss)],
    ["heap_bytes", sum(({ heapUsed }) => heapUsed)],
    ["event_loop_lag_ms", Math.max(0, ...ready.map(({ lagMs }) => lagMs))],
  ];
  const means: [string, number][] =
    requests === 0
      ? []
      : [
          ["request_duration", (counts.duration.sumMs - before.duration.sumMs) / requests],
          ["request_queue", (counts.queued.sumMs - before.queued.sumMs) / requests],
        ];
  return [
    ...counters.filter(([, value]) => value > 0).map(([key, value]) => `${name(key)}:${value}|c`),
    ...gauges.map(([key, value]) => `${name(key)}:${value}|g`),
    ...means.map(([key, value]) => `${name(key)}:${value.toFixed(3)}|ms`),
  ];
}

function packed(lines: readonly string[]): string[] {
  const packets: string[] = [];
  for (const line of lines) {
    const last = packets.at(-1);
    if (last !== undefined && last.length + line.length < MOST_BYTES) packets[packets.length - 1] = `${last}\n${line}`;
    else packets.push(line);
  }
  return packets;
}
