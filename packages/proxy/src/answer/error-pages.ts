/** Configured error pages, read when a configuration is compiled. */
import { readFileSync } from "node:fs";
import { STATUS_CODES } from "node:http";
import { lookup } from "mrmime";
import type { Exchange, HeaderList, WholeBody } from "@portico/gateway/exchange";
import type { ErrorPageSettings } from "../config/schema.ts";
import { ExchangeWrapper } from "../exchange-wrapper.ts";
import { fieldValue } from "./fields.ts";
import { EXPLANATIONS, escapeHtml, preferred } from "./error-text.ts";

/** A page, cut at its placeholders. */
interface Page {
  readonly type: string;
  readonly format: "html" | "json" | "text";
  readonly parts: readonly string[];
}

interface Facts {
  readonly status: number;
  readonly reason: string;
  readonly id: string;
}

const PLACEHOLDER = /\{\{(status|title|reason|id)\}\}/;

const FILLERS: Readonly<Record<string, (facts: Facts) => string>> = {
  status: ({ status }) => String(status),
  title: ({ status }) => STATUS_CODES[status] ?? "Error",
  reason: ({ reason }) => reason,
  id: ({ id }) => id,
};

const ESCAPES: Readonly<Record<Page["format"], (text: string) => string>> = {
  html: escapeHtml,
  json: (text) => JSON.stringify(text).slice(1, -1),
  text: (text) => text,
};

function readPage(file: string): Page {
  const type = lookup(file) ?? "text/html";
  const format = type === "text/html" ? "html" : type.endsWith("json") ? "json" : "text";
  return {
    type: type.startsWith("text/") ? `${type}; charset=utf-8` : type,
    format,
    parts: readFileSync(file, "utf8").split(PLACEHOLDER),
  };
}

function render({ parts, format }: Page, facts: Facts): string {
  const escape = ESCAPES[format];
  // Every second part is the name of a placeholder.
  return parts.map((part, index) => (index % 2 === 0 ? part : escape(FILLERS[part]!(facts)))).join("");
}

export class ErrorPages {
  readonly intercept: boolean;
  readonly #pages = new Map<string, Page>();

  /** @throws the file system's error where a page cannot be read */
  constructor(settings: ErrorPageSettings) {
    this.intercept = settings.intercept;
    for (const [status, file] of Object.entries(settings.pages)) this.#pages.set(status, readPage(file));
  }

  /** The page for a status: its own, else that of its kind. */
  find(status: number): Page | undefined {
    return status < 400
      ? undefined
      : (this.#pages.get(String(status)) ?? this.#pages.get(`${Math.floor(status / 100)}xx`));
  }

  /** Answers with the page of a status; false where there is none that the client wants. */
  answer(target: Exchange, status: number, reason: string | undefined, fields: HeaderList): boolean {
    const page = this.find(status);
    if (page === undefined) return false;
    const { id } = target.facts;
    if (page.format !== "json" && preferred(fieldValue(target.head.headers, "accept")) === "json") return false;
    const body = render(page, { status, reason: reason ?? EXPLANATIONS[status] ?? "", id });
    target.respond(
      status,
      ["Content-Type", page.type, "Cache-Control", "no-store", "X-Request-Id", id, ...fields],
      body,
    );
    return true;
  }
}

/** What a replaced response keeps: what the client has to do next (RFC 9110 §10.2.3, §11.6.1, §10.2.1). */
const KEPT: ReadonlySet<string> = new Set(["www-authenticate", "retry-after", "allow"]);

function keptFields(headers: HeaderList): HeaderList {
  const kept: HeaderList = [];
  for (let at = 0; at < headers.length; at += 2)
    if (KEPT.has(headers[at]!.toLowerCase())) kept.push(headers[at]!, headers[at + 1]!);
  return kept;
}

/** An exchange of a route with error pages; with `intercept`, responses of upstreams are replaced here. */
export class PagedExchange extends ExchangeWrapper {
  readonly pages: ErrorPages;
  /** A page was sent instead: the rest of the response goes nowhere. */
  #replaced = false;

  constructor(inner: Exchange, pages: ErrorPages) {
    super(inner);
    this.pages = pages;
  }

  #replace(status: number, headers: HeaderList): boolean {
    if (!this.pages.intercept) return false;
    this.#replaced = this.pages.answer(this.inner, status, undefined, keptFields(headers));
    return this.#replaced;
  }

  override respond(status: number, headers: HeaderList, body: WholeBody): void {
    if (!this.#replace(status, headers)) this.inner.respond(status, headers, body);
  }
  override start(status: number, headers: HeaderList): void {
    if (!this.#replace(status, headers)) this.inner.start(status, headers);
  }
  override write(chunk: Uint8Array | string): boolean {
    return this.#replaced || this.inner.write(chunk);
  }
  override end(trailers?: HeaderList): void {
    if (!this.#replaced) this.inner.end(trailers);
  }
}
