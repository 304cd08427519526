/** What a request is known by: the part of it that `hash.key` names, and its cookies. */
import type { HeaderList } from "@portico/gateway/exchange";
import type { KeyOf } from "./hash.ts";

/** Compiles `client`, `host`, `path`, `target`, `header:NAME`, `cookie:NAME` or `query:NAME`, as the schema has checked it. */
export function compileKey(text: string): KeyOf {
  const colon = text.indexOf(":");
  const name = text.slice(colon + 1);
  switch (colon === -1 ? text : text.slice(0, colon)) {
    case "host":
      return ({ head }) => (head.authority === "" ? undefined : head.authority.toLowerCase());
    case "path":
      return ({ head }) => pathOf(head.target);
    case "target":
      return ({ head }) => head.target;
    case "header": {
      const lower = name.toLowerCase();
      return ({ head }) => fieldOf(head.headers, lower);
    }
    case "cookie":
      return ({ head }) => cookieOf(head.headers, name);
    case "query":
      return ({ head }) => parameterOf(head.target, name);
    default:
      return ({ facts }) => facts.client.address;
  }
}

function pathOf(target: string): string {
  const mark = target.indexOf("?");
  return mark === -1 ? target : target.slice(0, mark);
}

/** The first field of that name. */
function fieldOf(headers: HeaderList, lower: string): string | undefined {
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at]!;
    if (name.length === lower.length && (name === lower || name.toLowerCase() === lower)) return headers[at + 1];
  }
  return undefined;
}

/** The first cookie of that name, as it was sent. */
export function cookieOf(headers: HeaderList, name: string): string | undefined {
  for (let at = 0; at < headers.length; at += 2) {
    const field = headers[at]!;
    if (field.length !== 6 || field.toLowerCase() !== "cookie") continue;
    const found = valueIn(headers[at + 1]!, name, ";");
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The first parameter of that name, not decoded. */
function parameterOf(target: string, name: string): string | undefined {
  const mark = target.indexOf("?");
  return mark === -1 ? undefined : valueIn(target.slice(mark + 1), name, "&");
}

/** `NAME=value` in a list. */
function valueIn(list: string, name: string, separator: string): string | undefined {
  for (let from = 0; from <= list.length;) {
    const next = list.indexOf(separator, from);
    const to = next === -1 ? list.length : next;
    while (list.charCodeAt(from) === 0x20 || list.charCodeAt(from) === 0x09) from++;
    if (list.startsWith(name, from) && list.charCodeAt(from + name.length) === 0x3d) {
      return list.slice(from + name.length + 1, to).trimEnd();
    }
    from = to + 1;
  }
  return undefined;
}
