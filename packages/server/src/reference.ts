/** Renders docs/reference/server.md and schema.json from the schema of the settings. A test fails where they differ. */
import * as z from "zod";
import { readFileSync } from "node:fs";
import { COMMANDS, type CommandRow } from "./control/commands.ts";
import { ERRORS } from "./error.ts";
import { HOOKS } from "./hooks.ts";
import { ServerSettings, SETTINGS } from "./settings.ts";
import type { Setting } from "./settings.ts";
import { SIGNALS } from "./signals.ts";

const SECTION_TITLES: Readonly<Record<string, string>> = {
  application: "Application",
  listening: "Listening",
  workers: "Workers",
  identity: "Processes",
  logging: "Logs",
  inspection: "Inspection",
};

/** The reference page, Markdown. */
export function referencePage(): string {
  const sections = Object.entries(SECTION_TITLES).flatMap(([section, title]) => [
    `## ${title}`,
    "",
    "| setting | flag | type | default | | reload |",
    "| --- | --- | --- | --- | --- | --- |",
    ...SETTINGS.filter((setting) => setting.section === section).map(settingRow),
    "",
  ]);
  return [
    "# Reference of portico-server",
    "",
    "`portico-server MODULE [options]`. Generated from the schema that also reads the command line and the configuration file; for editors there is [a JSON Schema](../../packages/server/schema.json), published as `@portico/server/schema.json`. How to use it: [the guide](../guide/server.md).",
    "",
    "Precedence: command line, `PORTICO_SERVER_ARGS` (read as a command line), `WEB_CONCURRENCY` and `PORTICO_LINK_SECRET`, `server.config.ts` (or `.js`, `.mjs`, `.cjs`, `.json`, or what `--config` names), defaults. Unknown flags and settings are errors. Times are in seconds.",
    "",
    "The column *reload* says when a changed setting takes effect: with a reload (SIGHUP), or when the master is started again.",
    "",
    ...sections,
    "## Commands",
    "",
    "| flag | |",
    "| --- | --- |",
    "| `-c, --config <file>` | Configuration file. |",
    "| `--check-config` | Checks the configuration, loads the application and starts it up once, and exits. |",
    "| `--print-config` | Prints the configuration as it would be used, with where each value is from, and exits. With `--json`: an object of `{ value, from }` by setting. |",
    "| `-V, --version`, `-h, --help` | |",
    "",
    "## Commands to a running server",
    "",
    "`portico-server COMMAND`, over the control socket. Every command takes `--control <path>`, `--pid <file>` and `--json`; without the first two it asks the server that runs in this folder, or the only one of this user.",
    "",
    "| command | |",
    "| --- | --- |",
    ...Object.entries(COMMANDS).map(commandRow),
    "",
    'The socket is a unix socket of mode 0600: `control`, or `PID.sock` in `$XDG_RUNTIME_DIR/portico-server`, `/run/portico-server` (root) or `portico-server-control-UID` in the temporary folder. On it one line of JSON asks (`{"command":"scale","workers":4}`) and one answers: `{"version":1,"result":…}` or `{"version":1,"error":{"code","message","detail","exitCode"}}`. `--json` prints the result\'s fields with `version` among them; an error goes to standard output as on the socket, and in words to standard error. Within a version fields are added, never changed or taken away.',
    "",
    "```ts",
    resultTypes(),
    "```",
    "",
    "## Signals",
    "",
    "To the master. A second TERM, INT or QUIT makes a stop quick, a third kills.",
    "",
    "| signal | |",
    "| --- | --- |",
    ...Object.entries(SIGNALS).map(([signal, about]) => `| ${signal} | ${capital(about)}. |`),
    "",
    "TERM to a worker replaces it: a new one is ready before it leaves.",
    "",
    "## Hooks",
    "",
    "Functions of the object that the configuration module exports as `hooks` (`defineHooks` types it). One that fails is logged, unless it says otherwise here.",
    "",
    "| hook | process | when |",
    "| --- | --- | --- |",
    ...Object.entries(HOOKS).map(hookRow),
    "",
    "## Exit codes",
    "",
    "| code | error | meaning |",
    "| --- | --- | --- |",
    "| 0 | | It was stopped, or a command succeeded. |",
    ...Object.entries(ERRORS)
      .toSorted(([, a], [, b]) => a.exit - b.exit)
      .map(([code, { exit, meaning }]) => `| ${exit} | \`${code}\` | ${capital(meaning)}. |`),
    "",
  ].join("\n");
}

/** For editors: what a configuration file may contain. */
export function configurationSchema(): unknown {
  const schema = z.toJSONSchema(ServerSettings, { io: "input" }) as {
    properties: Record<string, { description?: string }>;
  };
  for (const { name, meta } of SETTINGS) {
    const property = schema.properties[name];
    if (property !== undefined) property.description = meta.about;
  }
  return schema;
}

function settingRow(setting: Setting): string {
  const { name, meta, schema } = setting;
  const fallback: unknown = schema.safeParse(undefined).data;
  const shown = fallback === undefined ? "" : `\`${JSON.stringify(fallback)}\``;
  const flag = meta.flags === undefined ? (name === "app" ? "`MODULE`" : "") : `\`${meta.flags}\``;
  return `| \`${name}\` | ${flag} | ${typeOf(z.toJSONSchema(schema, { io: "input" }) as Shape)} | ${shown} | ${meta.about} | ${meta.changes} |`;
}

function commandRow([name, { argument, flags, about }]: [string, CommandRow]): string {
  const words = [name, argument?.shown].filter((word) => word !== undefined).join(" ");
  const own = (flags ?? []).map(([flag, meaning]) => ` \`${flag}\`: ${meaning}.`).join("");
  return `| \`${words}\` | ${about}${own} |`;
}

/** The results as the program itself declares them. */
function resultTypes(): string {
  const source = readFileSync(new URL("control/protocol.ts", import.meta.url), "utf8");
  const from = source.indexOf("/** One worker process. */");
  return source
    .slice(from, source.indexOf("export type ControlCommand"))
    .replaceAll(/^export /gm, "")
    .replaceAll("readonly ", "")
    .trimEnd();
}

function hookRow([name, { process, moment, failure }]: [string, (typeof HOOKS)[keyof typeof HOOKS]]): string {
  return `| \`${name}\` | ${process} | ${moment}${failure === undefined ? "" : ` Where it fails, ${failure}.`} |`;
}

interface Shape {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Shape[];
  readonly items?: Shape;
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  string: "text",
  integer: "whole number",
  number: "number",
  boolean: "`true` or `false`",
  object: "object of texts",
};

function typeOf(shape: Shape): string {
  if (shape.anyOf !== undefined) return shape.anyOf.map(typeOf).join(" or ");
  if (shape.const !== undefined) return `\`${JSON.stringify(shape.const)}\``;
  if (shape.enum !== undefined) return shape.enum.map((value) => `\`${JSON.stringify(value)}\``).join(", ");
  if (shape.type === "array" && shape.items !== undefined) return `list of ${typeOf(shape.items)}`;
  return TYPE_WORDS[shape.type ?? ""] ?? "anything";
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
