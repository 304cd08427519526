/** The command line of `portico`. Reads words; does nothing. */
import { Command, CommanderError } from "commander";
import { PorticoError } from "./error.ts";

/** What `portico serve` was asked for; what is undefined is left to the configuration and the defaults. */
export interface ServeOptions {
  /** The application: a file or package, `:export` or `:factory()` behind it. */
  readonly app: string;
  /** Addresses of the front: a port, `host:port` or `unix:/path`. */
  readonly listen?: readonly (string | number)[] | undefined;
  readonly workers?: number | "auto" | undefined;
  readonly threads?: number | "auto" | undefined;
  /** Folder whose files the front serves itself, before it asks the application. */
  readonly static?: string | undefined;
  /** Configuration file of the front. In it the upstream `app` is the application. */
  readonly config?: string | undefined;
  readonly accessLog?: string | undefined;
  readonly bodySize?: string | undefined;
}

export type CommandLine =
  | { readonly action: "serve"; readonly options: ServeOptions }
  | { readonly action: "text"; readonly text: string };

const EPILOGUE = `
The application answers what no file of --static does. Its settings are read from server.config.ts, where there is one.

Signals: HUP reloads the application and the configuration without losing a request; TERM finishes what is under way,
Ctrl-C waits a second for it, a second one of either does not wait; TTIN and TTOU start and stop a worker; USR1 reopens
the logs.

portico status, workers, scale N, reload, restart ID, kill ID, dump ID, stop, profile ID, heap ID and metrics ask the
stack that runs in this folder, or the only one of this user.

Warnings and errors are logged; more with log.level of the configuration and logLevel of server.config.ts.`;

/** @throws {PorticoError} `usage` */
export function parseCommandLine(args: readonly string[], version: string): CommandLine {
  let text = "";
  let complaint = "";
  let options: ServeOptions | undefined;
  const output = { writeOut: (part: string) => (text += part), writeErr: (part: string) => (complaint += part) };
  const program = new Command("portico")
    .description("Serves a Node application through both tiers: a front proxy and a pre-fork application server.")
    .version(version, "-V, --version")
    .exitOverride()
    .configureOutput(output);
  program
    .command("serve")
    .description("serve an application")
    .argument("<MODULE>", "app.ts, app.js, a package, module:export, module:factory()")
    .option("-l, --listen <address>", "port, host:port or unix:/path, repeatable (default: 127.0.0.1:8080)", collect)
    .option(
      "-w, --workers <count>",
      "worker processes, or auto: one per core (default: WEB_CONCURRENCY, else 1)",
      toCount("--workers"),
    )
    .option("-t, --threads <count>", "threads of the front, or auto (default: auto)", toCount("--threads"))
    .option("-s, --static <folder>", "folder whose files the front serves before it asks the application")
    .option("-c, --config <file>", "configuration of the front, in which the upstream `app` is the application")
    .option("--access-log <where>", "one JSON line per request: stdout, stderr or a file (default: off)")
    .option("--body-size <size>", "largest request body, such as 50MiB (default: 10MiB)")
    .addHelpText("after", EPILOGUE)
    .allowExcessArguments(false)
    .action((app: string, flags: Record<string, unknown>) => {
      options = readOptions(app, flags);
    });
  try {
    program.parse([...args], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return { action: "text", text };
    if (!(error instanceof CommanderError)) throw error;
    if (args.length === 0)
      throw new PorticoError("usage", "say what to serve, for example: portico serve app.ts", { cause: error });
    throw new PorticoError(
      "usage",
      `${complaint
        .replace(/^error: /, "")
        .trim()
        .replaceAll("\n", " ")} (see portico serve --help)`,
      { cause: error },
    );
  }
  if (options === undefined) return { action: "text", text };
  return { action: "serve", options };
}

function readOptions(app: string, flags: Record<string, unknown>): ServeOptions {
  if (flags["config"] !== undefined && flags["static"] !== undefined) {
    throw new PorticoError(
      "usage",
      "--static and --config exclude each other: name the folder in a route of the configuration",
    );
  }
  return {
    app,
    listen: flags["listen"] as (string | number)[] | undefined,
    workers: flags["workers"] as number | "auto" | undefined,
    threads: flags["threads"] as number | "auto" | undefined,
    static: flags["static"] as string | undefined,
    config: flags["config"] as string | undefined,
    accessLog: flags["accessLog"] as string | undefined,
    bodySize: flags["bodySize"] as string | undefined,
  };
}

function collect(value: string, before: (string | number)[] = []): (string | number)[] {
  if (!/^\d+$/.test(value)) return [...before, value];
  const port = Number(value);
  if (port > 65_535) throw new PorticoError("usage", `--listen ${value}: a port is a number from 0 to 65535`);
  return [...before, port];
}

function toCount(flag: string): (value: string) => number | "auto" {
  return (value) => {
    if (value === "auto") return value;
    const count = Number(value);
    if (!Number.isInteger(count) || count < 1)
      throw new PorticoError("usage", `${flag} ${value}: must be a whole number from 1, or auto`);
    return count;
  };
}
