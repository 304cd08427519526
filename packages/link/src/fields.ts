/**
 * Strings on the link: a count, a table of lengths, and one run of latin1 text (docs/spec/link.md, section 5).
 *
 * One native call writes the text and one reads it; the pieces are slices of that one string. Lengths come first, so
 * no character has a meaning and none can split a field in two. Figures: docs/adr/0003-link-encoding.md.
 */

import type { HeaderList } from "@portico/gateway/exchange";
import { LinkError } from "./error.ts";
import { type FastBuffer, readU16, writeU16 } from "./frame.ts";

/** Longest single string: its length travels in two bytes. */
const MAX_STRING_BYTES = 0xffff;

/** RFC 9110 §5.6.2: 1 for the characters of a token. */
const TOKEN = new Uint8Array(256);
for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
  TOKEN[character.charCodeAt(0)] = 1;
}

/** A value's characters, RFC 9110 §5.5: no control character but HTAB, nothing beyond latin1. */
const FORBIDDEN = /[^\t\x20-\x7e\x80-\xff]/;

/** Names that belong to one connection (RFC 9110 §7.6.1), by length: few names have one of these lengths. */
const CONNECTION_NAMES: readonly (readonly string[] | undefined)[] = byLength([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

function byLength(names: readonly string[]): (readonly string[] | undefined)[] {
  const table: (string[] | undefined)[] = [];
  for (let length = 0; length < 32; length++) {
    const these = names.filter((name) => name.length === length);
    table.push(these.length === 0 ? undefined : these);
  }
  return table;
}

export function isToken(text: string): boolean {
  if (text.length === 0) return false;
  for (let index = 0; index < text.length; index++) {
    if (TOKEN[text.charCodeAt(index)] !== 1) return false;
  }
  return true;
}

/**
 * Names that {@link checkNames} has found to be tokens without a meaning for it, each at a place that its length and
 * two of its characters choose: comparing a name costs less than looking at its characters. A place that is taken
 * stays so; names are few, and what strangers invent costs them nothing but the places.
 */
const PLAIN_NAMES: string[] = Array.from({ length: 128 }, () => "");
/** Longest name that is remembered, characters. */
const LONGEST_PLAIN_NAME = 32;

function placeOf(name: string): number {
  const { length } = name;
  return ((length << 3) ^ (name.charCodeAt(0) << 1) ^ name.charCodeAt(length >> 1)) & 127;
}

/** The same text as the one string that stands for it everywhere, flat and without a hold on the text it was cut from. */
export function interned(text: string): string {
  return Object.keys({ [text]: 0 })[0]!;
}

/** Methods that need no look at their characters. */
export function isMethod(method: string): boolean {
  return method === "GET" || method === "POST" || method === "HEAD" || isToken(method);
}

/** Content-Length of a list that was checked: bytes, or one of these. */
export const NO_CONTENT_LENGTH = -1;

/**
 * Checks names (tokens, none of the connection's own) and finds Content-Length. Values are checked by
 * {@link writeText}, all in one go. Throws LinkError `field`, `connection-field` or `content-length`. Hot path.
 */
export function checkNames(headers: HeaderList): number {
  if ((headers.length & 1) !== 0) throw new LinkError("field", "a header list has a name without a value");
  let contentLength = NO_CONTENT_LENGTH;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index]!;
    const place = placeOf(name);
    const plain = PLAIN_NAMES[place]!;
    if (plain === name && plain !== "") continue;
    if (!isToken(name)) throw new LinkError("field", `${JSON.stringify(name.slice(0, 40))} is not a field name`);
    const length = name.length;
    if (length === 14 && name.toLowerCase() === "content-length") {
      if (contentLength !== NO_CONTENT_LENGTH) throw new LinkError("content-length", "Content-Length is given twice");
      contentLength = parseContentLength(headers[index + 1]!);
    } else if (length < 32 && CONNECTION_NAMES[length]?.includes(name.toLowerCase()) === true) {
      throw new LinkError("connection-field", `${name} belongs to one connection and is not the application's`);
    } else if (plain === "" && length <= LONGEST_PLAIN_NAME) {
      PLAIN_NAMES[place] = interned(name);
    }
  }
  return contentLength;
}

function parseContentLength(value: string): number {
  // 15 digits: every safe integer, and no exponent, sign or list.
  if (!/^[0-9]{1,15}$/.test(value)) {
    throw new LinkError("content-length", `${JSON.stringify(value.slice(0, 40))} is not a Content-Length`);
  }
  return Number(value);
}

/** A list without Content-Length, for responses that must not have one. */
export function withoutContentLength(headers: HeaderList): HeaderList {
  const rest: HeaderList = [];
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index]!.toLowerCase() !== "content-length") rest.push(headers[index]!, headers[index + 1]!);
  }
  return rest;
}

/** All strings of a list as one text; the lengths are written from the list again. */
export function joinText(strings: readonly string[]): string {
  let text = "";
  for (let index = 0; index < strings.length; index++) text += strings[index]!;
  return text;
}

/**
 * Writes the text of a block at `at`, and checks it: throws LinkError `field` where it has a character that no field
 * may carry. Nothing is sent before the frame is committed, so throwing late is soon enough. Hot path.
 */
export function writeText(bytes: FastBuffer, words: Int32Array, at: number, text: string): void {
  const { length } = text;
  bytes.latin1Write(text, at, length);
  // Pure ASCII, and no byte that needs a closer look: true of all but a few heads, and a third of the pattern's time.
  if (Buffer.byteLength(text) === length && !hasControl(bytes, words, at, at + length)) return;
  if (FORBIDDEN.test(text)) {
    throw new LinkError("field", "a field value contains a control character, or one beyond latin1");
  }
}

/** Whether ASCII bytes include a control character, HTAB counted: four at a time where they are aligned. */
function hasControl(bytes: Uint8Array, words: Int32Array, from: number, to: number): boolean {
  let at = from;
  for (; at < to && (at & 3) !== 0; at++) if (isControl(bytes[at]!)) return true;
  const lastWord = to >> 2;
  let word = at >> 2;
  for (; word < lastWord; word++) {
    const four = words[word]!;
    const deletes = four ^ 0x7f7f7f7f;
    // A borrow into the top bit: a byte below 0x20, or a zero where DEL was. Bytes above 0x7f do not come here.
    if ((((four - 0x20202020) & ~four) | ((deletes - 0x01010101) & ~deletes)) & 0x80808080) return true;
  }
  for (at = Math.max(at, word << 2); at < to; at++) if (isControl(bytes[at]!)) return true;
  return false;
}

function isControl(byte: number): boolean {
  return byte < 0x20 || byte === 0x7f;
}

/** Writes the lengths of the strings from `at`; the offset behind them. Throws LinkError `head-too-large`. */
export function writeLengths(bytes: FastBuffer, at: number, strings: readonly string[]): number {
  for (let index = 0; index < strings.length; index++) {
    const length = strings[index]!.length;
    if (length > MAX_STRING_BYTES)
      throw new LinkError("head-too-large", `a string of ${length} bytes does not fit a head`);
    writeU16(bytes, at, length);
    at += 2;
  }
  return at;
}

/** Where the last {@link readStrings} stopped: the offset behind the text. A register, to return two things without an object. */
export let textEnd = 0;

/**
 * Reads `count` strings whose lengths stand from `at`. Undefined: malformed (they do not fit before `end`).
 * {@link textEnd} is then the offset behind them. Hot path: two native calls whatever the count.
 */
export function readStrings(bytes: FastBuffer, at: number, end: number, count: number): string[] | undefined {
  const textStart = at + 2 * count;
  if (textStart > end) return undefined;
  let total = 0;
  for (let index = at; index < textStart; index += 2) total += readU16(bytes, index);
  textEnd = textStart + total;
  if (textEnd > end) return undefined;
  const text = bytes.latin1Slice(textStart, textEnd);
  const strings: string[] = [];
  let from = 0;
  for (let index = at; index < textStart; index += 2) {
    const to = from + readU16(bytes, index);
    strings.push(text.slice(from, to));
    from = to;
  }
  return strings;
}
