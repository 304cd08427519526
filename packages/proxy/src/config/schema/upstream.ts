/** `upstreams`: named groups of servers. */
import { z } from "zod";
import { duration } from "../units.ts";
import { count } from "./count.ts";
import { balance, hash, sticky } from "./balance.ts";
import { ejection, health } from "./health.ts";
import { server } from "./server.ts";
import { upstreamTls } from "./upstream-tls.ts";

const queue = z
  .strictObject({
    size: count().prefault(1000).meta({
      description: "Requests that wait while every server is busy; beyond it, 503 with Retry-After at once.",
    }),
    timeout: duration
      .prefault("10s")
      .meta({ description: "How long a request waits there before it is answered 503 with Retry-After." }),
  })
  .prefault({})
  .meta({ description: "The bounded queue in front of the servers, one for each thread." });

const retries = z
  .strictObject({
    attempts: count().max(10).prefault(1).meta({ description: "Further servers tried after the first failed." }),
    within: duration
      .prefault("10s")
      .meta({ description: "No further attempt begins later than this after the first." }),
    budget: z.number().min(0).max(100).prefault(20).meta({
      description:
        "Percent of the requests that may be further attempts (100 are always in hand at the start): beyond it failures are passed on, so that retries cannot double the load of servers that fail under it.",
    }),
  })
  .prefault({})
  .meta({
    description:
      "Retries on the next server, only where they are safe: the request was certainly not processed, or its method is idempotent.",
  });

export const upstream = z.strictObject({
  servers: z
    .array(server)
    .min(1, { error: "must name at least one server" })
    .meta({ description: "The servers: an address each, or an object with its weight." }),
  balance,
  hash,
  sticky,
  slowStart: duration.prefault("0s").meta({
    description:
      "Time in which a server that came or came back grows from a tenth of its weight to all of it; 0: at once.",
  }),
  maxRequests: count().prefault(0).meta({
    description:
      "Requests under way at once to all servers together, all threads together; beyond it they wait in the queue. 0: no limit.",
  }),
  queue,
  connectTimeout: duration.prefault("5s").meta({ description: "Time to connect to a server." }),
  responseTimeout: duration
    .prefault("60s")
    .meta({ description: "Time until the head of the response, from when the request was sent." }),
  idleTimeout: duration.prefault("60s").meta({ description: "Time between two parts of the response's body." }),
  keepAlive: duration
    .prefault("60s")
    .meta({ description: "How long an idle connection to a server is kept; shorter than the server keeps it." }),
  retries,
  ejection,
  health,
  tls: upstreamTls,
  panic: z.number().min(0).max(100).prefault(25).meta({
    description:
      "Percent of the servers: where fewer than this are healthy, requests go to all of them, the unhealthy included. The last server is never taken away, whatever this is.",
  }),
});
