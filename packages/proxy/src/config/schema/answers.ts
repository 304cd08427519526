/** Answers that stand in the configuration: `respond`, `redirect`. */
import { z } from "zod";

export const respond = z.strictObject({
  status: z.number().int().min(200).max(599).prefault(200).meta({ description: "Status of the answer." }),
  headers: z.record(z.string(), z.string()).optional().meta({ description: "Its fields." }),
  body: z
    .string()
    .prefault("")
    .meta({ description: "Its body, sent as UTF-8; text/plain unless `headers` says otherwise." }),
});

export const redirect = z.strictObject({
  to: z.string().min(1).meta({
    description:
      "Target, with `$scheme`, `$host`, `$hostname` (without port), `$path` (as received), `$query` (with its question mark, or empty): `https://$host$path$query`; and `$1`, `$name` of the route's `path`.",
  }),
  status: z
    .union([z.literal(301), z.literal(302), z.literal(303), z.literal(307), z.literal(308)], {
      error: "must be 301, 302, 303, 307 or 308",
    })
    .prefault(308)
    .meta({ description: "301, 302, 303, 307 or 308." }),
});
