/**
 * What a route asks of a request besides path and method: fields, query, cookies, the client's address. Compiled once;
 * a route that asks nothing has no conditions and costs nothing.
 */
import type { Exchange } from "@portico/gateway/exchange";
import { fieldValue } from "../answer/fields.ts";
import type { MatchSettings } from "../config/schema.ts";
import { compileTrust } from "../config/trust.ts";
import { queryOf } from "./path.ts";
import { compileValue } from "./pattern.ts";

/** One thing that is asked. `asks` says it to a person: `header x-beta: "1"`. */
export interface Condition {
  readonly asks: string;
  holds(exchange: Exchange): boolean;
}

type Reader = (exchange: Exchange, name: string) => string | undefined;

/** First value of a query parameter, decoded; `+` is a space (the form encoding). */
export function queryValue(target: string, name: string): string | undefined {
  return new URLSearchParams(queryOf(target)).get(name) ?? undefined;
}

/** Value of a cookie (RFC 6265 §5.4: the first of a name counts), as it was sent. */
export function cookieValue(exchange: Exchange, name: string): string | undefined {
  const field = fieldValue(exchange.head.headers, "cookie");
  if (field === undefined) return undefined;
  // Several Cookie lines were joined by a comma; a cookie's value has none.
  for (const pair of field.split(/[;,]/)) {
    const equals = pair.indexOf("=");
    if (equals !== -1 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim();
  }
  return undefined;
}

const READERS: Readonly<Record<"headers" | "query" | "cookies", { readonly word: string; readonly read: Reader }>> = {
  headers: { word: "header", read: (exchange, name) => fieldValue(exchange.head.headers, name) },
  query: { word: "query parameter", read: (exchange, name) => queryValue(exchange.head.target, name) },
  cookies: { word: "cookie", read: cookieValue },
};

function describe(word: string, name: string, pattern: string | boolean): string {
  if (pattern === true) return `${word} ${name}`;
  return pattern === false ? `no ${word} ${name}` : `${word} ${name}: ${JSON.stringify(pattern)}`;
}

/** In the order of their cost: the address first, texts after it. */
export function compileConditions(match: MatchSettings | undefined): readonly Condition[] {
  if (match === undefined) return [];
  const conditions: Condition[] = [];
  if (match.clients !== undefined) {
    const among = compileTrust(match.clients);
    conditions.push({
      asks: `client in ${match.clients.join(", ")}`,
      holds: (exchange) => among(exchange.facts.client.address),
    });
  }
  for (const kind of ["headers", "query", "cookies"] as const) {
    const { word, read } = READERS[kind];
    for (const [written, pattern] of Object.entries(match[kind] ?? {})) {
      const name = kind === "headers" ? written.toLowerCase() : written;
      const test = compileValue(pattern);
      conditions.push({ asks: describe(word, written, pattern), holds: (exchange) => test(read(exchange, name)) });
    }
  }
  return conditions;
}
