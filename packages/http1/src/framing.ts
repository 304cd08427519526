import { isToken, listElements, trimBlank } from "./characters.ts";
import { isGuarded } from "./fields.ts";
import type { Rule } from "./rules.ts";

/** Options of the Connection field, as flags. */
const CLOSE = 1;
const KEEP_ALIVE = 2;
export const UPGRADE = 4;

/** Flags of one Connection value, or the rule it breaks. Parameters are not allowed; unknown options are ignored. */
function connectionFlags(value: string): number | Rule {
  if (value === "keep-alive" || value === "Keep-Alive") return KEEP_ALIVE;
  if (value === "close") return CLOSE;
  let flags = 0;
  for (const option of listElements(value)) {
    if (option === "close") flags |= CLOSE;
    else if (option === "keep-alive") flags |= KEEP_ALIVE;
    else if (option === "upgrade") flags |= UPGRADE;
    else if (!isToken(option)) return "rfc9110-7.6.1-connection";
    else if (option !== "proxy-connection" && isGuarded(option)) return "rfc9110-7.6.1-connection-end-to-end";
  }
  return flags;
}

/** The rule that a Transfer-Encoding breaks (all its lines joined by commas); undefined where it is exactly `chunked`. */
function transferCodingRule(value: string): Rule | undefined {
  if (value === "chunked") return undefined;
  const codings = value.toLowerCase().split(",");
  let chunked = 0;
  let unknown = false;
  for (const coding of codings) {
    const name = trimBlank(coding);
    if (!isToken(name)) return "rfc9112-6.1-te-malformed";
    if (name === "chunked") chunked++;
    else unknown = true;
  }
  if (chunked > 1) return "rfc9112-6.1-te-chunked-repeated";
  // Without chunked at the end a request has no length at all (RFC 9112 §6.3): that goes before an unknown coding.
  if (chunked === 0 || trimBlank(codings.at(-1) as string) !== "chunked") return "rfc9112-6.1-te-chunked-not-final";
  return unknown ? "rfc9112-6.1-te-unknown" : undefined;
}

/** The number in a Content-Length value, or the rule it breaks. Leading zeros are allowed, as RFC 9110 §8.6 has it; a list is not. */
export function contentLength(value: string): number | Rule {
  if (value.length === 0) return "rfc9110-8.6-cl-malformed";
  let length = 0;
  for (let at = 0; at < value.length; at++) {
    const digit = value.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return value.includes(",") ? listLengthRule(value) : "rfc9110-8.6-cl-malformed";
    length = length * 10 + digit;
    if (length > Number.MAX_SAFE_INTEGER) length = Infinity;
  }
  return length > Number.MAX_SAFE_INTEGER ? "rfc9110-8.6-cl-overflow" : length;
}

function listLengthRule(value: string): Rule {
  return /^[0-9]+(?:[\t ]*,[\t ]*[0-9]+)+$/.test(value) ? "rfc9112-6.3-cl-repeated" : "rfc9110-8.6-cl-malformed";
}

/** What the fields of one head say about its framing and its connection; requests and responses say it alike. */
export class FramingFields {
  /** All Transfer-Encoding lines, joined by commas. */
  coding: string | undefined = undefined;
  /** Number of Content-Length fields. */
  lengths = 0;
  /** What Content-Length says, in bytes; 0 where there is none. */
  length = 0;
  /** Options of Connection, as flags. */
  options = 0;

  /** A head begins. */
  begin(): void {
    this.coding = undefined;
    this.lengths = 0;
    this.length = 0;
    this.options = 0;
  }

  // Hot path: told apart by length first, so that most fields cost one comparison.
  /** Notes a field; the rule that it breaks, or undefined. */
  take(name: string, value: string): Rule | undefined {
    switch (name.length) {
      case 10:
        return name === "Connection" || name.toLowerCase() === "connection" ? this.takeConnection(value) : undefined;
      case 14:
        return name.toLowerCase() === "content-length" ? this.takeLength(value) : undefined;
      case 17:
        if (name.toLowerCase() === "transfer-encoding")
          this.coding = this.coding === undefined ? value : `${this.coding},${value}`;
        return undefined;
      default:
        return undefined;
    }
  }

  /** The rule that Transfer-Encoding breaks: it must stand alone, in HTTP/1.1, and say exactly `chunked`. */
  codingRule(version: "1.0" | "1.1"): Rule | undefined {
    if (this.coding === undefined) return undefined;
    if (this.lengths > 0) return "rfc9112-6.1-te-and-cl";
    if (version === "1.0") return "rfc9112-6.1-te-in-1.0";
    return transferCodingRule(this.coding);
  }

  /** Whether version and Connection let the connection persist (RFC 9112 §9.3). */
  persists(version: "1.0" | "1.1"): boolean {
    return (this.options & CLOSE) === 0 && (version === "1.1" || (this.options & KEEP_ALIVE) !== 0);
  }

  private takeConnection(value: string): Rule | undefined {
    const flags = connectionFlags(value);
    if (typeof flags === "string") return flags;
    this.options |= flags;
    return undefined;
  }

  private takeLength(value: string): Rule | undefined {
    if (this.lengths++ > 0) return "rfc9112-6.3-cl-repeated";
    const length = contentLength(value);
    if (typeof length === "string") return length;
    this.length = length;
    return undefined;
  }
}
