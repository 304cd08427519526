/** A REQUEST as the worker end keeps it (docs/spec/link.md, 6.1): checked at once, cut into strings when somebody asks. */

import type { HeaderList, RequestHead, TlsFacts } from "@portico/gateway/exchange";
import { type FastBuffer, readU16, readU32, readU48 } from "./frame.ts";

/** Fixed part of REQUEST, bytes. */
export const REQUEST_FIXED = 26;
/** Strings of a REQUEST before its fields; five more when it came over TLS. */
export const REQUEST_STRINGS = 8;
export const TLS_STRINGS = 5;

export const BIT_HTTPS = 0x01;
export const BIT_TLS = 0x02;
/** The worker writes the fields that the facts say already: see {@link ReceivedRequest.headers}. */
export const BIT_DERIVED = 0x10;
export const VERSION_SHIFT = 2;
export const VERSIONS = ["1.0", "1.1", "2"] as const;

export const UNKNOWN_LENGTH = 0xffff_ffff_ffff;

// Places of the strings.
const METHOD = 0;
const AUTHORITY = 1;
const TARGET = 2;
const ID = 3;
const CLIENT = 4;
const TRACEPARENT = 5;
const TRACESTATE = 6;
const UPGRADE = 7;

/** Nothing is decoded that nobody asks for: many applications read a method, a target and a field or two. */
export class ReceivedRequest implements RequestHead {
  readonly method: string;
  readonly target: string;
  readonly version: "1.0" | "1.1" | "2";
  readonly bodyLength: number;
  /** Where the inline body begins in the bytes it was read from. */
  readonly bodyStart: number;
  readonly clientPort: number;
  readonly receivedAt: number;
  readonly queuedMs: number;
  /** Milliseconds left when it was sent; 0: no deadline. */
  readonly timeoutMs: number;
  readonly #bits: number;
  /** Number of strings. */
  readonly #count: number;
  /** The lengths, two characters each, and behind them the text of all strings. */
  readonly #block: string;
  #headers: HeaderList | undefined;

  constructor(bytes: FastBuffer, start: number, count: number, end: number, version: "1.0" | "1.1" | "2") {
    const block = bytes.latin1Slice(start + REQUEST_FIXED, end);
    const bodyLength = readU48(bytes, start + 18);
    this.version = version;
    this.bodyLength = bodyLength === UNKNOWN_LENGTH ? -1 : bodyLength;
    this.bodyStart = end;
    this.clientPort = readU16(bytes, start + 24);
    this.receivedAt = readU48(bytes, start + 12);
    this.queuedMs = readU32(bytes, start + 8);
    this.timeoutMs = readU32(bytes, start + 4);
    this.#bits = bytes[start]!;
    this.#count = count;
    this.#block = block;
    this.method = methodOf(block, 2 * count, lengthAt(block, METHOD));
    this.target = this.#string(TARGET);
  }

  get scheme(): "http" | "https" {
    return (this.#bits & BIT_HTTPS) === 0 ? "http" : "https";
  }

  get authority(): string {
    return this.#string(AUTHORITY);
  }

  get id(): string {
    return this.#string(ID);
  }

  get clientAddress(): string {
    return this.#string(CLIENT);
  }

  get traceparent(): string | undefined {
    return this.#optional(TRACEPARENT);
  }

  get tracestate(): string | undefined {
    return this.#optional(TRACESTATE);
  }

  get upgrade(): string | undefined {
    return this.#optional(UPGRADE);
  }

  get tls(): TlsFacts | undefined {
    if ((this.#bits & BIT_TLS) === 0) return undefined;
    const first = REQUEST_STRINGS;
    return {
      protocol: this.#string(first),
      cipher: this.#string(first + 1),
      alpn: this.#optional(first + 2),
      serverName: this.#optional(first + 3),
      clientCertificate: this.#optional(first + 4)?.replaceAll("\t", "\n"),
    };
  }

  /**
   * The fields as over HTTP/1.1: those that were sent, those that the proxy left to us because the facts say them
   * (6.1, bit 0x10), and those that carry an upgrade. The same list each time.
   */
  get headers(): HeaderList {
    return (this.#headers ??= this.#readHeaders());
  }

  #readHeaders(): HeaderList {
    const block = this.#block;
    const count = this.#count;
    const list: HeaderList = [];
    const derived = (this.#bits & BIT_DERIVED) !== 0;
    if (derived) list.push("Host", this.authority);
    const first = (this.#bits & BIT_TLS) === 0 ? REQUEST_STRINGS : REQUEST_STRINGS + TLS_STRINGS;
    let from = this.#offset(first);
    for (let index = first; index < count; index++) {
      const to = from + lengthAt(block, index);
      list.push(block.slice(from, to));
      from = to;
    }
    if (derived) {
      list.push("X-Forwarded-For", this.clientAddress, "X-Forwarded-Proto", this.scheme);
      list.push("X-Forwarded-Host", this.authority, "X-Request-Id", this.id);
    }
    const { upgrade } = this;
    if (upgrade !== undefined) addUpgrade(list, upgrade);
    return list;
  }

  #string(index: number): string {
    const from = this.#offset(index);
    return this.#block.slice(from, from + lengthAt(this.#block, index));
  }

  #optional(index: number): string | undefined {
    return lengthAt(this.#block, index) === 0 ? undefined : this.#string(index);
  }

  /** Where a string begins in the block. */
  #offset(index: number): number {
    let at = 2 * this.#count;
    for (let before = 0; before < index; before++) at += lengthAt(this.#block, before);
    return at;
  }
}

/** Reads a REQUEST. Undefined: malformed. Hot path: one native call, whatever the number of fields. */
export function readRequest(
  bytes: FastBuffer,
  start: number,
  end: number,
  maxStrings: number,
): ReceivedRequest | undefined {
  if (end - start < REQUEST_FIXED) return undefined;
  const bits = bytes[start]!;
  const version = VERSIONS[(bits >> VERSION_SHIFT) & 3];
  const count = readU16(bytes, start + 2);
  const own = (bits & BIT_TLS) === 0 ? REQUEST_STRINGS : REQUEST_STRINGS + TLS_STRINGS;
  if (version === undefined || count < own || ((count - own) & 1) !== 0 || count > maxStrings) return undefined;
  const lengths = start + REQUEST_FIXED;
  let textEnd = lengths + 2 * count;
  if (textEnd > end || readU16(bytes, lengths + 2 * METHOD) === 0 || readU16(bytes, lengths + 2 * TARGET) === 0)
    return undefined;
  for (let at = lengths, to = textEnd; at < to; at += 2) textEnd += readU16(bytes, at);
  return textEnd > end ? undefined : new ReceivedRequest(bytes, start, count, textEnd, version);
}

/** Length of a string of a block. */
function lengthAt(block: string, index: number): number {
  return (block.charCodeAt(2 * index) << 8) | block.charCodeAt(2 * index + 1);
}

/** The usual methods as the very same strings each time. */
function methodOf(block: string, at: number, length: number): string {
  if (length === 3 && block.startsWith("GET", at)) return "GET";
  if (length === 4 && block.startsWith("POST", at)) return "POST";
  return block.slice(at, at + length);
}

/** The fields that carried the upgrade over HTTP/1.1, so that an application reads the same behind a link. */
function addUpgrade(headers: HeaderList, upgrade: string): void {
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index]!.toLowerCase() === "upgrade") return;
  }
  headers.push("Connection", "Upgrade", "Upgrade", upgrade);
}
