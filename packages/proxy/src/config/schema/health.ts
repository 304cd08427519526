/** How servers of an upstream are found to be well or not. */
import { z } from "zod";
import { duration } from "../units.ts";
import { count } from "./count.ts";

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const STATUS = /^[1-5]\d\d(-[1-5]\d\d)?$/;

export const ejection = z
  .strictObject({
    failures: count().prefault(3).meta({
      description:
        "Failures (no connection, connection lost, no response in time) after which a server is left alone: so many in a row, or so many within `within` that are half of its requests. 0: never.",
    }),
    within: duration.prefault("10s").meta({ description: "Time in which failures are counted together." }),
    time: duration.prefault("10s").meta({
      description: "How long it is left alone; doubled each time it fails again. Then one request tries it.",
    }),
    maxTime: duration.prefault("5m").meta({ description: "Longest time it is left alone." }),
  })
  .prefault({})
  .meta({ description: "Passive health: a server that fails is left alone for a while, the last one never." });

export const health = z
  .strictObject({
    path: z
      .string()
      .regex(/^\/[!-~]*$/, { error: "must be a path" })
      .optional()
      .meta({
        description:
          "What is asked of each server. Without it `/` of HTTP servers; links are judged by what their workers report.",
      }),
    method: z
      .string()
      .regex(TOKEN, { error: "must be a method, such as GET" })
      .prefault("GET")
      .meta({ description: "Method of the question." }),
    host: z.string().min(1).optional().meta({ description: "Its Host field. Without it: the server's own address." }),
    status: z
      .array(
        z.union([
          z.number().int().min(100).max(599),
          z.string().regex(STATUS, { error: 'must be a status or a range, such as "200-299"' }),
        ]),
      )
      .min(1)
      .prefault(["200-399"])
      .meta({ description: "Statuses that are well: numbers, and ranges such as `200-299`." }),
    body: z.string().min(1).optional().meta({ description: "Text that the first 64 KiB of the answer must contain." }),
    interval: duration.prefault("5s").meta({ description: "Between two questions to a server." }),
    jitter: z
      .number()
      .min(0)
      .max(100)
      .prefault(20)
      .meta({ description: "Percent of `interval` by which each pause is longer or shorter, at random." }),
    timeout: duration.prefault("2s").meta({ description: "Time for the whole answer." }),
    rise: count(1).prefault(2).meta({ description: "Good answers in a row that make a server healthy again." }),
    fall: count(1).prefault(3).meta({ description: "Bad answers in a row that make it unhealthy." }),
  })
  .optional()
  .meta({
    description:
      "Active health checks: each server is asked regularly, by one thread for all. The first answer decides at once. Without this: none.",
  });
