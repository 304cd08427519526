/** Patterns: what they look like. What they mean is `router/pattern.ts`; that expressions are safe, `check/expressions.ts`. */
import { z } from "zod";

/** A path: exact, a prefix, a glob, or a regular expression. */
export const pathPattern = z
  .string()
  .regex(/^(\/[^?#\s]*|~.+)$/, {
    error: 'must be a path, "/about", a prefix, "/assets/*", a glob, "/*.png", or a regular expression, "~^/a/"',
  })
  .meta({
    description:
      "`/about` exactly that path; `/assets/*` every path that begins with `/assets/`; `/img/*.png` a glob (`*` within a segment, `**` anything); `~^/user/(\\d+)$` a regular expression, `~*` one that ignores case.",
  });

/** A text to compare with, or whether there is one. */
const valuePattern = z.union([z.boolean(), z.string()], { error: "must be a text, true (present) or false (absent)" });

const values = z.record(z.string().min(1), valuePattern);

/** Addresses and groups of clients. */
export const clientList = z.array(z.string().min(1)).min(1, { error: "must name at least one address" });

export const match = z.strictObject({
  headers: values.optional().meta({
    description:
      "Fields by name: a text, a glob, `~` and a regular expression, `true` for present, `false` for absent. Several lines of a field are joined by a comma.",
  }),
  query: values
    .optional()
    .meta({ description: "Query parameters, decoded; as `headers`. The first of a name counts." }),
  cookies: values.optional().meta({ description: "Cookies; as `headers`." }),
  clients: clientList
    .optional()
    .meta({ description: "Addresses of clients: addresses, CIDR ranges, `loopback`, `private`, `unix`." }),
});
