/** What a client sees when a request cannot be answered: a small page, JSON or text, with the request's id. */
import { STATUS_CODES } from "node:http";
import type { Exchange, HeaderList } from "@portico/gateway/exchange";
import { fieldValue } from "./fields.ts";

/** What the usual statuses mean to the one who reads them. Never more than that: no names, no stack. */
const EXPLANATIONS: Readonly<Record<number, string>> = {
  400: "The request could not be understood.",
  403: "This may not be read.",
  404: "There is nothing here under this name.",
  405: "This address does not take that method.",
  408: "The request took too long to arrive.",
  412: "The condition of the request does not hold.",
  413: "The request's body is larger than this server takes.",
  416: "The file does not have the requested range.",
  421: "This server does not answer for that host.",
  500: "Something went wrong on the server.",
  501: "The server does not support this.",
  502: "The application behind this server gave no valid answer.",
  503: "The server is busy. Please try again in a moment.",
  504: "The application behind this server did not answer in time.",
};

type Format = "html" | "json" | "text";

/** What the client would rather read. Not a full negotiation: the order it names them in decides. */
function preferred(accept: string | undefined): Format {
  if (accept === undefined) return "text";
  const html = accept.indexOf("text/html");
  const json = accept.indexOf("json");
  if (json !== -1 && (html === -1 || json < html)) return "json";
  return html === -1 ? "text" : "html";
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};
const escapeHtml = (text: string): string => text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);

const TYPES: Readonly<Record<Format, string>> = {
  html: "text/html; charset=utf-8",
  json: "application/json",
  text: "text/plain; charset=utf-8",
};

const RENDERERS: Readonly<Record<Format, (status: number, title: string, reason: string, id: string) => string>> = {
  html: (status, title, reason, id) =>
    `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${status} ${escapeHtml(title)}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;color:#222}small{color:#666}@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}}</style>
<h1>${status} ${escapeHtml(title)}</h1><p>${escapeHtml(reason)}</p><small>Request ${escapeHtml(id)}</small></html>
`,
  json: (status, title, reason, id) => `${JSON.stringify({ status, error: title, message: reason, id })}\n`,
  text: (status, title, reason, id) => `${status} ${title}\n${reason}\nRequest ${id}\n`,
};

/**
 * Answers with an error. No effect once the response has begun.
 *
 * @param reason a sentence that everyone may read; without it the status explains itself
 * @param fields further fields, such as Allow or Retry-After
 */
export function respondError(exchange: Exchange, status: number, reason?: string, fields: HeaderList = []): void {
  if (exchange.started || exchange.ended) return;
  const format = preferred(fieldValue(exchange.head.headers, "accept"));
  const id = exchange.facts.id;
  const body = RENDERERS[format](status, STATUS_CODES[status] ?? "Error", reason ?? EXPLANATIONS[status] ?? "", id);
  const headers = ["Content-Type", TYPES[format], "Cache-Control", "no-store", "X-Request-Id", id, ...fields];
  exchange.respond(status, headers, body);
}
