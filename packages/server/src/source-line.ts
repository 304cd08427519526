/** Makes what the application threw while it was loaded readable: the place, the line, the message. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { inspect } from "node:util";
import { fileURLToPath } from "node:url";
import { PorticoServerError } from "./error.ts";

/** Frames of the application's stack that are worth showing. */
const STACK_LINES = 6;
/** Where our packages' frames are from: a workspace's folders, or an installation's. */
const OWN_FRAME = /[/\\](?:packages|@portico)[/\\](?:gateway|http1|link|supervisor|server)[/\\](?:src|dist)[/\\]/;
/** Files that are checked one by one to find the one that does not parse, and how long each may take. */
const MAX_CHECKED_FILES = 40;
const CHECK_TIMEOUT_MS = 5_000;

/**
 * Turns an error of `import()` into one of ours, with the place and the source line as detail where it is a syntax
 * error, else the application's own stack.
 * @param written MODULE as the user wrote it
 * @param entry the file that was imported
 */
export function describeLoadError(error: unknown, written: string, entry: string): PorticoServerError {
  if (error instanceof PorticoServerError) return error;
  if (isSyntaxError(error)) {
    const detail = syntaxErrorPlace(error, entry);
    const file = detail === undefined ? entry : firstLine(detail).replace(/:\d+$/, "");
    const message = `${written} does not parse: ${firstLine(error.message)}${commonJsHint(error, file)}`;
    return new PorticoServerError("app-syntax", message, { cause: error, detail });
  }
  const detail = ownStack(error);
  const missing = missingImport(error);
  if (missing !== undefined)
    return new PorticoServerError("app-missing", `${written} imports what is not there: ${missing}`, {
      cause: error,
      detail,
    });
  return new PorticoServerError("app-threw", `${written} failed while it was loaded: ${describe(error)}`, {
    cause: error,
    detail,
  });
}

/** `file:line`, the line itself and a caret; undefined where `error` is not a syntax error or its place cannot be found. */
export function syntaxErrorPlace(error: unknown, entry: string): string | undefined {
  return isSyntaxError(error) ? (arrowOf(inspect(error)) ?? findUnparsable(entry)) : undefined;
}

/** `TypeError: message`, on one line. */
export function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${firstLine(error.message)}` : firstLine(inspect(error));
}

/** The stack's frames that are not Node's own, without those of this package; undefined where there are none. */
export function ownStack(error: unknown): string | undefined {
  if (!(error instanceof Error) || error.stack === undefined) return undefined;
  return applicationFrames(error.stack);
}

/** Of a stack's frames those that are neither Node's nor Portico's own; undefined where there are none. */
export function applicationFrames(stack: string): string | undefined {
  const frames = stack
    .split("\n")
    .filter((line) => line.startsWith("    at ") && !line.includes("node:") && !OWN_FRAME.test(line))
    .slice(0, STACK_LINES);
  return frames.length === 0 ? undefined : frames.join("\n");
}

function isSyntaxError(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  const { code } = error as NodeJS.ErrnoException;
  return (
    error.name === "SyntaxError" ||
    code === "ERR_INVALID_TYPESCRIPT_SYNTAX" ||
    code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX"
  );
}

/** What `npm init` writes makes an ES module of the usual form unreadable, and Node's words do not say so. */
function commonJsHint(error: Error, file: string): string {
  if (!/^Unexpected token 'export'|^Cannot use import statement outside a module/.test(error.message)) return "";
  const renamed = basename(file).replace(/\.c?([jt]s)$/, ".m$1");
  return `: it is an ES module, and counts as CommonJS here; write "type": "module" into package.json, or name it ${renamed}`;
}

function missingImport(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  if (code !== "ERR_MODULE_NOT_FOUND" && code !== "MODULE_NOT_FOUND" && code !== "ERR_PACKAGE_PATH_NOT_EXPORTED")
    return undefined;
  return firstLine(error.message);
}

/** Place, source line and caret, which Node puts before the stack of most syntax errors: `file:line`, the lines, the carets. */
function arrowOf(text: string): string | undefined {
  const lines = text.split("\n");
  const start = lines.findIndex((line) => /^(file:\/\/|\/).*:\d+$/.test(line));
  if (start === -1) return undefined;
  const caret = lines.findIndex((line, index) => index > start && /^\s*\^+\s*$/.test(line));
  if (caret === -1) return undefined;
  const place = lines[start]!;
  const file = place.startsWith("file:")
    ? fileURLToPath(place.slice(0, place.lastIndexOf(":"))) + /:\d+$/.exec(place)![0]
    : place;
  return [file, ...lines.slice(start + 1, caret + 1)].join("\n");
}

/**
 * For ES modules in plain JavaScript, Node keeps the place of a syntax error to itself unless the error is uncaught.
 * So the entry and what it imports by relative name are checked with `node --check`, which parses and runs nothing.
 */
function findUnparsable(entry: string): string | undefined {
  const queue = [entry];
  for (let index = 0; index < queue.length && index < MAX_CHECKED_FILES; index++) {
    const file = queue[index]!;
    const { stderr } = spawnSync(process.execPath, ["--check", file], {
      encoding: "utf8",
      timeout: CHECK_TIMEOUT_MS,
      stdio: ["ignore", "ignore", "pipe"],
    });
    const arrow = arrowOf(stderr);
    if (arrow !== undefined) return arrow;
    for (const next of relativeImports(file)) if (!queue.includes(next)) queue.push(next);
  }
  return undefined;
}

function relativeImports(file: string): string[] {
  const source = existsSync(file) ? readFileSync(file, "utf8") : "";
  return [...source.matchAll(/(?:from|import|require)\s*\(?\s*["'](\.{1,2}\/[^"']+)["']/g)]
    .map((match) => resolve(dirname(file), match[1]!))
    .filter((path) => existsSync(path));
}

function firstLine(text: string): string {
  return text.split("\n")[0]!;
}
