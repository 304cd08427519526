/** A route: what it takes, and what answers. */
import { z } from "zod";
import { size } from "../units.ts";
import { redirect, respond } from "./answers.ts";
import { errorPages } from "./error-pages.ts";
import { match, pathPattern } from "./pattern.ts";
import { proxy } from "./proxying.ts";
import { rewrite } from "./rewrite.ts";
import { files } from "./static.ts";

const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

const routeLimits = z.strictObject({
  bodySize: size
    .optional()
    .meta({ description: "Largest request body; beyond it 413. Without it: `limits.bodySize`." }),
});

export const route = z.strictObject({
  name: z.string().min(1).optional().meta({ description: "Name for the log; without it the path." }),
  path: pathPattern,
  methods: z
    .array(z.string().regex(METHOD, { error: "must be a method, such as GET" }))
    .min(1)
    .optional()
    .meta({
      description:
        "Methods of this route; GET includes HEAD. Without it: every method. A path whose routes all refuse the method is answered 405.",
    }),
  match: match.optional().meta({
    description: "What else a request must have; a route that does not fit is passed over.",
  }),
  internal: z.boolean().optional().meta({
    description:
      "Not for clients, to whom it is not there: only responses of applications lead to it, by `X-Accel-Redirect`.",
  }),
  rewrite: rewrite
    .optional()
    .meta({ description: "Changes the path for `proxy` and `static`; the client and the log keep the old one." }),
  errorPages: errorPages.optional().meta({ description: "Instead of the site's." }),
  limits: routeLimits.optional().meta({ description: "Limits of this route." }),
  static: files.optional().meta({ description: "Serves files." }),
  proxy: proxy.optional().meta({ description: "Passes the request to an upstream." }),
  respond: respond.optional().meta({ description: "A fixed answer." }),
  redirect: redirect.optional().meta({ description: "A redirect." }),
});
