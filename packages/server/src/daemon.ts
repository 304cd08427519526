/**
 * `--daemon`: the command starts itself again in a session of its own, waits for its word, and ends. So whoever starts a
 * server at a terminal or in a script hears whether it came up, with the message and the exit code that it would have
 * had in the foreground.
 */
import { spawn } from "node:child_process";
import { predecessor } from "@portico/supervisor/predecessor";
import { PorticoServerError } from "./error.ts";

/** Set for the process in the background; for what it starts in turn it means nothing. */
const MARK = "PORTICO_SERVER_DAEMON";

/** What the process in the background says, once. */
type Word =
  | { readonly portico: "ready" }
  | { readonly portico: "failed"; readonly text: string; readonly exitCode: number };

/** True where this process is the one in the background, or what one there has started. */
export function isDaemon(env: NodeJS.ProcessEnv): boolean {
  return env[MARK] !== undefined;
}

/** In the background: the server is up. The terminal is let go. */
export function tellReady(): void {
  tell({ portico: "ready" });
}

/** In the background: nobody reads standard error. */
export function tellFailed(text: string, exitCode: number): void {
  tell({ portico: "failed", text, exitCode });
}

function tell(word: Word): void {
  // The channel of a master that takes another's place leads to that one.
  if (!isDaemon(process.env) || !process.connected || predecessor() !== undefined) return;
  process.send?.(word, undefined, undefined, () => {
    if (process.connected) process.disconnect?.();
  });
}

/**
 * Runs this very command in the background. Resolves with its exit code: 0 when it is up.
 * @throws PorticoServerError `internal` where it ended without a word
 */
export async function startDaemon(keepsLog: boolean): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: { ...process.env, [MARK]: "1" },
  });
  const { promise, resolve, reject } = Promise.withResolvers<Word>();
  child.on("message", (word) => resolve(word as Word));
  child.on("error", reject);
  child.on("exit", (code, signal) =>
    reject(new PorticoServerError("internal", `the server ended in the background without a word (${signal ?? code})`)),
  );
  const word = await promise;
  if (word.portico === "failed") {
    process.stderr.write(word.text);
    return word.exitCode;
  }
  if (child.connected) child.disconnect();
  child.unref();
  process.stdout.write(`portico-server: runs in the background (pid ${child.pid})\n`);
  if (!keepsLog) process.stderr.write("portico-server: its log is lost: give --log-file\n");
  return 0;
}
