/**
 * Where a configuration comes from: command line over the environment over the file over defaults, checked
 * against the one schema, all mistakes reported at once.
 */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type * as z from "zod";
import { CONFIG_FILES } from "./configuration-files.ts";
import { PorticoServerError } from "./error.ts";
import { predecessor } from "@portico/supervisor/predecessor";
import { suggestion } from "@portico/supervisor/nearest";
import { expectation } from "./expectation.ts";
import { syntaxErrorPlace } from "./source-line.ts";
import { checkHooks } from "./hooks.ts";
import type { ServerHooks } from "./hooks.ts";
import { ServerSettings, SETTINGS } from "./settings.ts";
import type { ResolvedConfig, ServerConfig } from "./settings.ts";

/** Parts of a configuration, strongest first. */
export interface ConfigurationSources {
  /** What holds where nothing else says anything, before the schema's own defaults. */
  readonly defaults?: ServerConfig;
  readonly flags: ServerConfig;
  readonly environmentFlags: ServerConfig;
  /** From `--config`; undefined: look for one of the usual names in `cwd`. */
  readonly file: string | undefined;
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
}

/** A checked configuration, and the file that took part in it. */
export interface LoadedConfiguration {
  readonly config: ResolvedConfig;
  readonly file: string | undefined;
  /** Setting → where its value is from: `command line`, a variable, the file, or `default`; absent: the schema. */
  readonly origins: Readonly<Record<string, string>>;
  /** Of the file, where it exports some. */
  readonly hooks: LoadedHooks | undefined;
}

/** Hooks, and the module that workers find theirs in. */
export interface LoadedHooks {
  readonly hooks: ServerHooks;
  readonly file: string;
}

/**
 * Reads the file again on each call, so a reload sees its present content.
 * @throws PorticoServerError `config` with every mistake in the message
 */
export async function loadConfiguration(sources: ConfigurationSources): Promise<LoadedConfiguration> {
  const file = findFile(sources);
  const { values: fromFile, hooks } = file === undefined ? NO_FILE : await readConfigFile(file);
  // Weakest first.
  const layers: readonly (readonly [string, Record<string, unknown>])[] = [
    ["default", { ...sources.defaults, ...passedSockets(sources.env) }],
    [file ?? "", fromFile],
    ["WEB_CONCURRENCY", webConcurrency(sources.env["WEB_CONCURRENCY"])],
    ["PORTICO_LINK_SECRET", linkSecret(sources.env["PORTICO_LINK_SECRET"])],
    ["PORTICO_SERVER_ARGS", sources.environmentFlags],
    ["command line", sources.flags],
  ];
  const merged: Record<string, unknown> = {};
  const origins: Record<string, string> = {};
  for (const [origin, values] of layers)
    for (const [name, value] of Object.entries(values)) {
      if (value === undefined) continue;
      merged[name] = value;
      origins[name] = origin;
    }
  return {
    config: checkConfiguration(merged, file ?? "command line"),
    file,
    origins,
    hooks: file === undefined || hooks === undefined ? undefined : { hooks, file },
  };
}

/**
 * Fills in defaults and checks every value.
 * @param origin file or other place that the message names
 * @throws PorticoServerError `config`
 */
export function checkConfiguration(value: unknown, origin: string): ResolvedConfig {
  const result = ServerSettings.safeParse(value);
  if (!result.success) {
    const mistakes = result.error.issues.flatMap(describeIssue);
    throw new PorticoServerError(
      "config",
      mistakes.length === 1 ? `${origin}: ${mistakes[0]}` : `${origin}: ${mistakes.length} mistakes`,
      mistakes.length === 1 ? undefined : { detail: mistakes.map((mistake) => `  ${mistake}`).join("\n") },
    );
  }
  return withSecret(result.data);
}

/** The names of settings whose change waits for a restart of the master. */
export function restartOnlyChanges(before: ResolvedConfig, after: ResolvedConfig): string[] {
  return SETTINGS.filter(
    ({ name, meta }) => meta.changes === "restart" && JSON.stringify(before[name]) !== JSON.stringify(after[name]),
  ).map(({ name }) => name);
}

function webConcurrency(text: string | undefined): ServerConfig {
  if (text === undefined || text === "") return {};
  if (text === "auto") return { workers: "auto" };
  const workers = Number(text);
  if (!Number.isInteger(workers) || workers < 1)
    throw new PorticoServerError("config", `WEB_CONCURRENCY: must be a whole number from 1, or "auto", not "${text}"`);
  return { workers };
}

function linkSecret(text: string | undefined): ServerConfig {
  return text === undefined || text === "" ? {} : { linkSecret: text };
}

/** Sockets that systemd passed to this very process, or to the one whose place it takes, are what it is to listen on. */
function passedSockets(env: NodeJS.ProcessEnv): ServerConfig {
  if (predecessor()?.has("systemd:") === true) return { bind: ["systemd:"] };
  return Number(env["LISTEN_PID"]) === process.pid && Number(env["LISTEN_FDS"]) > 0 ? { bind: ["systemd:"] } : {};
}

function findFile({ file, cwd }: ConfigurationSources): string | undefined {
  if (file !== undefined) return resolve(cwd, file);
  return CONFIG_FILES.map((name) => resolve(cwd, name)).find((path) => existsSync(path));
}

let reads = 0;

interface FileContent {
  readonly values: Record<string, unknown>;
  readonly hooks: ServerHooks | undefined;
}

const NO_FILE: FileContent = { values: {}, hooks: undefined };

async function readConfigFile(file: string): Promise<FileContent> {
  let value: unknown;
  let hooks: unknown;
  try {
    if (file.endsWith(".json")) {
      value = JSON.parse(readFileSync(file, "utf8"));
    } else {
      readFileSync(file); // The module loader's word for an unreadable file is less clear than the file system's.
      // A module is loaded once per URL; the number makes a reload read it again.
      const loaded = (await import(`${pathToFileURL(file).href}?read=${++reads}`)) as {
        default?: unknown;
        hooks?: unknown;
      };
      value = loaded.default;
      ({ hooks } = loaded);
    }
  } catch (error) {
    throw new PorticoServerError("config", `cannot read configuration ${file}: ${reasonOf(error)}`, {
      cause: error,
      detail: file.endsWith(".json") ? undefined : syntaxErrorPlace(error, file),
    });
  }
  if (typeof value === "function") value = await (value as () => unknown)();
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new PorticoServerError(
      "config",
      `configuration ${file} must have an object as its default export, as in: export default { workers: 2 }`,
    );
  return {
    values: value as Record<string, unknown>,
    hooks: hooks === undefined ? undefined : checkHooks(hooks, file),
  };
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return "there is no such file";
  if (code === "EACCES") return "permission denied";
  if (code === "EISDIR") return "it is a folder";
  return error.message.split("\n")[0]!;
}

function describeIssue(issue: z.core.$ZodIssue): string[] {
  if (issue.code === "unrecognized_keys")
    return issue.keys.map(
      (key) =>
        `unknown setting "${key}"${suggestion(
          key,
          SETTINGS.map(({ name }) => name),
        )}`,
    );
  const path = issue.path.map(String).join(".");
  return [`${path === "" ? "configuration" : path}: ${expectation(issue)}`];
}

function withSecret(config: ResolvedConfig): ResolvedConfig {
  if (config.linkSecretFile === undefined || config.linkSecret !== undefined) return config;
  let secret: string;
  try {
    secret = readFileSync(config.linkSecretFile, "utf8").trim();
  } catch (error) {
    throw new PorticoServerError("config", `linkSecretFile ${config.linkSecretFile}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  const checked = ServerSettings.shape.linkSecret.safeParse(secret);
  if (!checked.success)
    throw new PorticoServerError(
      "config",
      `linkSecretFile ${config.linkSecretFile}: the secret ${checked.error.issues[0]!.message}`,
    );
  return { ...config, linkSecret: secret };
}
