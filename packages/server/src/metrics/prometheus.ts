/** Metrics in Prometheus's text format, version 0.0.4. */
import { BUCKETS_MS, type Histogram } from "./counts.ts";
import type { MetricsSnapshot, WorkerGauges } from "./registry.ts";

export const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

const PREFIX = "portico_server";
const MS = 1_000;

export function prometheusText({ startedAt, counts, workers, events }: MetricsSnapshot): string {
  const ready = workers.filter(({ state }) => state === "ready");
  const gauges = (pick: (worker: WorkerGauges) => number): [string, number][] =>
    ready.map((worker) => [`{worker="${worker.id}"}`, pick(worker)]);
  return [
    metric("start_time_seconds", "gauge", "When the master was started.", [["", startedAt / MS]]),
    metric(
      "requests_total",
      "counter",
      "Requests that have ended, by status; 0: without an answer.",
      labelled("status", counts.statuses),
    ),
    metric(
      "requests_aborted_total",
      "counter",
      "Requests that ended early, by reason.",
      labelled("reason", counts.aborted),
    ),
    metric("request_bytes_total", "counter", "Bytes of request bodies.", [["", counts.bytesIn]]),
    metric("response_bytes_total", "counter", "Bytes of response bodies.", [["", counts.bytesOut]]),
    histogram(
      "request_duration_seconds",
      "From the head of a request in the worker to the end of its answer.",
      counts.duration,
    ),
    histogram("request_queue_seconds", "What requests waited for a worker in the front's queue.", counts.queued),
    metric("workers", "gauge", "Worker processes, by state.", states(workers)),
    metric("worker_events_total", "counter", "What became of workers.", labelled("event", events)),
    metric(
      "worker_requests_in_flight",
      "gauge",
      "Requests under way.",
      gauges(({ inFlight }) => inFlight),
    ),
    metric(
      "worker_event_loop_lag_seconds",
      "gauge",
      "How late the event loop was at the last beat.",
      gauges(({ lagMs }) => lagMs / MS),
    ),
    metric(
      "worker_resident_memory_bytes",
      "gauge",
      "Resident memory.",
      gauges(({ rss }) => rss),
    ),
    metric(
      "worker_heap_used_bytes",
      "gauge",
      "JavaScript heap in use.",
      gauges(({ heapUsed }) => heapUsed),
    ),
  ].join("");
}

/** @param samples labels and value of each */
function metric(name: string, type: string, help: string, samples: readonly (readonly [string, number])[]): string {
  const lines = samples.map(([labels, value]) => `${PREFIX}_${name}${labels} ${value}\n`).join("");
  return `# HELP ${PREFIX}_${name} ${help}\n# TYPE ${PREFIX}_${name} ${type}\n${lines}`;
}

/** Buckets are cumulative. */
function histogram(name: string, help: string, { buckets, sumMs }: Histogram): string {
  let sum = 0;
  const lines = buckets.map((count, index) => {
    sum += count;
    const bound = index < BUCKETS_MS.length ? String(BUCKETS_MS[index]! / MS) : "+Inf";
    return `${PREFIX}_${name}_bucket{le="${bound}"} ${sum}\n`;
  });
  return (
    metric(name, "histogram", help, []) +
    `${lines.join("")}${PREFIX}_${name}_sum ${sumMs / MS}\n${PREFIX}_${name}_count ${sum}\n`
  );
}

function labelled(label: string, values: Readonly<Record<string, number>>): [string, number][] {
  return Object.entries(values).map(([key, value]) => [`{${label}="${key}"}`, value]);
}

function states(workers: readonly WorkerGauges[]): [string, number][] {
  return ["starting", "ready", "draining"].map((state) => [
    `{state="${state}"}`,
    workers.filter((worker) => worker.state === state).length,
  ]);
}
