/**
 * The settings of the server, in one schema: types, validation, defaults, command-line flags, `--help`, the JSON
 * Schema for editors and the reference page all come from the rows below.
 *
 * A row is a zod schema plus {@link SettingMeta}. Its key is the name in `server.config.ts`.
 */
import { z } from "zod";

/** What a row says beside its type. */
export interface SettingMeta {
  /** Flags as commander reads them; undefined: in the configuration file only. */
  readonly flags?: string;
  /** How the text of a flag becomes the value: number where it looks like one, text, or a list (flag repeatable). */
  readonly from: "number" | "text" | "list";
  /** One or two sentences, for `--help` and the reference. */
  readonly about: string;
  /** When a reload (SIGHUP) takes up a changed value: with the new workers, or only when the master is started again. */
  readonly changes: "reload" | "restart";
}

/** Rows in the order in which `--help` and the reference page show them, by section. */
const section = z.registry<SettingMeta>();

function row<T extends z.ZodType>(schema: T, meta: SettingMeta): T {
  section.add(schema, meta);
  return schema;
}

const seconds = (fallback: number): z.ZodDefault<z.ZodNumber> => z.number().min(0).max(86_400).default(fallback);
const count = (least: number): z.ZodNumber => z.number().int().min(least);

/** gunicorn's; kernels cap it at net.core.somaxconn. */
const DEFAULT_BACKLOG = 2048;

/** Section → its rows. */
const sections = {
  application: {
    $schema: row(z.string().optional(), {
      from: "text",
      about: "JSON Schema of the file, for editors.",
      changes: "reload",
    }),
    app: row(z.string().min(1).optional(), {
      from: "text",
      about:
        "The application: a file (`app.ts`), a package name, either with `:export` or `:factory()`. On the command line it is the argument.",
      changes: "reload",
    }),
    interface: row(z.enum(["auto", "tsgi", "node"]).default("auto"), {
      flags: "--interface <kind>",
      from: "text",
      about:
        "How an exported plain function is called: `tsgi` (request, ctx), `node` (req, res), or `auto`: `node` if it takes three parameters or its second one is named `res` or `response`, else `tsgi`.",
      changes: "reload",
    }),
    chdir: row(z.string().min(1).optional(), {
      flags: "--chdir <folder>",
      from: "text",
      about: "Working folder of the workers, and what MODULE and relative socket paths are relative to.",
      changes: "restart",
    }),
    env: row(z.record(z.string(), z.string()).default({}), {
      from: "list",
      about: "Environment variables for the workers, added to the master's own.",
      changes: "reload",
    }),
    compileCache: row(z.union([z.boolean(), z.string().min(1)]).default(true), {
      flags: "--compile-cache <folder>",
      from: "text",
      about:
        "Where Node keeps compiled code for the workers' next start: a folder, `true` (Node's default folder under the temporary one), or `false`.",
      changes: "reload",
    }),
  },
  listening: {
    bind: row(z.array(z.string().min(1)).min(1).default(["127.0.0.1:8000"]), {
      flags: "-b, --bind <address>",
      from: "list",
      about:
        "Address to listen on, any number of times: `host:port`, `unix:/path`, `fd://N` for HTTP/1.1; `link://host:port`, `link+unix:/path` for a front that speaks the link protocol.",
      changes: "reload",
    }),
    backlog: row(count(1).default(DEFAULT_BACKLOG), {
      flags: "--backlog <connections>",
      from: "number",
      about: "Connections that may wait in the kernel to be accepted.",
      changes: "reload",
    }),
    socketMode: row(
      z
        .string()
        .regex(/^0?[0-7]{3}$/, "must be an octal mode such as 0660")
        .default("0660"),
      { flags: "--socket-mode <octal>", from: "text", about: "File mode of unix sockets.", changes: "reload" },
    ),
    linkSecret: row(z.string().min(16, "must be at least 16 characters long").optional(), {
      from: "text",
      about:
        "Secret shared with the front, which links over TCP must prove. There is no flag, because a command line is public; the environment variable is PORTICO_LINK_SECRET.",
      changes: "reload",
    }),
    linkSecretFile: row(z.string().min(1).optional(), {
      flags: "--link-secret-file <file>",
      from: "text",
      about: "File that holds the link secret; white space around it is dropped.",
      changes: "reload",
    }),
    forwardedAllowIps: row(z.array(z.string().min(1)).default(["127.0.0.0/8", "::1", "unix"]), {
      flags: "--forwarded-allow-ips <address>",
      from: "list",
      about:
        "Fronts whose X-Forwarded-For, X-Forwarded-Proto and X-Request-Id are believed: addresses, CIDR ranges, `unix`, or `*`. Repeatable; a comma separates too.",
      changes: "reload",
    }),
    keepAlive: row(seconds(75), {
      flags: "--keep-alive <seconds>",
      from: "number",
      about:
        "How long an idle HTTP connection is kept. Longer than the front's own (60 s), so that the front lets go first.",
      changes: "reload",
    }),
  },
  workers: {
    workers: row(z.union([count(1).max(1024), z.literal("auto")]).default(1), {
      flags: "-w, --workers <count>",
      from: "number",
      about:
        "Worker processes. `auto`: one per core this process may use (cgroup limits and affinity included). The default is WEB_CONCURRENCY where it is set, else 1.",
      changes: "reload",
    }),
    concurrency: row(count(0).default(0), {
      flags: "--concurrency <requests>",
      from: "number",
      about:
        "Requests a worker works on at once; 1 makes it a synchronous worker, 0 is no limit. Over the link it is announced to the front; over HTTP further requests wait in the worker's queue.",
      changes: "reload",
    }),
    queue: row(count(0).default(64), {
      flags: "--queue <requests>",
      from: "number",
      about:
        "HTTP requests that may wait in a worker whose concurrency is reached. Beyond it the answer is 503 with Retry-After, at once.",
      changes: "reload",
    }),
    timeout: row(seconds(30), {
      flags: "--timeout <seconds>",
      from: "number",
      about:
        "A worker whose event loop has not turned for so long is replaced, and the stack it is stuck in is logged. At half of it there is a warning. 0: never.",
      changes: "restart",
    }),
    bootTimeout: row(seconds(30), {
      flags: "--boot-timeout <seconds>",
      from: "number",
      about: "How long a worker may take to load the application and start up.",
      changes: "restart",
    }),
    gracefulTimeout: row(seconds(30), {
      flags: "--graceful-timeout <seconds>",
      from: "number",
      about: "How long a worker that leaves may take to finish its requests, `waitUntil` work and shutdown.",
      changes: "restart",
    }),
    maxSurge: row(count(1).default(1), {
      flags: "--max-surge <workers>",
      from: "number",
      about: "Workers that a reload replaces at a time.",
      changes: "restart",
    }),
  },
  logging: {
    logLevel: row(z.enum(["debug", "info", "warn", "error", "silent"]).default("info"), {
      flags: "--log-level <level>",
      from: "text",
      about: "Least level that is logged.",
      changes: "reload",
    }),
    logFile: row(z.string().min(1).default("-"), {
      flags: "--log-file <file>",
      from: "text",
      about: "Where the log goes; `-` is standard error. Reopened on SIGUSR1.",
      changes: "restart",
    }),
    logFormat: row(z.enum(["auto", "json", "text"]).default("auto"), {
      flags: "--log-format <format>",
      from: "text",
      about: "`json`, `text` for people, or `auto`: text on a terminal, else JSON.",
      changes: "restart",
    }),
    accessLog: row(z.string().min(1).optional(), {
      flags: "--access-log <file>",
      from: "text",
      about: "One JSON line per request, to a file or `-` (standard output). Off where it is not given.",
      changes: "reload",
    }),
  },
} as const;

/** Every setting by its key. Unknown keys are errors. */
export const ServerSettings = z.strictObject({
  ...sections.application,
  ...sections.listening,
  ...sections.workers,
  ...sections.logging,
});

/** What a person writes: everything optional. */
export type ServerConfig = z.input<typeof ServerSettings>;
/** What the server works with: defaults filled in. */
export type ResolvedConfig = z.output<typeof ServerSettings>;
export type SettingName = keyof ResolvedConfig;

/** One setting, for whoever lists them. */
export interface Setting {
  readonly name: SettingName;
  readonly section: string;
  readonly schema: z.ZodType;
  readonly meta: SettingMeta;
}

/** All settings in order. */
export const SETTINGS: readonly Setting[] = Object.entries(sections).flatMap(([name, rows]) =>
  Object.entries(rows as Record<string, z.ZodType>).map(([key, schema]) => ({
    name: key as SettingName,
    section: name,
    schema,
    meta: section.get(schema)!,
  })),
);

/** Types a configuration file: `export default defineServer({ ... })`. Returns what it is given. */
export function defineServer(config: ServerConfig): ServerConfig {
  return config;
}
