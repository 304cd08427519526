/**
 * The schema of the proxy's configuration: the single source of its types, validation, defaults, JSON Schema,
 * reference page and `print-config`.
 *
 * `.prefault` gives a default in the words one would write; `.meta({ description })` is the sentence of the
 * reference. Settings that refer to each other (a route's upstream) are checked in `check.ts`.
 */
import { z } from "zod";
import { duration, size } from "./units.ts";

const count = (minimum = 0) => z.number().int().min(minimum);

// --- listening -------------------------------------------------------------------------------------------------

const listenObject = z.strictObject({
  port: z.number().int().min(0).max(65_535).optional().meta({ description: "TCP port; 0 lets the system choose one." }),
  host: z
    .string()
    .min(1)
    .optional()
    .meta({ description: "Address to listen on. Without it: every address of the machine, IPv4 and IPv6." }),
  unix: z
    .string()
    .min(1)
    .optional()
    .meta({ description: "Path of a unix socket, relative to the configuration file, instead of `port`." }),
  mode: z
    .string()
    .regex(/^0?[0-7]{3}$/, { error: 'must be an octal file mode, such as "0660"' })
    .optional()
    .meta({ description: 'File mode of the unix socket, octal, such as "0660".' }),
  backlog: count(1).prefault(1024).meta({ description: "Connections the system holds until a thread accepts them." }),
});

// `host:port`, `[v6]:port`, `:port`, `unix:/path`.
const LISTEN_TEXT = /^(?:unix:(?<unix>.+)|(?:(?<name>[^\s:[\]]+)|\[(?<v6>[0-9a-fA-F:.]+)\])?:(?<port>\d{1,5}))$/;

function decodeListen(value: number | string | z.input<typeof listenObject>): z.input<typeof listenObject> {
  if (typeof value === "number") return { port: value };
  if (typeof value !== "string") return { ...value };
  const parts = LISTEN_TEXT.exec(value)?.groups ?? {};
  if (parts["unix"] !== undefined) return { unix: parts["unix"] };
  const host = parts["name"] ?? parts["v6"];
  return { port: Number(parts["port"]), ...(host === undefined ? {} : { host }) };
}

const listen = z
  .codec(
    z.union(
      [
        z.number().int().min(0).max(65_535),
        z.string().regex(LISTEN_TEXT, { error: 'must be "host:port", "[address]:port", ":port" or "unix:/path"' }),
        listenObject,
      ],
      {
        error:
          'must be a port, an address such as "127.0.0.1:8080" or "unix:/path", or an object with `port` or `unix`',
      },
    ),
    listenObject,
    { decode: decodeListen, encode: (value) => ({ ...value, backlog: value.backlog ?? 1024 }) },
  )
  .meta({ description: 'A port, an address (`"127.0.0.1:8080"`, `"[::1]:80"`, `"unix:/path"`), or an object.' });

// --- upstreams -------------------------------------------------------------------------------------------------

const SERVER_ADDRESS = /^((http|https):\/\/[^/?#\s]+\/?|link:\/\/[^/?#\s]+:\d+|(http|link)\+unix:\/[^\0]+)$/;

const address = z.string().regex(SERVER_ADDRESS, {
  error:
    "must be an address: http://host:port, https://host:port, http+unix:/path, link://host:port or link+unix:/path",
});

const serverObject = z.strictObject({
  address: address.meta({
    description: "`http://host:port`, `https://host:port`, `http+unix:/path`, `link://host:port` or `link+unix:/path`.",
  }),
  weight: count(1)
    .max(10_000)
    .prefault(1)
    .meta({ description: "Share of the requests, relative to the other servers." }),
  maxConnections: count().prefault(0).meta({
    description: "Requests under way at once; 0: no limit of ours (over the link, the workers announce their own).",
  }),
});

const server = z.codec(z.union([address, serverObject]), serverObject, {
  decode: (value) => (typeof value === "string" ? { address: value } : { ...value }),
  encode: (value) => ({ address: value.address, weight: value.weight ?? 1, maxConnections: value.maxConnections ?? 0 }),
});

const upstream = z.strictObject({
  servers: z
    .array(server)
    .min(1, { error: "must name at least one server" })
    .meta({ description: "The servers: an address each, or an object with its weight." }),
  balance: z.enum(["least-connections", "round-robin"]).prefault("least-connections").meta({
    description:
      "How a server is chosen: the one with the fewest requests under way (by weight), or each in turn (smooth, weighted).",
  }),
  queue: z
    .strictObject({
      size: count().prefault(1000).meta({
        description: "Requests that wait while every server is busy; beyond it, 503 with Retry-After at once.",
      }),
      timeout: duration
        .prefault("10s")
        .meta({ description: "How long a request waits there before it is answered 503." }),
    })
    .prefault({})
    .meta({ description: "The bounded queue in front of the servers." }),
  connectTimeout: duration.prefault("5s").meta({ description: "Time to connect to a server." }),
  responseTimeout: duration
    .prefault("60s")
    .meta({ description: "Time until the head of the response, from when the request was sent." }),
  idleTimeout: duration.prefault("60s").meta({ description: "Time between two parts of the response's body." }),
  keepAlive: duration
    .prefault("60s")
    .meta({ description: "How long an idle connection to a server is kept; shorter than the server keeps it." }),
  retries: z
    .strictObject({
      attempts: count().max(10).prefault(1).meta({ description: "Further servers tried after the first failed." }),
      within: duration
        .prefault("10s")
        .meta({ description: "No further attempt begins later than this after the first." }),
    })
    .prefault({})
    .meta({
      description:
        "Retries on the next server, only where they are safe: the request was certainly not processed, or its method is idempotent.",
    }),
  ejection: z
    .strictObject({
      failures: count()
        .prefault(3)
        .meta({ description: "Failures in a row after which a server gets no requests for a while; 0: never." }),
      time: duration.prefault("10s").meta({ description: "How long it gets none." }),
    })
    .prefault({})
    .meta({ description: "Passive health: a server that fails is left alone for a while, the last one never." }),
});

// --- handlers of a route ---------------------------------------------------------------------------------------

const buffering = z.enum(["full", "stream"]);

const requestBuffer = z
  .strictObject({
    mode: buffering.prefault("full").meta({
      description: "`full`: read the whole body before a server is bothered; `stream`: pass it on as it comes.",
    }),
    memory: size
      .prefault("64KiB")
      .meta({ description: "Part of a body that is held in memory; the rest goes to a temporary file." }),
  })
  .prefault({})
  .meta({ description: "How request bodies are taken." });

const responseBuffer = z
  .strictObject({
    mode: buffering.prefault("full").meta({
      description: "`full`: take the response off the server as fast as it comes; `stream`: at the client's pace.",
    }),
    memory: size.prefault("256KiB").meta({
      description: "Part of a response that is held in memory for a slow client; the rest goes to a temporary file.",
    }),
    disk: size
      .prefault("1GiB")
      .meta({ description: "Most that is written to the temporary file; beyond it, the server is slowed down." }),
  })
  .prefault({})
  .meta({ description: "How responses are taken. Event streams and `X-Accel-Buffering: no` are never held back." });

const proxy = z.strictObject({
  upstream: z.string().min(1).meta({ description: "Name of the upstream, a key of `upstreams`." }),
  host: z.string().min(1).prefault("pass").meta({
    description:
      "Host field for the server: `pass` the client's, `upstream` the server's own address, or a fixed value.",
  }),
  request: requestBuffer,
  response: responseBuffer,
  responseTimeout: duration.optional().meta({ description: "Instead of the upstream's `responseTimeout`." }),
  idleTimeout: duration.optional().meta({ description: "Instead of the upstream's `idleTimeout`." }),
});

const files = z.strictObject({
  root: z.string().min(1).meta({ description: "Directory, relative to the configuration file." }),
  index: z
    .array(z.string().min(1))
    .prefault(["index.html"])
    .meta({ description: "Files that answer for a directory, the first that exists." }),
  stripPrefix: z.boolean().prefault(true).meta({
    description:
      "Whether the route's prefix is removed before the path is looked up: `/assets/a.css` of route `/assets/*` is `a.css` in the root.",
  }),
  tryFiles: z.array(z.string().min(1)).prefault(["$path"]).meta({
    description:
      'Paths tried in turn, `$path` being the request\'s: `["$path", "$path.html", "/index.html"]` serves a single-page application. The last may be a status, `=404`.',
  }),
  cacheControl: z.string().optional().meta({
    description:
      "Cache-Control of the files. `immutable` gives files with a hash in their name a year (`public, max-age=31536000, immutable`), all others `no-cache`.",
  }),
  headers: z.record(z.string(), z.string()).optional().meta({ description: "Fields added to every file." }),
  dotfiles: z
    .boolean()
    .prefault(false)
    .meta({ description: "Whether names that begin with a dot are served (`.well-known` always is)." }),
  symlinks: z
    .enum(["inside", "any"])
    .prefault("inside")
    .meta({ description: "Symbolic links: followed only to places inside the root, or anywhere." }),
  fallthrough: z
    .boolean()
    .prefault(false)
    .meta({ description: "A file that is not there passes the request on to the next matching route instead of 404." }),
});

const respond = z.strictObject({
  status: z.number().int().min(200).max(599).prefault(200).meta({ description: "Status of the answer." }),
  headers: z.record(z.string(), z.string()).optional().meta({ description: "Its fields." }),
  body: z
    .string()
    .prefault("")
    .meta({ description: "Its body, sent as UTF-8; text/plain unless `headers` says otherwise." }),
});

const redirect = z.strictObject({
  to: z.string().min(1).meta({
    description:
      "Target, with `$scheme`, `$host`, `$path` (as received), `$query` (with its question mark, or empty): `https://$host$path$query`.",
  }),
  status: z
    .union([z.literal(301), z.literal(302), z.literal(303), z.literal(307), z.literal(308)], {
      error: "must be 301, 302, 303, 307 or 308",
    })
    .prefault(308)
    .meta({ description: "301, 302, 303, 307 or 308." }),
});

// --- sites -----------------------------------------------------------------------------------------------------

const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

const routeLimits = z.strictObject({
  bodySize: size
    .optional()
    .meta({ description: "Largest request body; beyond it 413. Without it: `limits.bodySize`." }),
});

const route = z.strictObject({
  name: z.string().min(1).optional().meta({ description: "Name for the log; without it the path." }),
  path: z
    .string()
    .regex(/^\/([^*?#\s]*|([^*?#\s]*\/)?\*)$/, {
      error: 'must be a path, "/about", or a prefix that ends in "/*", "/assets/*"',
    })
    .meta({ description: "`/about` exactly that path; `/assets/*` every path that begins with `/assets/`." }),
  methods: z
    .array(z.string().regex(METHOD, { error: "must be a method, such as GET" }))
    .min(1)
    .optional()
    .meta({
      description:
        "Methods of this route; GET includes HEAD. Without it: every method. A path whose routes all refuse the method is answered 405.",
    }),
  limits: routeLimits.optional().meta({ description: "Limits of this route." }),
  static: files.optional().meta({ description: "Serves files." }),
  proxy: proxy.optional().meta({ description: "Passes the request to an upstream." }),
  respond: respond.optional().meta({ description: "A fixed answer." }),
  redirect: redirect.optional().meta({ description: "A redirect." }),
});

const HOST = /^(\*|(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?|\[[0-9a-f:.]+\])$/i;

const site = z.strictObject({
  hosts: z
    .array(z.string().regex(HOST, { error: 'must be a host name, "*.example.com" or "*"' }))
    .min(1, { error: 'must name at least one host; "*" is every other' })
    .meta({
      description:
        "Names of the site, without port: `example.com`, `*.example.com` (any name below it), `*` (every name no other site has). An unknown name is answered 421.",
    }),
  routes: z.array(route).min(1, { error: "must have at least one route" }).meta({
    description: "The routes. An exact path goes before a prefix, a longer prefix before a shorter, then the first.",
  }),
});

// --- the whole -------------------------------------------------------------------------------------------------

const limits = z.strictObject({
  requestLine: size.prefault("8KiB").meta({ description: "Longest request line; beyond it 414." }),
  headerField: size.prefault("8KiB").meta({ description: "Longest header field; beyond it 431." }),
  headerBlock: size.prefault("32KiB").meta({ description: "All header fields together; beyond it 431." }),
  headerFields: count(1).prefault(100).meta({ description: "Number of header fields; beyond it 431." }),
  bodySize: size
    .prefault("10MiB")
    .meta({ description: "Largest request body; beyond it 413. A route may set its own." }),
  connections: count(1)
    .prefault(16_384)
    .meta({ description: "Client connections at once, all threads together; beyond it new ones are closed at once." }),
  requestsPerConnection: count(1)
    .prefault(1000)
    .meta({ description: "Requests over one client connection before it is closed in an orderly way." }),
});

const timeouts = z.strictObject({
  header: duration.prefault("15s").meta({ description: "Time for the whole head of a request; beyond it 408." }),
  body: duration.prefault("30s").meta({ description: "Time between two parts of a request's body; beyond it 408." }),
  bodyRate: count()
    .prefault(240)
    .meta({ description: "Slowest rate of a request's body, bytes a second, after the first five seconds; 0: none." }),
  keepAlive: duration.prefault("75s").meta({ description: "How long an idle client connection is kept." }),
  send: duration
    .prefault("60s")
    .meta({ description: "How long a client may take nothing of a response before its connection is closed." }),
  graceful: duration.prefault("30s").meta({ description: "How long a graceful stop waits for requests under way." }),
});

const log = z.strictObject({
  access: z
    .string()
    .min(1)
    .prefault("off")
    .meta({ description: "Access log, JSON, one line for each request: `off`, `stdout`, `stderr` or a file." }),
  error: z
    .string()
    .min(1)
    .prefault("stderr")
    .meta({ description: "Error log, JSON: `off`, `stdout`, `stderr` or a file." }),
  level: z
    .enum(["debug", "info", "warn", "error"])
    .prefault("info")
    .meta({ description: "Least level that is written to the error log." }),
});

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
  sites: z
    .array(site)
    .min(1, { error: "must have at least one site" })
    .meta({ description: "The sites, by name of the host." }),
  limits: limits.prefault({}).meta({ description: "Limits of every connection and request." }),
  timeouts: timeouts.prefault({}).meta({ description: "Times of every client connection." }),
  trustedProxies: z.array(z.string().min(1)).prefault([]).meta({
    description:
      "Peers whose X-Forwarded-*, Forwarded and X-Request-Id are believed: addresses, CIDR ranges, `loopback`, `private`, `unix`.",
  }),
  log: log.prefault({}).meta({ description: "Logs." }),
  staticCache: z
    .strictObject({
      size: size.prefault("64MiB").meta({ description: "Memory for small files, all threads together; 0: none." }),
      file: size.prefault("1MiB").meta({ description: "Largest file that is kept." }),
      check: duration
        .prefault("1s")
        .meta({ description: "How long a kept file is believed before its change time is looked at again." }),
    })
    .prefault({})
    .meta({ description: "Small files kept in memory." }),
  linkSecret: z.string().min(16, { error: "must be at least 16 characters long" }).optional().meta({
    description:
      "Secret shared with the servers that are reached by `link://`, which both ends must prove. The environment variable PORTICO_LINK_SECRET gives it too.",
  }),
  linkSecretFile: z
    .string()
    .min(1)
    .optional()
    .meta({ description: "File that holds it, relative to the configuration file; white space around it is dropped." }),
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
/** `weight` and `maxConnections` (0: no limit) are filled in. */
export type ServerSettings = UpstreamSettings["servers"][number];
export type SiteSettings = ResolvedConfig["sites"][number];
export type RouteSettings = SiteSettings["routes"][number];
export type ProxySettings = NonNullable<RouteSettings["proxy"]>;
export type StaticSettings = NonNullable<RouteSettings["static"]>;
export type RespondSettings = NonNullable<RouteSettings["respond"]>;
export type RedirectSettings = NonNullable<RouteSettings["redirect"]>;
export type LogSettings = ResolvedConfig["log"];
