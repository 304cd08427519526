import type { RecordHeaders } from "../application.ts";
import { PorticoGatewayError } from "../errors.ts";
import type { HeaderList } from "../exchange.ts";

/** What a field name means to a host. */
type FieldKind = "plain" | "content-length" | "content-type" | "hop-by-hop" | "invalid";

/** Fields of one connection, not of the message (RFC 9110 §7.6.1): the transport's own. */
const HOP_BY_HOP = new Set(["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"]);

/** Of these, what frameworks written for other hosts put on a fetch `Response` (Hono's `streamSSE` does): dropped there, as `node:http` hosts of fetch do. */
const DROPPED_OF_RESPONSE = new Set(["connection", "keep-alive", "transfer-encoding"]);

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Control characters but tab, and what latin1 cannot say (RFC 9110 §5.5). */
const BAD_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

/** Names remembered with their kind. Applications use few; the bound is for those that make names up. */
const NAME_MEMORY = 512;
const kinds = new Map<string, FieldKind>();

/** Fields of a response, checked. */
export interface CheckedFields {
  readonly list: HeaderList;
  /** Content-Length in bytes; -1 where there is none. */
  readonly contentLength: number;
  readonly hasContentType: boolean;
}

/**
 * Brings fields of any form into a flat list and checks them. Hot path: one list and one result per response.
 * `ofResponse`: they are those of a fetch `Response` (T5.2.4).
 *
 * Throws `BAD_FIELD`, `HOP_BY_HOP_FIELD`, `BAD_CONTENT_LENGTH`.
 */
export function checkFields(headers: RecordHeaders | Headers | undefined, ofResponse = false): CheckedFields {
  const checker = new FieldChecker(ofResponse);
  if (headers === undefined || headers === null) return checker;
  if (typeof headers !== "object")
    throw new PorticoGatewayError("BAD_FIELD", `Headers are a ${typeof headers}`, { rule: "T5.2.1" });
  if (Array.isArray(headers) && typeof headers[0] === "string") addFlat(checker, headers as readonly string[]);
  else if (Symbol.iterator in headers) addPairs(checker, headers as Iterable<readonly [string, string]>);
  else addObject(checker, headers);
  return checker;
}

class FieldChecker implements CheckedFields {
  readonly list: HeaderList = [];
  contentLength = -1;
  hasContentType = false;
  readonly #ofResponse: boolean;

  constructor(ofResponse: boolean) {
    this.#ofResponse = ofResponse;
  }

  add(name: string, value: string): void {
    const kind = kinds.get(name) ?? learn(name);
    if (kind !== "plain" && !this.#special(kind, name, value)) return;
    if (typeof value !== "string" || BAD_VALUE.test(value)) {
      throw new PorticoGatewayError("BAD_FIELD", `Value of field ${name} has a character that a field cannot carry`, {
        rule: "T5.2.3",
      });
    }
    this.list.push(name, needsTrim(value) ? value.trim() : value);
  }

  /** False: the field is dropped. */
  #special(kind: FieldKind, name: string, value: string): boolean {
    if (kind === "content-type") this.hasContentType = true;
    else if (kind === "content-length") {
      if (this.contentLength !== -1 || !/^\d{1,15}$/.test(value)) {
        throw new PorticoGatewayError("BAD_CONTENT_LENGTH", `Content-Length is repeated or not a number: ${value}`, {
          rule: "T5.3.1",
        });
      }
      this.contentLength = Number(value);
    } else if (kind === "hop-by-hop") {
      if (this.#ofResponse && DROPPED_OF_RESPONSE.has(name.toLowerCase())) return false;
      throw new PorticoGatewayError("HOP_BY_HOP_FIELD", `${name} belongs to the connection, not to the response`, {
        rule: "T5.2.4",
      });
    } else {
      throw new PorticoGatewayError("BAD_FIELD", `Not a field name: ${JSON.stringify(name)}`, { rule: "T5.2.2" });
    }
    return true;
  }
}

function learn(name: unknown): FieldKind {
  const lower = String(name).toLowerCase();
  let kind: FieldKind = "plain";
  if (typeof name !== "string" || !TOKEN.test(name)) kind = "invalid";
  else if (lower === "content-length" || lower === "content-type") kind = lower;
  else if (HOP_BY_HOP.has(lower)) kind = "hop-by-hop";
  if (kinds.size >= NAME_MEMORY) kinds.clear();
  kinds.set(name as string, kind);
  return kind;
}

function needsTrim(value: string): boolean {
  return value.length > 0 && (value.charCodeAt(0) <= 32 || value.charCodeAt(value.length - 1) <= 32);
}

function addFlat(checker: FieldChecker, list: readonly string[]): void {
  if (list.length % 2 !== 0)
    throw new PorticoGatewayError("BAD_FIELD", "A flat header list has a name without value", { rule: "T5.2.1" });
  for (let at = 0; at < list.length; at += 2) checker.add(list[at] as string, list[at + 1] as string);
}

function addPairs(checker: FieldChecker, pairs: Iterable<readonly [string, string]>): void {
  for (const pair of pairs) {
    if (pair.length !== 2)
      throw new PorticoGatewayError("BAD_FIELD", "A header pair is not a name and a value", { rule: "T5.2.1" });
    checker.add(pair[0], pair[1]);
  }
}

function addObject(checker: FieldChecker, fields: Readonly<Record<string, string | number | readonly string[]>>): void {
  for (const name in fields) {
    const value = fields[name];
    if (typeof value === "string") checker.add(name, value);
    else if (typeof value === "number") checker.add(name, String(value));
    else if (Array.isArray(value)) for (const one of value) checker.add(name, one);
    else if (value !== undefined) checker.add(name, value as unknown as string);
  }
}
