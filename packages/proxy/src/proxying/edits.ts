/**
 * What a route changes in header lists, compiled: `requestHeaders`, `forwarded`, `responseHeaders`, `rewrites`. A route
 * that changes nothing has no function, and its requests pay nothing.
 */
import type { Exchange, HeaderList } from "@portico/gateway/exchange";
import type { ProxySettings } from "../config/schema.ts";
import { compileText } from "../router/expand.ts";
import { addForwarded } from "./forwarded.ts";

type EditSettings = NonNullable<ProxySettings["responseHeaders"]>;
type RewriteSettings = NonNullable<ProxySettings["rewrites"]>;

/** Gives another list; the one it is given may be shared and is left alone. */
type Edit = (headers: HeaderList, exchange: Exchange) => HeaderList;

/** Fields that a server on the link writes itself where they say what the request's facts say. */
const DERIVED = /^(host|x-forwarded-(for|proto|host)|x-request-id)$/i;

export interface CompiledEdits {
  readonly request: Edit | undefined;
  readonly response: Edit | undefined;
  /** Whether servers may write the fields that follow from the facts: not where the route changes them. */
  readonly derivable: boolean;
}

export function compileEdits(settings: ProxySettings): CompiledEdits {
  const { requestHeaders, responseHeaders, rewrites, forwarded } = settings;
  const changed = requestHeaders === undefined ? [] : namesOf(requestHeaders);
  return {
    request: chain(
      forwarded ? addForwarded : undefined,
      requestHeaders && editFields(requestHeaders, (value) => withoutCaptures(value)),
    ),
    response: chain(
      rewrites && rewriteFields(rewrites),
      responseHeaders && editFields(responseHeaders, (value) => () => value),
    ),
    derivable: !changed.some((name) => DERIVED.test(name)),
  };
}

function namesOf({ remove = [], set = {}, add = {} }: EditSettings): string[] {
  return [...remove, ...Object.keys(set), ...Object.keys(add)];
}

function withoutCaptures(value: string): (exchange: Exchange) => string {
  const expand = compileText(value);
  return (exchange) => expand(exchange, {});
}

function chain(first: Edit | undefined, second: Edit | undefined): Edit | undefined {
  if (first === undefined || second === undefined) return first ?? second;
  return (headers, exchange) => second(first(headers, exchange), exchange);
}

function editFields(
  { remove = [], set = {}, add = {} }: EditSettings,
  compile: (value: string) => (exchange: Exchange) => string,
): Edit {
  const gone = new Set([...remove, ...Object.keys(set)].map((name) => name.toLowerCase()));
  const given = [...Object.entries(set), ...Object.entries(add)].map(([name, value]) => ({
    name,
    value: compile(value),
  }));
  return (headers, exchange) => {
    const list: HeaderList = [];
    for (let at = 0; at < headers.length; at += 2)
      if (!gone.has(headers[at]!.toLowerCase())) list.push(headers[at]!, headers[at + 1]!);
    for (const { name, value } of given) list.push(name, value(exchange));
    return list;
  };
}

// --- addresses that an application writes ------------------------------------------------------------------------

type Rewrite = (value: string) => string;

function rewriteFields({ locations, cookieDomains, cookiePaths }: RewriteSettings): Edit {
  const location = locations && byBeginning(locations, (value, from) => value.startsWith(from));
  const domain = cookieDomains && byDomain(cookieDomains);
  const path = cookiePaths && byBeginning(cookiePaths, beginsWithSegments);
  const rewriters = new Map<string, Rewrite>();
  if (location !== undefined) {
    rewriters.set("location", location).set("content-location", location);
    rewriters.set("refresh", (value) => rewriteRefresh(value, location));
  }
  if (domain !== undefined || path !== undefined)
    rewriters.set("set-cookie", (value) => rewriteCookie(value, domain, path));
  return (headers) => {
    let list: HeaderList | undefined;
    for (let at = 0; at < headers.length; at += 2) {
      const rewrite = rewriters.get(headers[at]!.toLowerCase());
      if (rewrite === undefined) continue;
      list ??= [...headers];
      list[at + 1] = rewrite(headers[at + 1]!);
    }
    return list ?? headers;
  };
}

function byBeginning(
  rules: Readonly<Record<string, string>>,
  begins: (value: string, from: string) => boolean,
): Rewrite {
  const sorted = Object.entries(rules).toSorted(([a], [b]) => b.length - a.length);
  return (value) => {
    const rule = sorted.find(([from]) => begins(value, from));
    return rule === undefined ? value : rule[1] + value.slice(rule[0].length);
  };
}

/** `/app` is the beginning of `/app` and `/app/x`, not of `/apple`. */
function beginsWithSegments(value: string, from: string): boolean {
  return value.startsWith(from) && (from.endsWith("/") || value.length === from.length || value[from.length] === "/");
}

/** A leading dot means nothing (RFC 6265 §5.2.3), and letters have no case. */
const bareDomain = (domain: string): string => domain.replace(/^\./, "").toLowerCase();

function byDomain(rules: Readonly<Record<string, string>>): Rewrite {
  const known = new Map(Object.entries(rules).map(([from, to]) => [bareDomain(from), to]));
  return (value) => known.get(bareDomain(value)) ?? known.get("*") ?? value;
}

const ATTRIBUTE = /^[ \t]*(domain|path)[ \t]*=[ \t]*(.*?)[ \t]*$/i;

/** RFC 6265 §5.2: attributes stand after semicolons. The name and value of the cookie are never touched. */
function rewriteCookie(cookie: string, domain: Rewrite | undefined, path: Rewrite | undefined): string {
  const [pair, ...attributes] = cookie.split(";");
  let result = pair!;
  for (const attribute of attributes) {
    const found = ATTRIBUTE.exec(attribute);
    const rewrite = found === null ? undefined : found[1]!.toLowerCase() === "path" ? path : domain;
    if (rewrite === undefined) result += `;${attribute}`;
    else {
      const value = rewrite(found![2]!);
      if (value !== "") result += `; ${found![1]}=${value}`;
    }
  }
  return result;
}

function rewriteRefresh(value: string, location: Rewrite): string {
  const found = /^([^;,]*[;,][ \t]*url=["']?)(.*)$/i.exec(value);
  return found === null ? value : found[1]! + location(found[2]!);
}
