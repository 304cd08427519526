/** Lines of the error log for a person at a terminal; files and pipes get the JSON. */
import { styleText } from "node:util";

const LEVEL_STYLES = { debug: "gray", info: "green", warn: "yellow", error: "red" } as const;
/** Shown in the head of a line, said by the message in words, or of no use at a terminal. */
const HIDDEN = new Set(["level", "time", "msg", "process", "thread", "type", "group", "child", "slot", "err"]);

interface Entry extends Record<string, unknown> {
  readonly level: keyof typeof LEVEL_STYLES;
  /** ISO 8601 */
  readonly time: string;
  readonly msg?: string;
  readonly err?: { readonly stack?: string; readonly message?: string };
}

/** Whole JSON lines as text: `12:30:01 proxy: error request failed code=closed`, an error's stack beneath. */
export function readable(lines: string): string {
  return lines
    .split("\n")
    .map((line) => (line === "" ? "" : readableLine(line)))
    .join("\n");
}

function readableLine(line: string): string {
  let entry: Entry;
  try {
    entry = JSON.parse(line) as Entry;
  } catch {
    return line;
  }
  const { level, time, msg = "", err } = entry;
  const label = level === "info" ? "" : ` ${colour(LEVEL_STYLES[level], level)}`;
  const facts = Object.entries(entry)
    .filter(([key]) => !HIDDEN.has(key))
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const tail = facts.length === 0 ? "" : ` ${colour("gray", facts.join(" "))}`;
  const stack = err === undefined ? "" : `\n${indent(err.stack ?? err.message ?? "")}`;
  return `${colour("gray", time.slice(11, 19))} proxy:${label} ${msg}${tail}${stack}`;
}

function colour(style: "gray" | "green" | "yellow" | "red", text: string): string {
  return styleText(style, text, { stream: process.stderr });
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => `    ${line}`)
    .join("\n");
}
