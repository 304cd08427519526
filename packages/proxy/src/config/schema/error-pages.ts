/** `errorPages`: what clients see instead of the built-in error pages. */
import { z } from "zod";

export const ERROR_STATUS = /^([45]\d\d|[45]xx)$/;

const page = z.string().min(1, { error: "must be the path of a file" });

export const errorPages = z.strictObject({
  pages: z
    .record(z.string().regex(ERROR_STATUS, { error: 'must be a status, "404", or "4xx" or "5xx"' }), page)
    .prefault({})
    .meta({
      description:
        "Files by status, `404`, or by kind, `5xx`; relative to the configuration file, read at start and reload, sent with the type of their name. `{{status}}`, `{{title}}`, `{{reason}}` and `{{id}}` are filled in. A client that prefers JSON gets the built-in JSON, unless the page is JSON.",
    }),
  intercept: z.boolean().prefault(false).meta({
    description:
      "Whether responses of upstreams with such a status are replaced too. WWW-Authenticate, Retry-After and Allow are kept.",
  }),
});
