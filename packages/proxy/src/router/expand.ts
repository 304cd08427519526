/** Texts with variables: targets of redirects and rewrites. */
import type { Exchange } from "@portico/gateway/exchange";
import { hostName } from "./hosts.ts";
import { queryOf } from "./path.ts";
import type { Captures } from "./path-pattern.ts";

/** `$name`, or `${name}` where a letter follows. */
const VARIABLE = /\$(?:(\w+)|\{(\w+)\})/g;

const READERS: Readonly<Record<string, (exchange: Exchange) => string>> = {
  scheme: ({ head }) => head.scheme,
  host: ({ head }) => head.authority,
  hostname: ({ head }) => hostName(head.authority),
  path: ({ head }) => head.target.slice(0, head.target.length - queryOf(head.target).length),
  query: ({ head }) => queryOf(head.target),
  clientAddress: ({ facts }) => facts.client.address,
  requestId: ({ facts }) => facts.id,
};

/** Names of the variables in a text. */
export function variablesOf(text: string): string[] {
  return Array.from(text.matchAll(VARIABLE), (match) => match[1] ?? match[2]!);
}

/** Variables that every route has; groups of its pattern come to them. */
export const VARIABLES: readonly string[] = Object.keys(READERS);

/** A decoded path or part of one as it stands in a target (RFC 3986 §3.3). An encoded slash was never decoded. */
export function encodePath(path: string): string {
  return encodeURI(path)
    .replaceAll(/[?#[\]]/g, encodeURIComponent)
    .replaceAll("%252F", "%2F");
}

type Expand = (exchange: Exchange, captures: Captures) => string;

/** Compiles a text. What a group of the pattern stood for is encoded again. */
export function compileText(text: string): Expand {
  const parts: (string | Expand)[] = [];
  let from = 0;
  for (const match of text.matchAll(VARIABLE)) {
    const name = match[1] ?? match[2]!;
    const read = READERS[name];
    parts.push(text.slice(from, match.index), read ?? ((_exchange, captures) => encodePath(captures[name] ?? "")));
    from = match.index + match[0].length;
  }
  parts.push(text.slice(from));
  return (exchange, captures) => {
    let result = "";
    for (const part of parts) result += typeof part === "string" ? part : part(exchange, captures);
    return result;
  };
}
