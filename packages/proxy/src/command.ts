/**
 * The command `portico-proxy`.
 *
 * | signal | what it does |
 * | --- | --- |
 * | SIGHUP | reads the configuration again and swaps it in place; on any error nothing changes |
 * | SIGTERM, SIGINT | stop at once; a second one kills |
 * | SIGQUIT | stop when what is under way is done, at the latest after `timeouts.graceful` |
 * | SIGUSR1 | open the log files again |
 *
 * What it exits with is the one table of all our commands (`@portico/supervisor/exit-codes`), by the code of the error
 * (`errors.ts`).
 */
import { existsSync } from "node:fs";
import { EXIT } from "@portico/supervisor/exit-codes";
import { Command, CommanderError } from "commander";
import { loadConfig, printConfig } from "./config/load.ts";
import { type Output, runControl } from "./control/command.ts";
import type { ControlCommand } from "./control/protocol.ts";
import { PorticoProxyError } from "./errors.ts";
import { describeExplanation, explain } from "./router/explain.ts";
import { runForeground } from "./run/foreground.ts";
import { packageVersion } from "./version.ts";

/** Where the configuration is looked for without `-c`, in this order. */
const DEFAULT_FILES = [
  "portico.config.ts",
  "portico.config.js",
  "portico.config.mjs",
  "portico.config.json",
  "portico.config.yaml",
  "portico.config.yml",
];

const STANDARD: Output = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
};

function findFile(given: string | undefined): string {
  const file = given ?? DEFAULT_FILES.find((name) => existsSync(name));
  if (file === undefined)
    throw new PorticoProxyError(
      "usage",
      `there is no configuration: give one with -c FILE, or write ${DEFAULT_FILES[0]}`,
    );
  return file;
}

async function check(file: string, output: Output): Promise<void> {
  const config = await loadConfig(file);
  const routes = config.sites.reduce((sum, site) => sum + site.routes.length, 0);
  output.out(
    `${file}: correct (sites: ${config.sites.length}, routes: ${routes}, upstreams: ${Object.keys(config.upstreams).length})\n`,
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

interface Options {
  readonly config?: string;
}

interface ControlFlags {
  readonly control?: string;
  readonly json?: boolean;
  readonly quick?: boolean;
}

interface ExplainFlags {
  readonly header: readonly string[];
  readonly from: string;
  readonly json?: boolean;
}

const REQUEST_URL = /^(https?):\/\/([^/?#\s]+)([/?][^#\s]*)?$/i;

function headersOf(fields: readonly string[]): string[] {
  return fields.flatMap((field) => {
    const colon = field.indexOf(":");
    if (colon < 1) throw new PorticoProxyError("usage", `-H ${JSON.stringify(field)}: must be "Name: value"`);
    return [field.slice(0, colon).trim(), field.slice(colon + 1).trim()];
  });
}

async function explainCommand(
  file: string,
  method: string,
  url: string,
  flags: ExplainFlags,
  output: Output,
): Promise<void> {
  const parts = REQUEST_URL.exec(url);
  if (parts === null) throw new PorticoProxyError("usage", `${url}: must be a URL, such as http://example.com/path`);
  const [, scheme = "", authority = "", target = "/"] = parts;
  const headers = headersOf(flags.header);
  const host = headers.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === "host");
  const request = {
    method,
    scheme: scheme.toLowerCase() === "https" ? ("https" as const) : ("http" as const),
    authority: host === -1 ? authority : headers[host + 1]!,
    target: target.startsWith("/") ? target : `/${target}`,
    headers,
    client: flags.from,
  };
  const config = await loadConfig(file);
  const found = explain(config, request);
  output.out(flags.json === true ? `${JSON.stringify(found, null, 2)}\n` : describeExplanation(request, found, config));
}

/** The commands to a running proxy. */
const CONTROL_COMMANDS: readonly (readonly [ControlCommand, string])[] = [
  ["reload", "read the configuration again and put it in force; on any mistake nothing changes"],
  ["status", "say what runs: addresses, configuration, connections"],
  ["stop", "stop when what is under way is done, at the latest after `timeouts.graceful`"],
];

/** @param onCode told what to exit with, where it is not 0 */
function program(output: Output, onCode: (code: number) => void): Command {
  const command = new Command("portico-proxy")
    .description("The front proxy: files, routes, upstreams.")
    .version(packageVersion(), "-V, --version")
    .option(
      "-c, --config <file>",
      `configuration, .ts, .js, .json or .yaml (default: ${DEFAULT_FILES[0]} and its like)`,
    )
    .showHelpAfterError("(see portico-proxy --help)")
    .exitOverride()
    .configureOutput({
      writeOut: output.out,
      writeErr: output.err,
      outputError: (text, write) => write(text.replace(/^error: /, "portico-proxy: ")),
    })
    .action(() => runForeground(findFile(command.opts<Options>().config), output));
  command
    .command("check")
    .description("validate the configuration and say what is wrong, where")
    .action(() => check(findFile(command.opts<Options>().config), output));
  command
    .command("print-config")
    .description("print the configuration with every default filled in")
    .action(async () => output.out(`${printConfig(await loadConfig(findFile(command.opts<Options>().config)))}\n`));
  command
    .command("explain <method> <url>")
    .description("say which site, route and settings a request would meet, and why not the others")
    .option("-H, --header <field>", '"Name: value"; may be given again', (field, all: string[]) => [...all, field], [])
    .option("--from <address>", "address of the client", "192.0.2.1")
    .option("--json", "print JSON")
    .action((method: string, url: string, flags: ExplainFlags) =>
      explainCommand(findFile(command.opts<Options>().config), method, url, flags, output),
    );
  for (const [name, about] of CONTROL_COMMANDS) {
    const one = command
      .command(name)
      .description(about)
      .option("--control <path>", "control socket of the proxy")
      .option("--json", "print JSON, which is stable and documented");
    if (name === "stop") one.option("--quick", "do not wait for what is under way");
    one.action(async ({ control, json = false, quick = false }: ControlFlags) =>
      onCode(await runControl(name, { config: command.opts<Options>().config, control, json, quick }, output)),
    );
  }
  return command;
}

/** Runs the command; resolves to the exit code when it is over. */
export async function main(args: readonly string[], output: Output = STANDARD): Promise<number> {
  try {
    let exitCode: number = EXIT.ok;
    await program(output, (code) => (exitCode = code)).parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    // Commander has said what was wrong.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
    output.err(`portico-proxy: ${messageOf(error)}\n`);
    return error instanceof PorticoProxyError ? error.exitCode : EXIT.failed;
  }
}
