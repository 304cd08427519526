/** What the command does: reads its words, runs what they ask for, and says in one message what went wrong. */
import { checkApplication } from "./check-application.ts";
import { parseCommandLine, splitWords } from "./command.ts";
import type { CommandLine } from "./command.ts";
import { loadConfiguration } from "./configuration.ts";
import type { ConfigurationSources } from "./configuration.ts";
import { isDaemon, startDaemon, tellFailed } from "./daemon.ts";
import { PorticoServerError } from "./error.ts";
import { predecessor } from "@portico/supervisor/predecessor";
import { packageVersion } from "./package-version.ts";
import { configurationJson, printableConfiguration } from "./print-configuration.ts";
import { serve } from "./serve.ts";

/** Runs the command to its end. Resolves with the exit code; prints every error itself. */
export async function main(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  try {
    return await run(args, env);
  } catch (error) {
    await predecessor()?.failed(error); // where there is one, somebody asked it for an upgrade
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
      process.stdout.write(
        `portico-server: ${file ?? "configuration"} is right, and ${config.app} loads (${application})\n`,
      );
      return 0;
    }
    case "serve":
      if (config.daemon && !isDaemon(env)) return await startDaemon(config.logFile !== "-");
      return await serve(loaded, sources);
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

function complain(error: unknown): number {
  const known = error instanceof PorticoServerError;
  const text = known
    ? `portico-server: ${error.message}${error.detail === undefined ? "" : `\n${error.detail}`}\n`
    : `portico-server: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`;
  const exitCode = known ? error.exitCode : 1;
  process.stderr.write(text);
  tellFailed(text, exitCode);
  return exitCode;
}
