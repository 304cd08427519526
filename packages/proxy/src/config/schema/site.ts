/** `sites`: which names are served, by which routes. */
import { z } from "zod";
import { duration } from "../units.ts";
import { errorPages } from "./error-pages.ts";
import { clientList } from "./pattern.ts";
import { route } from "./route.ts";

// A name, `*.` before it, `.*` behind it, `*`, an IPv6 literal, or `~` and an expression.
const HOST =
  /^(\*|(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?|([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)+\*|\[[0-9a-f:.]+\]|~.+)$/i;

const maintenance = z.strictObject({
  enabled: z.boolean().prefault(true).meta({ description: "Whether it is in force." }),
  page: z.string().min(1).optional().meta({
    description:
      "File of the page, relative to the configuration file; without it the built-in one. As in `errorPages`.",
  }),
  retryAfter: duration.prefault("5m").meta({ description: "What Retry-After says." }),
  allow: clientList
    .optional()
    .meta({ description: "Clients that are let through: addresses, CIDR ranges, `private`." }),
});

export const site = z.strictObject({
  hosts: z
    .array(z.string().regex(HOST, { error: 'must be a host name, "*.example.com", "example.*", "~expression" or "*"' }))
    .min(1, { error: 'must name at least one host; "*" is every other' })
    .meta({
      description:
        "Names of the site, without port: `example.com`, `*.example.com` (any name below it), `example.*` (any ending), `~^(.+)\\.example\\.com$` (a regular expression on the name in lower case), `*` (every name no other site has). They go before each other in this order, longer wildcards first, expressions in order. An unknown name is answered 421.",
    }),
  canonical: z
    .string()
    .regex(
      /^((https?:)?\/\/([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(:\d{1,5})?|https?:\/\/)$/i,
      {
        error: 'must be "https://example.com", "https://" (the scheme only) or "//example.com" (the name only)',
      },
    )
    .optional()
    .meta({
      description:
        "The one address of the site: requests by another scheme or under another of its names are redirected there (308), path and query kept. `https://www.example.com`, `https://` (the scheme only), `//example.com` (the name only). `/.well-known/acme-challenge/` is left alone.",
    }),
  maintenance: maintenance.optional().meta({ description: "Answers every request with 503 and a page." }),
  errorPages: errorPages.optional().meta({ description: "Error pages of the site." }),
  routes: z.array(route).min(1, { error: "must have at least one route" }).meta({
    description:
      "The routes. An exact path goes before a prefix, a longer prefix before a shorter, then the first. A glob or expression counts as the prefix that it begins with.",
  }),
});
