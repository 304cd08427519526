/** The command line, made from the rows of the schema. Reads text; does nothing. */
import { Command, CommanderError, Option } from "commander";
import { PorticoServerError } from "./error.ts";
import { expectation } from "./expectation.ts";
import { SETTINGS } from "./settings.ts";
import { SIGNALS } from "./signals.ts";
import type { ServerConfig, Setting, SettingName } from "./settings.ts";
import { TLS_FLAGS, TLS_IS_THE_FRONTS_JOB } from "./tls.ts";

/** What was asked for on a command line. */
export interface CommandLine {
  readonly flags: ServerConfig;
  /** `--config` */
  readonly configFile: string | undefined;
  readonly action: "serve" | "check-config" | "print-config";
  /** `--json`: what is printed is for machines. */
  readonly json: boolean;
  /** Set where the answer is only text (`--help`, `--version`): print it and exit 0. */
  readonly text: string | undefined;
}

const EPILOGUE = `
Precedence: command line, PORTICO_SERVER_ARGS, WEB_CONCURRENCY, server.config.ts, defaults.

Commands to a running server: status, workers, scale, reload, restart, kill, dump, stop, profile, heap, metrics
(portico-server COMMAND --help).

Signals:
${Object.entries(SIGNALS)
  .map(([signal, about]) => `  ${signal.slice(3).padEnd(5)} ${about.replaceAll("`", "")}`)
  .join("\n")}`;

/**
 * @param args words after the program's name
 * @param origin what error messages call these words: the command line itself, or PORTICO_SERVER_ARGS
 * @throws PorticoServerError `usage`
 */
export function parseCommandLine(args: readonly string[], version: string, origin?: string): CommandLine {
  let text = "";
  let complaint = "";
  const command = new Command("portico-server")
    .description("Runs a Node application under a master that pre-forks workers.")
    .usage("MODULE [-b ADDRESS]... [-w WORKERS] [options]")
    .argument("[MODULE]", "app.ts, app.js, a package, module:export, module:factory()")
    .version(version, "-V, --version")
    .option("-c, --config <file>", "configuration file (default: server.config.ts where there is one)")
    .option("--check-config", "check the configuration, load the application once, and exit")
    .option("--print-config", "print the configuration as it would be used, and where each value is from, and exit")
    .option("--json", "with --print-config: print JSON")
    .addHelpText("after", EPILOGUE)
    .exitOverride()
    .configureOutput({
      writeOut: (part) => (text += part),
      writeErr: (part) => (complaint += part),
    });
  const keys = new Map<string, Setting>();
  for (const setting of SETTINGS) {
    if (setting.meta.flags === undefined) continue;
    const option = new Option(setting.meta.flags, helpOf(setting));
    if (setting.meta.from !== "switch")
      option.argParser((value: string, before: unknown) => fromText(setting, value, before));
    keys.set(option.attributeName(), setting);
    command.addOption(option);
  }
  try {
    command.parse([...args], { from: "user" });
  } catch (error) {
    if (error instanceof PorticoServerError)
      throw origin === undefined ? error : new PorticoServerError("usage", `${origin}: ${error.message}`);
    if (error instanceof CommanderError && error.exitCode === 0)
      return { flags: {}, configFile: undefined, action: "serve", json: false, text };
    const unknown = /unknown option '--?([\w-]+)/.exec(complaint)?.[1];
    if (unknown !== undefined && TLS_FLAGS.has(unknown))
      throw new PorticoServerError("usage", `--${unknown}: ${TLS_IS_THE_FRONTS_JOB}`, { cause: error });
    const message =
      complaint
        .replace(/^error: /, "")
        .trim()
        .replaceAll("\n", " ") || String(error);
    throw new PorticoServerError("usage", origin === undefined ? message : `${origin}: ${message}`, { cause: error });
  }
  const options = command.opts<Record<string, unknown>>();
  const flags: Record<string, unknown> = {};
  for (const [key, setting] of keys) if (options[key] !== undefined) flags[setting.name] = options[key];
  if (command.args[0] !== undefined) flags["app"] = command.args[0];
  return {
    flags,
    configFile: options["config"] as string | undefined,
    action:
      options["checkConfig"] === true ? "check-config" : options["printConfig"] === true ? "print-config" : "serve",
    json: options["json"] === true,
    text: undefined,
  };
}

/** Splits PORTICO_SERVER_ARGS as a shell would split plain words: white space parts, quotes hold together, backslash takes the next character as it is. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  const pattern = /\s*((?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+)\s*/gy;
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    words.push(
      match[1]!.replaceAll(
        /"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)/g,
        (_, double?: string, single?: string, plain?: string) =>
          double === undefined ? (single ?? plain ?? "") : double.replaceAll(/\\(.)/g, "$1"),
      ),
    );
    end = match.index + match[0].length;
  }
  if (text.slice(end).trim() !== "")
    throw new PorticoServerError("usage", `PORTICO_SERVER_ARGS: a quote is not closed in: ${text}`);
  return words;
}

function helpOf({ meta, schema }: Setting): string {
  const about = meta.about.replaceAll("`", "");
  const fallback: unknown = schema.safeParse(undefined).data;
  if (fallback === undefined || fallback === true) return about;
  return `${about} (default: ${Array.isArray(fallback) ? fallback.join(", ") : JSON.stringify(fallback).replaceAll('"', "")})`;
}

function fromText(setting: Setting, value: string, before: unknown): unknown {
  switch (setting.meta.from) {
    case "number":
      return toNumber(setting, value);
    case "list":
      return [...(Array.isArray(before) ? (before as string[]) : []), ...listItems(setting.name, value)];
    case "record":
      return { ...(before as Record<string, string> | undefined), ...variable(setting, value) };
    case "text":
      return check(setting, value === "true" ? true : value === "false" ? false : value, value);
    default:
      return value;
  }
}

function listItems(name: SettingName, value: string): string[] {
  return name === "forwardedAllowIps" ? value.split(",").map((item) => item.trim()) : [value];
}

/** `NAME=value`; as in a shell's `env`, NAME alone is a mistake. */
function variable(setting: Setting, value: string): Record<string, string> {
  const at = value.indexOf("=");
  if (at < 1) throw new PorticoServerError("usage", `${flagOf(setting)} ${value}: must be NAME=value`);
  const entry = { [value.slice(0, at)]: value.slice(at + 1) };
  check(setting, entry, value);
  return entry;
}

function toNumber(setting: Setting, value: string): unknown {
  return check(setting, /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value, value);
}

/** A wrong value is reported by its flag, not as a key of a file that nobody wrote. */
function check(setting: Setting, value: unknown, written: string): unknown {
  let result = setting.schema.safeParse(value);
  if (!result.success && typeof value === "boolean") {
    value = written;
    result = setting.schema.safeParse(value);
  }
  if (result.success) return value;
  throw new PorticoServerError(
    "usage",
    `${flagOf(setting)} ${written}: ${expectation(result.error.issues[0]!).replace(/, received \w+$/, "")}`,
  );
}

/** `--workers` */
function flagOf(setting: Setting): string {
  return setting.meta.flags!.replace(/^-\w, /, "").split(" ")[0]!;
}
