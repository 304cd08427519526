/** `rewrite` of a route. */
import { z } from "zod";

const plainPath = z.string().regex(/^\/[^*?#\s]*$/, { error: 'must be a path that begins with "/"' });

export const rewrite = z.strictObject({
  stripPrefix: plainPath.optional().meta({
    description:
      "Taken off the front of the path: `/api` makes `/api/users` `/users`. Whole segments; other paths stay.",
  }),
  addPrefix: plainPath.optional().meta({ description: "Put in front of the path, after `stripPrefix`." }),
  to: z
    .string()
    .regex(/^\/[^#\s]*$/, { error: 'must be a path that begins with "/"' })
    .optional()
    .meta({
      description:
        "The new path instead: `/users/$1`. `$1`, `$2`, `$name` are what the stars or groups of the route's `path` stood for; also `$path`, `$query`, `$host`, `$hostname`, `$scheme`. The request's query stays, unless this has one of its own.",
    }),
});
