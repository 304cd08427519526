/** How a server of an upstream is chosen. */
import { z } from "zod";
import { duration } from "../units.ts";

const HASH_KEY = /^(client|host|path|target|(header|cookie):[!#$%&'*+\-.^_`|~0-9A-Za-z]+|query:[^\s&=#]+)$/;
const COOKIE_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

export const balance = z
  .enum(["least-connections", "round-robin", "least-time", "random-two", "ip-hash", "hash"])
  .prefault("least-connections")
  .meta({
    description:
      "How a server is chosen, always by weight: `least-connections`, the fewest requests under way; `round-robin`, each in turn, smoothly; `least-time`, the shortest recent response time for what is under way; `random-two`, the less busy of two drawn at random; `ip-hash`, always the same for a client's address; `hash`, always the same for what `hash.key` says.",
  });

export const hash = z
  .strictObject({
    key: z
      .string()
      .regex(HASH_KEY, {
        error: 'must be "client", "host", "path", "target", "header:NAME", "cookie:NAME" or "query:NAME"',
      })
      .prefault("client")
      .meta({
        description:
          "`client` (address), `host`, `path` (without query), `target` (with it), `header:NAME`, `cookie:NAME` or `query:NAME`. A request without it goes to the least busy server.",
      }),
    maxLoad: z
      .number()
      .refine((value) => value === 0 || value >= 1, { error: "must be 0 or at least 1" })
      .prefault(0)
      .meta({
        description:
          "No server gets more than so many times the mean of the requests under way, such as 1.25; what is beyond goes to the key's next server. 0: no bound.",
      }),
  })
  .prefault({})
  .meta({
    description: 'For `balance: "hash"`; consistent: a server that comes or goes moves its own share of the keys only.',
  });

export const sticky = z
  .strictObject({
    cookie: z
      .string()
      .regex(COOKIE_NAME, { error: "must be a cookie name" })
      .prefault("portico_server")
      .meta({ description: "Name of the cookie." }),
    maxAge: duration
      .prefault("0s")
      .meta({ description: "How long the browser keeps it; 0: as long as the browser is open." }),
    path: z
      .string()
      .regex(/^\/[^;\s]*$/, { error: "must be a path" })
      .prefault("/")
      .meta({ description: "Path of the cookie." }),
    sameSite: z.enum(["lax", "strict", "none"]).prefault("lax").meta({ description: "SameSite of the cookie." }),
    secret: z.string().min(16, { error: "must be at least 16 characters long" }).optional().meta({
      description:
        "Makes the server's id in the cookie impossible to guess from its address. The same on all proxies of a site.",
    }),
  })
  .optional()
  .meta({
    description:
      "Keeps a client on the server that answered it first, by a cookie with an opaque id of the server; where that server is away, another takes over. Survives reloads and restarts.",
  });
