/** `portico-server COMMAND`, `portico COMMAND`: the commands, with what the configuration of this folder says of where its server is. */
import { existsSync } from "node:fs";
import { failureOf } from "./protocol.ts";
import type { ControlCommand } from "./protocol.ts";
import { runControlCommand } from "./command-line.ts";

/** Resolves with the exit code; prints every error itself. */
export async function controlMain(program: string, command: ControlCommand, args: readonly string[]): Promise<number> {
  try {
    return await runControlCommand(command, args, { program, configured, cwd: process.cwd() });
  } catch (error) {
    const { message, detail, exitCode } = failureOf(error);
    process.stderr.write(`${program}: ${message}${detail === null ? "" : `\n${detail}`}\n`);
    return exitCode;
  }
}

/** What the configuration of this folder says; a broken one must not keep a server from being asked. */
async function configured(): Promise<{ control?: string | undefined; pid?: string | undefined }> {
  const { CONFIG_FILES } = await import("../configuration-files.ts");
  if (!CONFIG_FILES.some((name) => existsSync(name))) return {};
  try {
    const { loadConfiguration } = await import("../configuration.ts");
    const sources = { flags: {}, environmentFlags: {}, file: undefined, cwd: process.cwd(), env: process.env };
    const { config } = await loadConfiguration(sources);
    const control = typeof config.control === "string" ? config.control : undefined;
    return { control, pid: control === undefined ? config.pid : undefined };
  } catch {
    return {};
  }
}
