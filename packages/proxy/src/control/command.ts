/** `portico-proxy reload|status|stop`: asks the running proxy, prints its answer. */
import { readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { askProxy, findProxy } from "./ask.ts";
import { CONTROL_VERSION, type ControlCommand, type ControlQuestion, type ControlResults } from "./protocol.ts";
import { SHOW } from "./show.ts";

// A stopped master's process is gone within its last turns; a zombie that nobody collects counts as gone.
const GONE_WAIT_MS = 5_000;
const GONE_LOOK_MS = 20;

export interface ControlOptions {
  readonly config: string | undefined;
  readonly control: string | undefined;
  readonly json: boolean;
  readonly quick: boolean;
}

export interface Output {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat[stat.lastIndexOf(")") + 2] !== "Z";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function gone(pid: number): Promise<void> {
  for (const deadline = Date.now() + GONE_WAIT_MS; Date.now() < deadline && isRunning(pid);) await wait(GONE_LOOK_MS);
}

/**
 * @returns the exit code: the running proxy's own where it answers that it could not
 * @throws PorticoProxyError `control-failed` where none runs, or none answers
 */
export async function runControl(command: ControlCommand, options: ControlOptions, output: Output): Promise<number> {
  const path = await findProxy(options);
  const question: ControlQuestion = { command, ...(options.quick && { quick: true }) };
  const answer = await askProxy(path, question);
  if ("error" in answer) {
    const { message, exitCode } = answer.error;
    if (options.json) output.out(`${JSON.stringify({ version: CONTROL_VERSION, error: answer.error })}\n`);
    output.err(
      `portico-proxy: ${command === "reload" ? `reload refused, nothing was changed: ${message}` : message}\n`,
    );
    return exitCode;
  }
  if (command === "stop") await gone((answer.result as ControlResults["stop"]).pid);
  const text = options.json
    ? JSON.stringify({ version: CONTROL_VERSION, ...answer.result })
    : (SHOW[command] as (result: unknown) => string)(answer.result);
  output.out(`${text}\n`);
  return 0;
}
