/** `portico-server status|workers|scale|…`: reads the words, asks the server, prints the answer. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { Command, CommanderError } from "commander";
import { PorticoServerError } from "../error.ts";
import { ask, findServer } from "./ask.ts";
import { COMMANDS } from "./commands.ts";
import { CONTROL_VERSION, failureOf } from "./protocol.ts";
import type { ControlCommand, ControlFailure, ControlQuestion, ControlResults } from "./protocol.ts";
import { SHOW } from "./show.ts";

/** What the program around the commands adds to them. */
export interface ControlSurroundings {
  /** Name of the program: `portico-server`, `portico`. */
  readonly program: string;
  /** Where the configuration of the working folder says that its server is. */
  readonly configured: () => Promise<{ readonly control?: string | undefined; readonly pid?: string | undefined }>;
  readonly cwd: string;
}

/** A stopped master's process is gone within its last turns; a zombie that nobody collects counts as gone. */
const GONE_WAIT_MS = 5_000;
const GONE_LOOK_MS = 20;

/**
 * @param args the command's name and what follows it
 * @returns the exit code
 * @throws PorticoServerError `usage`, `control`
 */
export async function runControlCommand(
  command: ControlCommand,
  args: readonly string[],
  around: ControlSurroundings,
): Promise<number> {
  const read = readWords(command, args, around);
  if (typeof read === "string") {
    process.stdout.write(read);
    return 0;
  }
  const { json } = read;
  try {
    const path = await whichSocket(read, around);
    const answer = await ask(path, await completed(read.question, path));
    if ("error" in answer) return fail(answer.error, json, around.program);
    if (command === "stop") await gone((answer.result as ControlResults["stop"]).pid);
    const show = SHOW[command] as (result: unknown) => string;
    process.stdout.write(
      `${json ? JSON.stringify({ version: answer.version, ...answer.result }) : show(answer.result)}\n`,
    );
    return 0;
  } catch (error) {
    if (!(error instanceof PorticoServerError)) throw error;
    return fail(failureOf(error), json, around.program);
  }
}

interface Words {
  readonly question: ControlQuestion & { readonly by?: number };
  readonly control: string | undefined;
  readonly pid: string | undefined;
  readonly json: boolean;
}

/** @returns a text where the answer is only that (`--help`) */
function readWords(command: ControlCommand, args: readonly string[], around: ControlSurroundings): Words | string {
  const row = COMMANDS[command];
  let text = "";
  let complaint = "";
  const parser = new Command(`${around.program} ${command}`)
    .description(row.about.replaceAll("`", ""))
    .option("--control <path>", "the server's control socket")
    .option("--pid <file>", "the server's pid file")
    .option("--json", "print JSON, which is stable and documented")
    .addHelpText(
      "after",
      "\nWithout --control or --pid: the server that runs in this folder, or the only one of this user.",
    )
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ writeOut: (part) => (text += part), writeErr: (part) => (complaint += part) });
  if (row.argument !== undefined) parser.argument(row.argument.shown, row.argument.about.replaceAll("`", ""));
  for (const [flags, about] of row.flags ?? []) parser.option(flags, about);
  try {
    // A step such as -1 looks like a flag.
    parser.parse(command === "scale" ? withStep(args) : [...args], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return text;
    const message = complaint
      .replace(/^error: /, "")
      .trim()
      .replaceAll("\n", " ");
    throw new PorticoServerError("usage", `${command}: ${message || String(error)}`, { cause: error });
  }
  const flags = parser.opts<Record<string, unknown>>();
  return {
    question: { command, ...argumentOf(command, parser.args[0]), ...flagsOf(command, flags, around.cwd) },
    control: flags["control"] as string | undefined,
    pid: flags["pid"] as string | undefined,
    json: flags["json"] === true,
  };
}

function withStep(args: readonly string[]): string[] {
  const step = args.findIndex((word) => /^-\d+$/.test(word));
  return step === -1 ? [...args] : [...args.slice(0, step), ...args.slice(step + 1), "--", args[step]!];
}

function argumentOf(command: ControlCommand, word: string | undefined): { id?: number; workers?: number; by?: number } {
  const name = COMMANDS[command].argument?.name;
  if (name === undefined || word === undefined) return {};
  const value = Number(word);
  if (name === "workers" && /^[+-]\d+$/.test(word)) return { by: value };
  if (!/^\d+$/.test(word) || value < 1)
    throw new PorticoServerError("usage", `${command} ${word}: must be a whole number from 1`);
  return name === "id" ? { id: value } : { workers: value };
}

function flagsOf(command: ControlCommand, flags: Record<string, unknown>, cwd: string): Partial<ControlQuestion> {
  const { output, report, seconds, quick } = flags;
  const length = seconds === undefined ? undefined : Number(seconds);
  if (length !== undefined && !(length > 0 && length <= 3_600))
    throw new PorticoServerError("usage", `${command} --seconds ${String(seconds)}: must be a number up to 3600`);
  const file = output ?? (typeof report === "string" ? report : undefined);
  return {
    ...(typeof file === "string" && { file: resolve(cwd, file) }),
    ...(report !== undefined && { report: true }),
    ...(length !== undefined && { seconds: length }),
    ...(quick === true && { quick: true }),
  };
}

async function whichSocket({ control, pid }: Words, around: ControlSurroundings): Promise<string> {
  const named = control === undefined && pid === undefined ? await around.configured() : { control, pid };
  return await findServer({ ...named, cwd: around.cwd });
}

/** A step is counted from how many workers there should be. */
async function completed({ by, ...question }: Words["question"], path: string): Promise<ControlQuestion> {
  if (by === undefined) return question;
  const answer = await ask(path, { command: "status" });
  if ("error" in answer) throw new PorticoServerError("control", answer.error.message);
  return { ...question, workers: Math.max(1, answer.result.wanted + by) };
}

function fail(failure: ControlFailure, json: boolean, program: string): number {
  const { code, message, detail, exitCode } = failure;
  if (json)
    process.stdout.write(
      `${JSON.stringify({ version: CONTROL_VERSION, error: { code, message, detail, exitCode } })}\n`,
    );
  process.stderr.write(`${program}: ${message}${detail === null ? "" : `\n${detail}`}\n`);
  return exitCode;
}

async function gone(pid: number): Promise<void> {
  for (const deadline = Date.now() + GONE_WAIT_MS; Date.now() < deadline && isRunning(pid);)
    await new Promise((wake) => setTimeout(wake, GONE_LOOK_MS));
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
