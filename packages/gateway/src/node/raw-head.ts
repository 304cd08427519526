import type { HeaderList } from "../exchange.ts";
import { isConnectionField } from "./fields.ts";

/** A response head in its serialised form, read back. */
export interface RawHead {
  readonly status: number;
  /** Connection-level fields left out. */
  readonly headers: HeaderList;
  /** Content-Length, `-1` for chunked, `undefined` where neither is given. */
  readonly length: number | undefined;
}

const STATUS_LINE = /^HTTP\/1\.[01] ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const FIELD_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0-\x08\x0a-\x1f\x7f]*?)[ \t]*$/;
const DIGITS = /^\d{1,15}$/;

/**
 * Reads one response head, without its empty line, strictly (RFC 9112 §4, §5; no folded lines, no bare CR or LF).
 * Undefined where it is malformed.
 */
export function readHead(text: string): RawHead | undefined {
  const lines = text.split("\r\n");
  const status = STATUS_LINE.exec(lines[0] ?? "")?.[1];
  if (status === undefined) {
    return undefined;
  }
  const headers: HeaderList = [];
  let length: number | undefined;
  for (const line of lines.slice(1)) {
    const field = FIELD_LINE.exec(line);
    const name = field?.[1];
    const value = field?.[2];
    if (name === undefined || value === undefined) {
      return undefined;
    }
    const lowerName = name.toLowerCase();
    if (lowerName === "content-length") {
      if (!DIGITS.test(value) || length !== undefined) {
        return undefined;
      }
      length = Number(value);
    } else if (lowerName === "transfer-encoding") {
      if (value.toLowerCase() !== "chunked" || length !== undefined) {
        return undefined;
      }
      length = -1;
    }
    if (!isConnectionField(lowerName)) {
      headers.push(name, value);
    }
  }
  return { status: Number(status), headers, length };
}

/** The interim heads in what `writeContinue`, `writeEarlyHints` and their like serialise; undefined if it is anything else. */
export function informationalHeads(text: string): readonly RawHead[] | undefined {
  if (!text.endsWith("\r\n\r\n")) {
    return undefined;
  }
  const heads: RawHead[] = [];
  for (const block of text.slice(0, -4).split("\r\n\r\n")) {
    const head = readHead(block);
    if (head === undefined || head.status > 199 || head.status === 101) {
      return undefined;
    }
    heads.push(head);
  }
  return heads;
}
