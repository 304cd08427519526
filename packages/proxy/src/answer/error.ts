/** What a client sees when a request cannot be answered: a small page, JSON or text, with the request's id. */
import { STATUS_CODES } from "node:http";
import type { Exchange, HeaderList } from "@portico/gateway/exchange";
import { ExchangeWrapper } from "../exchange-wrapper.ts";
import { PagedExchange } from "./error-pages.ts";
import { EXPLANATIONS, type ErrorFormat, escapeHtml, preferred } from "./error-text.ts";
import { fieldValue } from "./fields.ts";

const TYPES: Readonly<Record<ErrorFormat, string>> = {
  html: "text/html; charset=utf-8",
  json: "application/json",
  text: "text/plain; charset=utf-8",
};

const RENDERERS: Readonly<Record<ErrorFormat, (status: number, title: string, reason: string, id: string) => string>> =
  {
    html: (status, title, reason, id) =>
      `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${status} ${escapeHtml(title)}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;color:#222}small{color:#666}@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}}</style>
<h1>${status} ${escapeHtml(title)}</h1><p>${escapeHtml(reason)}</p><small>Request id: ${escapeHtml(id)}</small></html>
`,
    json: (status, title, reason, id) => `${JSON.stringify({ status, error: title, message: reason, id })}\n`,
    text: (status, title, reason, id) => `${status} ${title}\n${reason}\nRequest id: ${id}\n`,
  };

/** Answers with the page of the nearest stage that has pages; false where none has one for this status. */
function respondPage(
  exchange: ExchangeWrapper,
  status: number,
  reason: string | undefined,
  fields: HeaderList,
): boolean {
  for (let stage: Exchange = exchange; stage instanceof ExchangeWrapper; stage = stage.inner)
    if (stage instanceof PagedExchange && stage.pages.answer(stage.inner, status, reason, fields)) return true;
  return false;
}

/**
 * Answers with an error: the route's or site's page where there is one, else our own. No effect once the response has
 * begun.
 *
 * @param reason a sentence that everyone may read; without it the status explains itself
 * @param fields further fields, such as Allow or Retry-After
 */
export function respondError(exchange: Exchange, status: number, reason?: string, fields: HeaderList = []): void {
  if (exchange.started || exchange.ended) return;
  if (exchange instanceof ExchangeWrapper && respondPage(exchange, status, reason, fields)) return;
  const format = preferred(fieldValue(exchange.head.headers, "accept"));
  const id = exchange.facts.id;
  const body = RENDERERS[format](status, STATUS_CODES[status] ?? "Error", reason ?? EXPLANATIONS[status] ?? "", id);
  const headers = ["Content-Type", TYPES[format], "Cache-Control", "no-store", "X-Request-Id", id, ...fields];
  exchange.respond(status, headers, body);
}
