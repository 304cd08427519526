/** `upstreams`: named groups of servers. */
import { z } from "zod";
import { duration } from "../units.ts";
import { count } from "./count.ts";

const SERVER_ADDRESS = /^((http|https):\/\/[^/?#\s]+\/?|link:\/\/[^/?#\s]+:\d+|(http|link)\+unix:\/[^\0]+)$/;

const address = z.string().regex(SERVER_ADDRESS, {
  error:
    "must be an address: http://host:port, https://host:port, http+unix:/path, link://host:port or link+unix:/path",
});

const serverObject = z.strictObject({
  address: address.meta({
    description: "`http://host:port`, `https://host:port`, `http+unix:/path`, `link://host:port` or `link+unix:/path`.",
  }),
  weight: count(1)
    .max(10_000)
    .prefault(1)
    .meta({ description: "Share of the requests, relative to the other servers." }),
  maxConnections: count().prefault(0).meta({
    description: "Requests under way at once; 0: no limit of ours (over the link, the workers announce their own).",
  }),
});

const server = z.codec(z.union([address, serverObject]), serverObject, {
  decode: (value) => (typeof value === "string" ? { address: value } : { ...value }),
  encode: (value) => ({ address: value.address, weight: value.weight ?? 1, maxConnections: value.maxConnections ?? 0 }),
});

export const upstream = z.strictObject({
  servers: z
    .array(server)
    .min(1, { error: "must name at least one server" })
    .meta({ description: "The servers: an address each, or an object with its weight." }),
  balance: z.enum(["least-connections", "round-robin"]).prefault("least-connections").meta({
    description:
      "How a server is chosen: the one with the fewest requests under way (by weight), or each in turn (smooth, weighted).",
  }),
  queue: z
    .strictObject({
      size: count().prefault(1000).meta({
        description: "Requests that wait while every server is busy; beyond it, 503 with Retry-After at once.",
      }),
      timeout: duration
        .prefault("10s")
        .meta({ description: "How long a request waits there before it is answered 503." }),
    })
    .prefault({})
    .meta({ description: "The bounded queue in front of the servers." }),
  connectTimeout: duration.prefault("5s").meta({ description: "Time to connect to a server." }),
  responseTimeout: duration
    .prefault("60s")
    .meta({ description: "Time until the head of the response, from when the request was sent." }),
  idleTimeout: duration.prefault("60s").meta({ description: "Time between two parts of the response's body." }),
  keepAlive: duration
    .prefault("60s")
    .meta({ description: "How long an idle connection to a server is kept; shorter than the server keeps it." }),
  retries: z
    .strictObject({
      attempts: count().max(10).prefault(1).meta({ description: "Further servers tried after the first failed." }),
      within: duration
        .prefault("10s")
        .meta({ description: "No further attempt begins later than this after the first." }),
    })
    .prefault({})
    .meta({
      description:
        "Retries on the next server, only where they are safe: the request was certainly not processed, or its method is idempotent.",
    }),
  ejection: z
    .strictObject({
      failures: count()
        .prefault(3)
        .meta({ description: "Failures in a row after which a server gets no requests for a while; 0: never." }),
      time: duration.prefault("10s").meta({ description: "How long it gets none." }),
    })
    .prefault({})
    .meta({ description: "Passive health: a server that fails is left alone for a while, the last one never." }),
});
