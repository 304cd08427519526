/** `resolver`: how names of servers become addresses. */
import { z } from "zod";
import { duration } from "../units.ts";

const NAME_SERVER = /^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\])(:\d{1,5})?$/;

export const resolver = z
  .strictObject({
    servers: z
      .array(z.string().regex(NAME_SERVER, { error: 'must be an address, such as "10.0.0.2" or "[::1]:5353"' }))
      .prefault([])
      .meta({
        description:
          "Name servers, `address` or `address:port`. Without any: the system's resolver, with its hosts file and search domains (its name servers for SRV).",
      }),
    interval: duration.optional().meta({
      description:
        "Between two look-ups of a name. Without it: the record's own time to live (1 s to 60 s) where `servers` are given, else 3 s.",
    }),
    timeout: duration
      .prefault("2s")
      .meta({ description: "Time for an answer of one of `servers`; each is asked twice." }),
  })
  .prefault({})
  .meta({ description: "How names of servers are looked up." });
