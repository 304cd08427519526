/**
 * In the worker, for `--reload` only: what went wrong is shown in the browser, with its place and source line. Never
 * in production: a client gets an id there, and no stack.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { AbortReason, Exchange, ExchangeHandler, HeaderList, WholeBody } from "@portico/gateway/exchange";
import { type Ending, WatchedExchange } from "@portico/gateway/watched-exchange";
import { applicationFrames } from "./source-line.ts";

/** Failures whose answer has not come yet. */
const MOST_REMEMBERED = 100;
/** Lines shown above and below the one that failed. */
const LINES_AROUND = 4;

export class Development {
  readonly #failures = new Map<string, unknown>();
  /** Why the last reload failed: the workers that are left are of before. */
  #broken: string | undefined;

  /** A request failed with this. */
  report(id: string, error: unknown): void {
    if (this.#failures.size >= MOST_REMEMBERED) this.#failures.clear();
    this.#failures.set(id, error);
  }

  /** The application as it is on the disk now cannot be loaded. */
  broken(text: string): void {
    this.#broken = text;
  }

  watch(handler: ExchangeHandler): ExchangeHandler {
    return (exchange) => {
      if (this.#broken !== undefined && wantsHtml(exchange))
        exchange.respond(500, PAGE_HEADERS, page("The application cannot be reloaded", this.#broken));
      else new ShownExchange(exchange, this.#failures).answer(handler);
    };
  }
}

const PAGE_HEADERS = ["Content-Type", "text/html; charset=utf-8", "Cache-Control", "no-store"];

/** Puts the page in the place of the answer to a failure, where the client is a browser. */
class ShownExchange extends WatchedExchange {
  readonly #failures: Map<string, unknown>;

  constructor(inner: Exchange, failures: Map<string, unknown>) {
    super(inner);
    this.#failures = failures;
  }

  override respond(status: number, headers: HeaderList, body: WholeBody): void {
    const { id } = this.facts;
    if (status < 500 || !this.#failures.has(id) || !wantsHtml(this)) return super.respond(status, headers, body);
    const error = this.#failures.get(id);
    const title = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    super.respond(status, PAGE_HEADERS, page(title, textOf(error)));
  }

  protected over(_how: Ending | AbortReason): void {
    this.#failures.delete(this.facts.id);
  }
}

function wantsHtml({ head: { headers } }: Exchange): boolean {
  return headers.some(
    (value, index) => index % 2 === 1 && headers[index - 1]!.toLowerCase() === "accept" && value.includes("text/html"),
  );
}

function textOf(error: unknown): string {
  if (!(error instanceof Error) || error.stack === undefined) return "";
  const frames = applicationFrames(error.stack) ?? error.stack;
  const place = /(?:file:\/\/|\()?(\/[^():]+|file:[^():]+):(\d+):\d+/.exec(frames);
  return `${place === null ? "" : excerpt(place[1]!, Number(place[2]))}${frames}`;
}

function excerpt(file: string, line: number): string {
  try {
    const path = file.startsWith("file:") ? fileURLToPath(file) : file;
    const lines = readFileSync(path, "utf8").split("\n");
    const first = Math.max(0, line - 1 - LINES_AROUND);
    const shown = lines
      .slice(first, line + LINES_AROUND)
      .map(
        (text, index) => `${first + index + 1 === line ? ">" : " "} ${String(first + index + 1).padStart(5)} | ${text}`,
      );
    return `${path}:${line}\n\n${shown.join("\n")}\n\n`;
  } catch {
    return "";
  }
}

function page(title: string, text: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escape(title)}</title>
<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}pre{background:#f4f4f4;padding:1rem;overflow:auto}h1{font-size:1.25rem;color:#a00}@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}pre{background:#222}h1{color:#f77}}</style>
<h1>${escape(title)}</h1><pre>${escape(text)}</pre><p>Shown because the server runs with --reload.</p></html>
`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
