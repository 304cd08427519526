/** How many workers, how long they live, and how much each does. */
import * as z from "zod";
import { count, row, seconds, size } from "./row.ts";

export const workers = {
  workers: row(z.union([count(1).max(1024), z.literal("auto")]).default(1), {
    flags: "-w, --workers <count>",
    from: "number",
    about:
      "Worker processes. `auto`: one per core this process may use (cgroup limits and affinity included). The default is WEB_CONCURRENCY where it is set, else 1.",
    changes: "reload",
  }),
  concurrency: row(count(0).default(0), {
    flags: "--concurrency <requests>",
    from: "number",
    about:
      "Requests a worker works on at once; 1 makes it a synchronous worker, 0 is no limit. Over the link it is announced to the front; over HTTP further requests wait in the worker's queue.",
    changes: "reload",
  }),
  queue: row(count(0).default(64), {
    flags: "--queue <requests>",
    from: "number",
    about:
      "HTTP requests that may wait in a worker whose concurrency is reached. Beyond it the answer is 503 with Retry-After, at once.",
    changes: "reload",
  }),
  timeout: row(seconds(30), {
    flags: "--timeout <seconds>",
    from: "number",
    about:
      "A worker whose event loop has not turned for so long is replaced, and the stack it is stuck in is logged. At half of it there is a warning. 0: never.",
    changes: "restart",
  }),
  bootTimeout: row(seconds(30), {
    flags: "--boot-timeout <seconds>",
    from: "number",
    about: "How long a worker may take to load the application and start up.",
    changes: "restart",
  }),
  gracefulTimeout: row(seconds(30), {
    flags: "--graceful-timeout <seconds>",
    from: "number",
    about: "How long a worker that leaves may take to finish its requests, `waitUntil` work and shutdown.",
    changes: "restart",
  }),
  maxSurge: row(count(1).default(1), {
    flags: "--max-surge <workers>",
    from: "number",
    about: "Workers that a reload replaces at a time.",
    changes: "restart",
  }),
  probation: row(seconds(2), {
    flags: "--probation <seconds>",
    from: "number",
    about:
      "How long the first workers of a reload serve beside the old ones before those leave. One that dies meanwhile fails the reload, and the old ones stay.",
    changes: "restart",
  }),
  maxRequests: row(count(0).default(0), {
    flags: "--max-requests <requests>",
    from: "number",
    about: "Requests after which a worker is replaced, in order; 0: never.",
    changes: "reload",
  }),
  maxRequestsJitter: row(count(0).default(0), {
    flags: "--max-requests-jitter <requests>",
    from: "number",
    about: "Up to so many requests are added to maxRequests by chance, so that workers do not retire together.",
    changes: "reload",
  }),
  maxLifetime: row(seconds(0), {
    flags: "--max-lifetime <seconds>",
    from: "number",
    about: "Age at which a worker is replaced, in order; 0: never.",
    changes: "reload",
  }),
  maxRss: row(size(), {
    flags: "--max-rss <size>",
    from: "number",
    about: "Resident memory at which a worker is replaced, in order: bytes, or `512MiB`; 0: never.",
    changes: "reload",
  }),
  maxHeap: row(size(), {
    flags: "--max-heap <size>",
    from: "number",
    about: "JavaScript heap at which a worker is replaced, in order: bytes, or `256MiB`; 0: never.",
    changes: "reload",
  }),
} as const;
