/**
 * The schema of the proxy's configuration: the single source of its types, validation, defaults, JSON Schema,
 * reference page and `print-config`. Each section has a file of its own in `schema/`.
 *
 * `.prefault` gives a default in the words one would write; `.meta({ description })` is the sentence of the
 * reference. Settings that refer to each other (a route's upstream) are checked in `check/`.
 */
import { z } from "zod";
import { count } from "./schema/count.ts";
import { errorPages } from "./schema/error-pages.ts";
import { limits, timeouts } from "./schema/limits.ts";
import { listen } from "./schema/listen.ts";
import { log } from "./schema/log.ts";
import { resolver } from "./schema/resolver.ts";
import { site } from "./schema/site.ts";
import { staticCache } from "./schema/static.ts";
import { upstream } from "./schema/upstream.ts";

export const configSchema = z.strictObject({
  $schema: z.string().optional().meta({ description: "JSON Schema of this file, for editors." }),
  listen: z
    .array(listen)
    .min(1, { error: "must name at least one address" })
    .prefault([8080])
    .meta({ description: "Addresses to listen on." }),
  threads: z
    .union([z.literal("auto"), count(1).max(256)], { error: 'must be a number from 1 to 256, or "auto"' })
    .prefault("auto")
    .meta({ description: "Threads that serve; `auto`: one for each processor this process may use." }),
  upstreams: z.record(z.string().min(1), upstream).prefault({}).meta({ description: "Named groups of servers." }),
  resolver,
  sites: z
    .array(site)
    .min(1, { error: "must have at least one site" })
    .meta({ description: "The sites, by name of the host." }),
  errorPages: errorPages.optional().meta({ description: "Error pages of every site that has none of its own." }),
  limits: limits.prefault({}).meta({ description: "Limits of every connection and request." }),
  timeouts: timeouts.prefault({}).meta({ description: "Times of every client connection." }),
  trustedProxies: z.array(z.string().min(1)).prefault([]).meta({
    description:
      "Peers whose X-Forwarded-*, Forwarded and X-Request-Id are believed: addresses, CIDR ranges, `loopback`, `private`, `unix`.",
  }),
  log: log.prefault({}).meta({ description: "Logs." }),
  staticCache,
  linkSecret: z.string().min(16, { error: "must be at least 16 characters long" }).optional().meta({
    description:
      "Secret shared with the servers that are reached by `link://`, which both ends must prove. The environment variable PORTICO_LINK_SECRET gives it too.",
  }),
  linkSecretFile: z
    .string()
    .min(1)
    .optional()
    .meta({ description: "File that holds it, relative to the configuration file; white space around it is dropped." }),
  control: z.string().min(1).optional().meta({
    description:
      "Unix socket for `portico-proxy reload`, `status` and `stop`, relative to the configuration file; `off`: none. Without it: one below the runtime directory of the user, named after the configuration file.",
  }),
  tempDirectory: z.string().min(1).optional().meta({
    description:
      "Directory for bodies beyond the memory limits, relative to the configuration file. Without it: a private one below the system's.",
  }),
});

/** A configuration as one writes it: everything with a default may be left out. */
export type ProxyConfig = z.input<typeof configSchema>;

/**
 * A configuration in force: every default filled in, durations in milliseconds, sizes in bytes, paths absolute.
 * Plain data: it can be cloned to a thread.
 */
export type ResolvedConfig = z.output<typeof configSchema>;

export type ListenSettings = ResolvedConfig["listen"][number];
export type UpstreamSettings = ResolvedConfig["upstreams"][string];
/** `weight`, `maxConnections` (0: no limit), `backup` and `drain` are filled in. */
export type ServerSettings = UpstreamSettings["servers"][number];
export type HealthSettings = NonNullable<UpstreamSettings["health"]>;
export type StickySettings = NonNullable<UpstreamSettings["sticky"]>;
export type UpstreamTlsSettings = UpstreamSettings["tls"];
export type ResolverSettings = ResolvedConfig["resolver"];
export type SiteSettings = ResolvedConfig["sites"][number];
export type RouteSettings = SiteSettings["routes"][number];
export type MatchSettings = NonNullable<RouteSettings["match"]>;
export type RewriteSettings = NonNullable<RouteSettings["rewrite"]>;
export type ErrorPageSettings = NonNullable<RouteSettings["errorPages"]>;
export type MaintenanceSettings = NonNullable<SiteSettings["maintenance"]>;
export type ProxySettings = NonNullable<RouteSettings["proxy"]>;
export type SplitSettings = NonNullable<ProxySettings["split"]>;
export type MirrorSettings = NonNullable<ProxySettings["mirror"]>;
export type StaticSettings = NonNullable<RouteSettings["static"]>;
export type RespondSettings = NonNullable<RouteSettings["respond"]>;
export type RedirectSettings = NonNullable<RouteSettings["redirect"]>;
export type LogSettings = ResolvedConfig["log"];
