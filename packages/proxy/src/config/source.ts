/**
 * Reads a configuration file into plain data, with the lines of its keys where the format has them.
 *
 * A module (`.ts`, `.js`, `.mjs`, `.mts`) is loaded in a thread of its own: each load sees the files as they are now,
 * nothing stays behind after a reload, and the master runs no user code.
 */
import { readFile } from "node:fs/promises";
import { basename, extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { LineCounter, parseDocument, visit } from "yaml";
import { PorticoProxyError } from "../errors.ts";
import { moduleLines } from "./module-lines.ts";
import { offsetOf } from "./offsets.ts";
import type { KeyPath } from "./problems.ts";

export interface ConfigSource {
  readonly data: unknown;
  /** Line of a key, 1 for the first; of the nearest key above where it is absent; undefined where there is none to be seen (modules that compute their keys). */
  readonly lineOf: (path: KeyPath) => number | undefined;
}

// A configuration module that does nothing but make an object takes milliseconds; one that hangs must not hang us.
const MODULE_TIMEOUT_MS = 30_000;

/** Node's word on a package.json without "type": four lines, at every load, about something that works. */
const NO_TYPE_WARNING = "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON";

/** Runs in the thread. Reports by message, so that an error of the module arrives with its own words. */
const MODULE_THREAD = `
const { parentPort, workerData } = require("node:worker_threads");
import(workerData)
  .then(async (module) => {
    if (!("default" in module)) throw new TypeError("it has no default export");
    const value = await module.default;
    try { parentPort.postMessage({ value }); }
    catch (error) { throw new TypeError("its default export is not plain data: " + error.message); }
  })
  .catch((error) => parentPort.postMessage({ error: error instanceof Error ? error : new Error(String(error)) }));
`;

/** Where in the module an error arose, as far as its stack tells. */
function lineOfModule(error: Error, url: string): number | undefined {
  const at = error.stack?.indexOf(`${url}:`) ?? -1;
  return at === -1 ? undefined : Number.parseInt(error.stack!.slice(at + url.length + 1), 10);
}

/** What `npm init` writes makes an ES module of the usual form unreadable, and Node's words do not say so. */
function commonJsHint(error: Error, file: string): string {
  if (!/^Unexpected token 'export'|^Cannot use import statement outside a module/.test(error.message)) return "";
  const renamed = basename(file).replace(/\.c?([jt]s)$/, ".m$1");
  return `: it is an ES module, and counts as CommonJS here; write "type": "module" into package.json, or name it ${renamed}`;
}

async function readModule(file: string): Promise<unknown> {
  const { promise, resolve: settle, reject } = Promise.withResolvers<{ value?: unknown; error?: Error }>();
  const url = pathToFileURL(resolve(file)).href;
  const thread = new Worker(MODULE_THREAD, {
    eval: true,
    workerData: url,
    execArgv: [...process.execArgv, NO_TYPE_WARNING],
  });
  const timer = setTimeout(
    () =>
      reject(
        new PorticoProxyError(
          "config-unreadable",
          `${file}: did not finish loading in ${MODULE_TIMEOUT_MS / 1000} seconds`,
        ),
      ),
    MODULE_TIMEOUT_MS,
  );
  thread.once("message", settle);
  thread.once("error", (error: unknown) =>
    settle({ error: error instanceof Error ? error : new PorticoProxyError("config-unreadable", String(error)) }),
  );
  thread.once("exit", () =>
    settle({ error: new PorticoProxyError("config-unreadable", "it ended the thread it was loaded in") }),
  );
  try {
    const { value, error } = await promise;
    if (error === undefined) return value;
    const code = error instanceof SyntaxError ? "config-syntax" : "config-unreadable";
    const line = lineOfModule(error, url);
    throw new PorticoProxyError(
      code,
      `${line === undefined ? file : `${file}:${line}`}: cannot be loaded: ${error.message}${commonJsHint(error, file)}`,
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
    await thread.terminate();
  }
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const reasons: Record<string, string> = {
      ENOENT: "there is no such file",
      EACCES: "permission denied",
      EISDIR: "is a directory",
    };
    throw new PorticoProxyError("config-unreadable", `${file}: ${reasons[code ?? ""] ?? String(cause)}`, { cause });
  }
}

function readDocument(file: string, text: string, json: boolean): ConfigSource {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  if (json) {
    try {
      JSON.parse(text);
    } catch (cause) {
      const { message } = cause as Error;
      const position = /at position (\d+)/.exec(message)?.[1];
      const where = position === undefined ? document.errors[0]?.pos[0] : Number(position);
      // Without the part of the file that the message may quote.
      const reason = message.replace(/(,| in JSON at| is not valid JSON)[^]*$/, "");
      throw new PorticoProxyError(
        "config-syntax",
        `${where === undefined ? file : place(where)}: is not JSON: ${reason}`,
        { cause },
      );
    }
  }
  const error = document.errors[0];
  if (error !== undefined) {
    const reason = error.code === "MULTIPLE_DOCS" ? "a second document; a configuration is one" : error.message;
    throw new PorticoProxyError("config-syntax", `${place(error.pos[0])}: ${reason}`, { cause: error });
  }
  visit(document, {
    Alias(_key, alias) {
      if (alias.resolve(document) !== undefined) return;
      const where = place(alias.range?.[0] ?? 0);
      throw new PorticoProxyError("config-syntax", `${where}: there is no anchor "&${alias.source}" before this alias`);
    },
  });
  return {
    data: document.toJS() as unknown,
    lineOf(path) {
      const offset = offsetOf(document.contents, path);
      return offset === undefined ? undefined : lines.linePos(offset).line;
    },
  };
}

const FORMATS: Record<string, "module" | "json" | "yaml"> = {
  ".ts": "module",
  ".mts": "module",
  ".js": "module",
  ".mjs": "module",
  ".json": "json",
  ".yaml": "yaml",
  ".yml": "yaml",
};

/** @throws PorticoProxyError `config-unreadable`, `config-syntax` */
export async function readSource(file: string): Promise<ConfigSource> {
  const format = FORMATS[extname(file)];
  if (format === undefined)
    throw new PorticoProxyError(
      "config-unreadable",
      `${file}: is of no known kind: ${Object.keys(FORMATS).join(", ")}`,
    );
  const text = await readText(file);
  if (format === "module") return { data: await readModule(file), lineOf: moduleLines(text) };
  return readDocument(file, text, format === "json");
}
