/** What the command does: reads its words, starts the server, answers signals, and says in one message what went wrong. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { SignalQueue } from "@portico/supervisor";
import { checkApplication } from "./check-application.ts";
import { parseCommandLine, splitWords } from "./command.ts";
import type { CommandLine } from "./command.ts";
import { loadConfiguration } from "./configuration.ts";
import type { ConfigurationSources } from "./configuration.ts";
import { PorticoServerError } from "./error.ts";
import { configurationJson, printableConfiguration } from "./print-configuration.ts";
import { openLog, type ServerLog } from "./log.ts";
import { startServer } from "./server.ts";
import type { RunningServer } from "./server.ts";
import type { ResolvedConfig } from "./settings.ts";

const NAME = "portico-server";

/** Runs the command to its end. Resolves with the exit code; prints every error itself. */
export async function main(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  try {
    return await run(args, env);
  } catch (error) {
    return complain(error);
  }
}

async function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const version = packageVersion();
  const line = parseCommandLine(args, version);
  if (line.text !== undefined) {
    process.stdout.write(line.text);
    return 0;
  }
  const extra = parseCommandLine(splitWords(env["PORTICO_SERVER_ARGS"] ?? ""), version, "PORTICO_SERVER_ARGS");
  const sources = sourcesOf(line, extra, env);
  const loaded = await loadConfiguration(sources);
  const { config, file } = loaded;
  switch (line.action) {
    case "print-config":
      process.stdout.write(`${line.json ? configurationJson(loaded) : printableConfiguration(loaded)}\n`);
      return 0;
    case "check-config": {
      const application = await checkApplication(config, process.cwd());
      process.stdout.write(`${NAME}: ${file ?? "configuration"} is right, and ${config.app} loads (${application})\n`);
      return 0;
    }
    case "serve":
      return await serve(config, sources);
    default:
      return line.action satisfies never;
  }
}

function sourcesOf(line: CommandLine, extra: CommandLine, env: NodeJS.ProcessEnv): ConfigurationSources {
  return {
    flags: line.flags,
    environmentFlags: extra.flags,
    file: line.configFile ?? extra.configFile,
    cwd: process.cwd(),
    env,
  };
}

async function serve(config: ResolvedConfig, sources: ConfigurationSources): Promise<number> {
  const files = openLog(
    { level: config.logLevel, file: config.logFile, format: config.logFormat },
    { name: NAME, pid: process.pid },
  );
  const { log } = files;
  let stopping: "graceful" | "quick" | "kill" | undefined;
  let ended: (() => void) | undefined;
  const end = new Promise<void>((resolve) => (ended = resolve));
  let server: RunningServer | undefined;

  const stop = async (mode: "graceful" | "quick" | "kill", signal: string): Promise<void> => {
    stopping = mode;
    log.info({ signal, mode }, `${signal}: ${mode} stop`);
    await server?.stop(mode);
    if (server !== undefined) ended?.();
  };
  const signals = new SignalQueue({
    escalate: (signal, times) => stop(times === 2 ? "quick" : "kill", signal),
    onError: (error, signal) => log.error({ err: error }, `${signal}: ${messageOf(error)}`),
  }).on({
    SIGTERM: () => stop("graceful", "SIGTERM"),
    SIGINT: () => stop("quick", "SIGINT"),
    SIGQUIT: () => stop("quick", "SIGQUIT"),
    SIGHUP: async () => {
      if (server !== undefined) await reload(server, sources, files);
    },
    SIGTTIN: () => server?.scale(server.workers().filter(({ state }) => state === "ready").length + 1),
    SIGTTOU: () => server?.scale(server.workers().filter(({ state }) => state === "ready").length - 1),
    SIGUSR1: () => {
      files.reopen();
      server?.reopenLogs();
      log.info("logs reopened");
    },
  });
  try {
    const starting = startServer(config, { name: NAME, log, onStarting: (master) => (server = master) });
    server = await starting;
    if (stopping === undefined) log.info({ addresses: server.addresses }, readyLine(server, config));
    await end;
    return 0;
  } catch (error) {
    if (stopping !== undefined) {
      await server?.stop(stopping);
      return 0;
    }
    throw error;
  } finally {
    signals.close();
  }
}

async function reload(server: RunningServer, sources: ConfigurationSources, files: ServerLog): Promise<void> {
  const { log } = files;
  log.info("SIGHUP: reload");
  try {
    const { config } = await loadConfiguration(sources);
    await server.reload(config);
    files.setLevel(config.logLevel);
    log.info({ addresses: server.addresses }, `reloaded: ${readyLine(server, config)}`);
  } catch (error) {
    const detail = error instanceof PorticoServerError ? error.detail : undefined;
    log.error({ detail }, `reload failed, the old workers stay: ${messageOf(error)}`);
  }
}

/** `ready on http://127.0.0.1:8000 (2 workers, app.ts, express)` */
function readyLine(server: RunningServer, config: ResolvedConfig): string {
  const count = server.workers().filter(({ state }) => state === "ready").length;
  const app = config.app === undefined ? "" : basename(config.app);
  return `ready on ${server.addresses.join(", ")} (${count} worker${count === 1 ? "" : "s"}, ${app}, ${server.application})`;
}

function complain(error: unknown): number {
  if (error instanceof PorticoServerError) {
    process.stderr.write(`${NAME}: ${error.message}${error.detail === undefined ? "" : `\n${error.detail}`}\n`);
    return error.exitCode;
  }
  process.stderr.write(`${NAME}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return 1;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function packageVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
