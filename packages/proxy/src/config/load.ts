/** From a file or an object to a configuration in force, or to everything that is wrong with it. */
import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, resolve } from "node:path";
import { z } from "zod";
import { type ConfigProblem, PorticoProxyError, describeProblem } from "../errors.ts";
import { crossCheck } from "./check.ts";
import { checkExpressions } from "./check/expressions.ts";
import { checkFiles } from "./check/pages.ts";
import { LINK_SECRET_VARIABLE } from "./check/upstreams.ts";
import { type KeyPath, findings, locate } from "./problems.ts";
import {
  type ErrorPageSettings,
  type ProxyConfig,
  type ResolvedConfig,
  type SiteSettings,
  type UpstreamSettings,
  configSchema,
} from "./schema.ts";
import { readSource } from "./source.ts";

/** Only types: gives an editor the names and the compiler the check. */
export function defineProxy(config: ProxyConfig): ProxyConfig {
  return config;
}

/** Instead of paths. */
const PATH_WORDS = new Set(["off", "stdout", "stderr"]);

type Absolute = (path: string) => string;

function withAbsolutePages<Owner extends { errorPages?: ErrorPageSettings | undefined }>(
  owner: Owner,
  absolute: Absolute,
): Owner {
  if (owner.errorPages === undefined) return owner;
  const pages = Object.entries(owner.errorPages.pages).map(([status, file]) => [status, absolute(file)]);
  return { ...owner, errorPages: { ...owner.errorPages, pages: Object.fromEntries(pages) as Record<string, string> } };
}

function siteWithAbsolutePaths(site: SiteSettings, absolute: Absolute): SiteSettings {
  const { maintenance } = site;
  return {
    ...withAbsolutePages(site, absolute),
    ...(maintenance?.page === undefined ? {} : { maintenance: { ...maintenance, page: absolute(maintenance.page) } }),
    routes: site.routes.map((route) => {
      const own = withAbsolutePages(route, absolute);
      return own.static === undefined ? own : { ...own, static: { ...own.static, root: absolute(own.static.root) } };
    }),
  };
}

function upstreamWithAbsolutePaths(upstream: UpstreamSettings, absolute: Absolute): UpstreamSettings {
  const { ca, certificate, key, ...tls } = upstream.tls;
  return {
    ...upstream,
    tls: {
      ...tls,
      ...(ca === undefined ? {} : { ca: absolute(ca) }),
      ...(certificate === undefined ? {} : { certificate: absolute(certificate) }),
      ...(key === undefined ? {} : { key: absolute(key) }),
    },
  };
}

/** Paths of a configuration are relative to its file (to the working directory for an object). */
function withAbsolutePaths(config: ResolvedConfig, base: string): ResolvedConfig {
  const absolute: Absolute = (path) => (isAbsolute(path) ? path : resolve(base, path));
  const unlessWord = (where: string): string => (PATH_WORDS.has(where) ? where : absolute(where));
  return {
    ...withAbsolutePages(config, absolute),
    listen: config.listen.map((one) => (one.unix === undefined ? one : { ...one, unix: absolute(one.unix) })),
    log: { ...config.log, access: unlessWord(config.log.access), error: unlessWord(config.log.error) },
    ...(config.control === undefined ? {} : { control: unlessWord(config.control) }),
    ...(config.linkSecretFile === undefined ? {} : { linkSecretFile: absolute(config.linkSecretFile) }),
    ...(config.tempDirectory === undefined ? {} : { tempDirectory: absolute(config.tempDirectory) }),
    upstreams: Object.fromEntries(
      Object.entries(config.upstreams).map(([name, one]) => [name, upstreamWithAbsolutePaths(one, absolute)]),
    ),
    sites: config.sites.map((site) => siteWithAbsolutePaths(site, absolute)),
  };
}

/** The link's secret, from wherever it stands: the configuration, its file, the environment. */
async function withSecret(config: ResolvedConfig): Promise<ResolvedConfig> {
  if (config.linkSecret !== undefined) return config;
  const { linkSecretFile } = config;
  const given = linkSecretFile === undefined ? process.env[LINK_SECRET_VARIABLE] : await readSecret(linkSecretFile);
  if (given === undefined || given === "") return config;
  const checked = configSchema.shape.linkSecret.safeParse(given);
  if (checked.success) return { ...config, linkSecret: given };
  throw new PorticoProxyError(
    "config-invalid",
    `${linkSecretFile ?? LINK_SECRET_VARIABLE}: the link's secret ${checked.error.issues[0]!.message}`,
  );
}

async function readSecret(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (cause) {
    throw new PorticoProxyError("config-unreadable", `linkSecretFile ${file}: ${(cause as Error).message}`, { cause });
  }
}

interface Origin {
  readonly file: string | undefined;
  readonly base: string;
  readonly lineOf: (path: KeyPath) => number | undefined;
}

function refuse(problems: readonly ConfigProblem[]): never {
  const count = problems.length === 1 ? "one mistake" : `${problems.length} mistakes`;
  throw new PorticoProxyError(
    "config-invalid",
    `the configuration has ${count}:\n${problems.map((one) => `  ${describeProblem(one)}`).join("\n")}`,
    { problems },
  );
}

async function resolveFrom(data: unknown, origin: Origin): Promise<ResolvedConfig> {
  const result = configSchema.safeParse(data);
  const found = [
    ...(result.success ? [] : findings(configSchema, data, result.error)),
    ...crossCheck(data),
    ...(await checkExpressions(data)),
    ...checkFiles(data, origin.base),
  ];
  if (found.length > 0) refuse(locate(found, origin.file, origin.lineOf));
  return withSecret(withAbsolutePaths(result.data!, origin.base));
}

/** A file whose content someone adds to before it is validated, as `portico serve` adds its application. */
export interface AdjustedFile {
  readonly file: string;
  /** Given what the file holds, whatever that is; its result is validated. Called at each reload. */
  adjust(written: unknown): unknown;
}

/** Where a configuration comes from: a file, an object, or a file with additions. */
export type ConfigSource = string | ProxyConfig | AdjustedFile;

const isAdjusted = (source: ProxyConfig | AdjustedFile): source is AdjustedFile => "adjust" in source;

/**
 * Reads and validates a configuration file, or validates an object.
 *
 * @throws PorticoProxyError `config-unreadable`, `config-syntax`; `config-invalid` with every problem there is
 */
export async function loadConfig(source: ConfigSource): Promise<ResolvedConfig> {
  if (typeof source !== "string" && !isAdjusted(source))
    return resolveFrom(source, { file: undefined, base: process.cwd(), lineOf: () => undefined });
  const file = typeof source === "string" ? source : source.file;
  const { data, lineOf } = await readSource(file);
  const adjusted = typeof source === "string" ? data : source.adjust(data);
  return resolveFrom(adjusted, { file, base: dirname(resolve(file)), lineOf });
}

/** The configuration in force as one would write it, every default included, the secret hidden. */
export function printConfig(config: ResolvedConfig): string {
  const shown = {
    ...z.encode(configSchema, config),
    ...(config.linkSecret === undefined ? {} : { linkSecret: "(hidden)" }),
  };
  return JSON.stringify(shown, null, 2);
}
