/** The error log: pino's JSON lines, or text for a person at a terminal. Made once in the master and in each worker. */
import { closeSync, openSync } from "node:fs";
import { isatty } from "node:tty";
import { styleText } from "node:util";
import type { Logger } from "@portico/gateway";
import type { DestinationStream, Logger as PinoLogger } from "pino";
import { PorticoServerError } from "./error.ts";
import { lazyLogger, type Level, pino } from "./lazy-pino.ts";

/** Where and how to log; plain data, so that it can be sent to a worker. */
export interface LogOptions {
  readonly level: Level;
  /** Path, or `-` for standard error. */
  readonly file: string;
  readonly format: "auto" | "json" | "text";
}

/** A logger that can be told that its file was moved away. */
export interface ServerLog {
  readonly log: Logger;
  /** Opens the file anew (SIGUSR1). Does nothing on standard error. */
  reopen(): void;
  setLevel(level: LogOptions["level"]): void;
}

const STDERR_FD = 2;

/**
 * @param bindings fields on every line: `{ name }`, and in a worker its id and pid
 * @throws PorticoServerError `config` where the file cannot be written
 */
export function openLog(options: LogOptions, bindings: Record<string, unknown>): ServerLog {
  if (options.file !== "-") checkWritable(options.file);
  let { level } = options;
  let made: RealLog | undefined;
  const real = (): PinoLogger => (made ??= makeLog({ ...options, level }, bindings)).log;
  return {
    log: lazyLogger(() => level, real),
    reopen() {
      if (options.file !== "-") made?.sink.reopen();
    },
    setLevel(next) {
      level = next;
      if (made !== undefined) made.log.level = next;
    },
  };
}

interface RealLog {
  readonly log: PinoLogger;
  readonly sink: DestinationStream & { reopen(): void };
}

function makeLog(options: LogOptions, bindings: Record<string, unknown>): RealLog {
  const { destination, pino: create, stdTimeFunctions } = pino();
  // Synchronous: a line that says why a process dies must not die with it.
  const sink = destination(
    options.file === "-"
      ? { fd: STDERR_FD, sync: true }
      : { dest: options.file, sync: true, append: true, mkdir: false },
  );
  const text = options.format === "text" || (options.format === "auto" && options.file === "-" && isatty(STDERR_FD));
  const log = create(
    {
      level: options.level,
      base: bindings,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    text ? { write: (line: string) => sink.write(readable(line)) } : sink,
  );
  return { log, sink };
}

function checkWritable(file: string): void {
  try {
    closeSync(openSync(file, "a"));
  } catch (error) {
    throw new PorticoServerError(
      "config",
      `logFile ${file}: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
      },
    );
  }
}

const LEVEL_STYLES = { debug: "gray", info: "green", warn: "yellow", error: "red" } as const;
/** Shown in the head of a line or not at all. */
const HEAD_FIELDS = new Set(["level", "time", "name", "worker", "pid", "msg"]);
/** Facts for machines that the message of our own lines says in words. */
const SAID_FIELDS = new Set(["addresses", "asked", "signal", "mode", "settings"]);

interface Entry extends Record<string, unknown> {
  readonly level: keyof typeof LEVEL_STYLES;
  /** ISO 8601 */
  readonly time: string;
  readonly name: string;
  readonly worker?: number;
  readonly msg?: string;
}

/** One JSON line as text: `12:30:01 portico-server[2]: message key=value`, an error's stack beneath. */
export function readable(line: string): string {
  let entry: Entry;
  try {
    entry = JSON.parse(line) as Entry;
  } catch {
    return line;
  }
  const { level } = entry;
  const time = entry.time.slice(11, 19);
  const who = entry.worker === undefined ? entry.name : `${entry.name}[${entry.worker}]`;
  const label = level === "info" ? "" : ` ${styleText(LEVEL_STYLES[level], level)}`;
  const extra: string[] = [];
  let below = "";
  for (const [key, value] of Object.entries(entry)) {
    if (HEAD_FIELDS.has(key) || SAID_FIELDS.has(key)) continue;
    if (key === "err" && typeof value === "object" && value !== null && "stack" in value)
      below += `\n${indent(String(value.stack))}`;
    else if (typeof value === "string" && value.includes("\n")) below += `\n${indent(value)}`;
    else if (entry["group"] === undefined)
      extra.push(`${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  }
  const tail = extra.length === 0 ? "" : ` ${styleText("gray", extra.join(" "))}`;
  return `${styleText("gray", time)} ${who}:${label} ${entry.msg ?? ""}${tail}${below}\n`;
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => `    ${line}`)
    .join("\n");
}
