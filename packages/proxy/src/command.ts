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
 * Exit codes: 0 stopped as asked; 1 could not be done (address in use); 2 not understood (flag, file, setting).
 */
import { existsSync, readFileSync } from "node:fs";
import { SignalQueue } from "@portico/supervisor";
import { EXIT } from "@portico/supervisor/exit-codes";
import { Command, CommanderError } from "commander";
import { loadConfig, printConfig } from "./config/load.ts";
import { PorticoProxyError } from "./errors.ts";
import { type StopMode, startProxy } from "./run/master.ts";

/** Where the configuration is looked for without `-c`, in this order. */
const DEFAULT_FILES = [
  "portico.config.ts",
  "portico.config.js",
  "portico.config.mjs",
  "portico.config.json",
  "portico.config.yaml",
  "portico.config.yml",
];

/** Where the command writes; replaced in tests. */
export interface CommandOutput {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

const STANDARD: CommandOutput = {
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

/**
 * Starts a proxy and answers signals until it has stopped. They are answered from the first moment: one that comes
 * while it starts waits until it has.
 */
async function run(file: string, output: CommandOutput): Promise<void> {
  const starting = startProxy(file);
  const { promise: stopped, resolve, reject } = Promise.withResolvers<void>();
  const stop = async (mode: StopMode): Promise<void> => (await starting).stop(mode).then(resolve, reject);
  const reload = async (): Promise<void> => {
    const proxy = await starting;
    try {
      await proxy.reload();
    } catch (error) {
      output.err(`portico-proxy: reload refused, nothing was changed: ${messageOf(error)}\n`);
    }
  };
  const signals = new SignalQueue({ escalate: () => stop("kill"), onError: () => {} });
  signals.on({
    SIGHUP: reload,
    SIGUSR1: async () => (await starting).reopenLogs(),
    SIGTERM: () => stop("quick"),
    SIGINT: () => stop("quick"),
    SIGQUIT: () => stop("graceful"),
  });
  try {
    const { addresses, config } = await starting;
    const sites = config.sites.length === 1 ? "1 site" : `${config.sites.length} sites`;
    output.out(`portico-proxy is ready on ${addresses.join(", ")} (${sites} from ${file}, pid ${process.pid})\n`);
    await stopped;
  } finally {
    signals.close();
  }
}

async function check(file: string, output: CommandOutput): Promise<void> {
  const config = await loadConfig(file);
  const routes = config.sites.reduce((sum, site) => sum + site.routes.length, 0);
  output.out(
    `${file}: correct (sites: ${config.sites.length}, routes: ${routes}, upstreams: ${Object.keys(config.upstreams).length})\n`,
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function packageVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

interface Options {
  readonly config?: string;
}

function program(output: CommandOutput): Command {
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
    .action(() => run(findFile(command.opts<Options>().config), output));
  command
    .command("check")
    .description("validate the configuration and say what is wrong, where")
    .action(() => check(findFile(command.opts<Options>().config), output));
  command
    .command("print-config")
    .description("print the configuration with every default filled in")
    .action(async () => output.out(`${printConfig(await loadConfig(findFile(command.opts<Options>().config)))}\n`));
  return command;
}

/** Runs the command; resolves to the exit code when it is over. */
export async function main(args: readonly string[], output: CommandOutput = STANDARD): Promise<number> {
  try {
    await program(output).parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    // Commander has said what was wrong.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
    output.err(`portico-proxy: ${messageOf(error)}\n`);
    return error instanceof PorticoProxyError ? error.exitCode : EXIT.failed;
  }
}
