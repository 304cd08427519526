/** What the command does, to its end: starts, answers signals, says in one message what went wrong. */
import { readFileSync } from "node:fs";
import { basename, relative, resolve } from "node:path";
import type { ControlServer } from "@portico/server/control";
import { SignalQueue } from "@portico/supervisor";
import { EXIT } from "@portico/supervisor/exit-codes";
import { parseCommandLine, type ServeOptions } from "./command.ts";
import { PorticoError } from "./error.ts";
import { type RunningStack, serve, type StopMode } from "./serve.ts";

/** How long Ctrl-C lets requests finish: most take milliseconds, and nobody likes to wait at a terminal. */
const INTERRUPT_GRACE_MS = 1_000;

/**
 * Runs `portico` with these words and sets the exit code: 0 stopped as asked; 1 could not be done; 2 not understood;
 * 3 no worker came up; 4 the application could not be loaded; 5 an address could not be bound.
 */
export async function run(args: readonly string[]): Promise<void> {
  // Whoever read what we print may leave (`| head`); that must not end the program that serves.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  try {
    const line = parseCommandLine(args, version());
    if (line.action === "text") process.stdout.write(line.text);
    else await untilStopped(line.options);
  } catch (error) {
    process.stderr.write(`portico: ${describe(error)}\n`);
    process.exitCode = exitCodeOf(error);
  }
}

async function untilStopped(options: ServeOptions): Promise<void> {
  const { promise: stopped, resolve: end } = Promise.withResolvers<void>();
  const asked = new AbortController();
  const starting = serve(options, asked.signal);
  let stack: RunningStack | undefined;
  let control: ControlServer | undefined;
  const stop = async (mode: StopMode): Promise<void> => {
    asked.abort(); // before the start is over there is nothing to finish: it is broken off
    await stack?.stop(mode);
    end();
  };
  const signals = new SignalQueue({
    escalate: (_signal, times) => stop(times === 2 ? "quick" : "kill"),
    onError: (error, signal) => complain(`${signal}: ${describe(error)}`),
  }).on({
    SIGTERM: (signal) => finish(signal, stop),
    SIGQUIT: (signal) => finish(signal, stop),
    // Who presses Ctrl-C waits for it: a page that is being answered still is, an open event stream is not waited for.
    SIGINT: async () => {
      const impatient = setTimeout(() => void stop("quick"), INTERRUPT_GRACE_MS);
      await stop("graceful").finally(() => clearTimeout(impatient));
    },
    SIGHUP: async () => {
      // What went wrong was said.
      if (stack !== undefined) await reload(stack, asked.signal).catch(() => {});
    },
    SIGTTIN: () => scale(stack, 1),
    SIGTTOU: () => scale(stack, -1),
    SIGUSR1: () => stack?.reopenLogs(),
    // Unanswered it would end the process.
    SIGUSR2: () =>
      complain(
        "SIGUSR2: both tiers in one command cannot be upgraded in place; portico-server alone can (HUP reloads)",
      ),
  });
  try {
    stack = await starting;
    if (!asked.signal.aborted) {
      control = await listenForCommands(stack, options, asked.signal, stop);
      say(banner(stack, options));
    }
    await stopped;
  } catch (error) {
    if (!asked.signal.aborted) throw error;
    await stopped;
  } finally {
    signals.close();
    await control?.close();
  }
}

/** `portico status` and so on. What nobody asked for must not keep the stack from serving. */
async function listenForCommands(
  stack: RunningStack,
  { app }: ServeOptions,
  stopping: AbortSignal,
  stop: (mode: StopMode) => Promise<void>,
): Promise<ControlServer | undefined> {
  const { answerCommands } = await import("@portico/server/control");
  const program = { name: "portico", app, cwd: process.cwd(), reload: () => reload(stack, stopping), stop };
  return await answerCommands(stack.server, program).catch((error: unknown) => {
    complain(`no control socket: ${describe(error)}`);
    return undefined;
  });
}

async function finish(signal: NodeJS.Signals, stop: (mode: StopMode) => Promise<void>): Promise<void> {
  say(`${signal}: finishing what is under way (again: stop at once)`);
  await stop("graceful");
}

async function scale(stack: RunningStack | undefined, by: number): Promise<void> {
  if (stack === undefined) return;
  const count = Math.max(1, ready(stack) + by);
  await stack.server.scale(count);
  say(plural(ready(stack), "worker"));
}

async function reload(stack: RunningStack, stopping: AbortSignal): Promise<void> {
  const began = performance.now();
  say("reloading");
  try {
    await stack.reload();
    say(`reloaded in ${Math.round(performance.now() - began)} ms, ${plural(ready(stack), "worker")}`);
  } catch (error) {
    if (stopping.aborted) return; // it was broken off, and nobody cares any more
    const half = error instanceof PorticoError && error.code === "reload-half";
    complain(`reload failed${half ? "" : ", the old generation goes on serving"}: ${describe(error)}`);
    throw error;
  }
}

function banner(stack: RunningStack, options: ServeOptions): string {
  const { proxy, server } = stack;
  const count = ready(stack);
  const lines = [`ready on ${proxy.addresses.join(", ")}`];
  if (options.static !== undefined)
    lines.push(`  files        ${fromHere(options.static)}, where there is one of the name asked for`);
  if (options.config !== undefined) lines.push(`  routes       ${options.config}`);
  lines.push(
    `  application  ${basename(options.app)} (${server.application}), ${plural(count, "worker")}`,
    `  stop         Ctrl-C, or kill ${process.pid}`,
    `  reload       kill -HUP ${process.pid}`,
  );
  return lines.join("\n");
}

/** A path as one would write it: relative, unless that leads upwards. */
function fromHere(path: string): string {
  const short = relative(".", path);
  return short === "" ? "." : short.startsWith("..") ? resolve(path) : short;
}

function ready(stack: RunningStack): number {
  return stack.server.workers().filter(({ state }) => state === "ready").length;
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function say(text: string): void {
  process.stdout.write(`portico: ${text}\n`);
}

function complain(text: string): void {
  process.stderr.write(`portico: ${text}\n`);
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, detail } = error as { code?: unknown; detail?: unknown };
  // An error with a code is one that a person can do something about; anything else is a fault of ours, with its stack.
  const text = typeof code === "string" ? error.message : (error.stack ?? error.message);
  return typeof detail === "string" ? `${text}\n${detail}` : text;
}

function exitCodeOf(error: unknown): number {
  if (error instanceof PorticoError) return error.code === "runtime-folder" ? EXIT.failed : EXIT.usage;
  const { exitCode } = error as { exitCode?: unknown };
  return typeof exitCode === "number" ? exitCode : EXIT.failed;
}

function version(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
