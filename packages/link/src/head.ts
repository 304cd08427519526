/** REQUEST, RESPONSE, INFO and END payloads (docs/spec/link.md, sections 5 and 6). */

import type { ExchangeFacts, HeaderList, RequestHead, TlsFacts } from "@portico/gateway/exchange";
import { LinkError } from "./error.ts";
import { joinText, readStrings, textEnd, writeLengths, writeText } from "./fields.ts";
import { FLAG, FRAME, type FastBuffer, readU16, readU32, readU48, writeU16, writeU32, writeU48 } from "./frame.ts";
import type { Outbox } from "./outbox.ts";

/** What a proxy says of a request: its head, and the facts a worker cannot know. */
export type LinkRequest = RequestHead &
  Pick<ExchangeFacts, "id" | "traceparent" | "tracestate" | "client" | "tls" | "receivedAt" | "queuedMs" | "deadline">;

/** Fixed part of REQUEST, bytes. */
const REQUEST_FIXED = 26;
const RESPONSE_FIXED = 4;
const FIELDS_FIXED = 2;

/** Strings of a REQUEST before its fields; five more when it came over TLS. */
const REQUEST_STRINGS = 8;
const TLS_STRINGS = 5;

const BIT_HTTPS = 0x01;
const BIT_TLS = 0x02;
const VERSION_SHIFT = 2;
const VERSIONS = ["1.0", "1.1", "2"] as const;

const UNKNOWN_LENGTH = 0xffff_ffff_ffff;
const MAX_U32 = 0xffff_ffff;

/** What a REQUEST says, as the worker end keeps it. One shape. */
export interface DecodedRequest {
  readonly method: string;
  readonly scheme: "http" | "https";
  readonly authority: string;
  readonly target: string;
  readonly version: "1.0" | "1.1" | "2";
  readonly headers: HeaderList;
  readonly bodyLength: number;
  readonly upgrade: string | undefined;
  readonly id: string;
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
  readonly clientAddress: string;
  readonly clientPort: number;
  readonly tls: TlsFacts | undefined;
  readonly receivedAt: number;
  readonly queuedMs: number;
  /** Milliseconds left when it was sent; 0: no deadline. */
  readonly timeoutMs: number;
  /** Offset of the inline body. */
  readonly bodyStart: number;
}

function clamp(value: number): number {
  return value <= 0 ? 0 : value >= MAX_U32 ? MAX_U32 : Math.round(value);
}

/**
 * Writes a REQUEST with `body` inline (null: none). Throws LinkError `field` or `head-too-large` and sends nothing.
 * `timeoutMs` 0: no deadline. Hot path: one text, one native write.
 */
export function writeRequest(
  out: Outbox,
  stream: number,
  request: LinkRequest,
  timeoutMs: number,
  upgrade: string,
  body: Uint8Array | null,
  flags: number,
  limit: number,
): void {
  const { headers, tls, client } = request;
  const strings = [
    request.method,
    request.authority,
    request.target,
    request.id,
    client.address,
    request.traceparent ?? "",
    request.tracestate ?? "",
    upgrade,
  ];
  if (tls !== undefined) pushTls(strings, tls);
  const text = joinText(strings) + joinText(headers);
  const count = strings.length + headers.length;
  const bodyBytes = body === null ? 0 : body.length;
  const size = REQUEST_FIXED + 2 * count + text.length + bodyBytes;
  if (size > limit || count > 0xffff) throw tooLarge(size, limit);
  const start = out.reserve(size);
  const bytes = out.bytes;
  bytes[start] =
    (request.scheme === "https" ? BIT_HTTPS : 0) |
    (tls === undefined ? 0 : BIT_TLS) |
    (VERSIONS.indexOf(request.version) << VERSION_SHIFT);
  bytes[start + 1] = 0;
  writeU16(bytes, start + 2, count);
  writeU32(bytes, start + 4, clamp(timeoutMs));
  writeU32(bytes, start + 8, clamp(request.queuedMs));
  writeU48(bytes, start + 12, request.receivedAt > 0 ? Math.floor(request.receivedAt) : 0);
  writeU48(bytes, start + 18, request.bodyLength < 0 ? UNKNOWN_LENGTH : request.bodyLength);
  writeU16(bytes, start + 24, client.port);
  let at = writeLengths(bytes, start + REQUEST_FIXED, strings);
  at = writeLengths(bytes, at, headers);
  writeText(bytes, out.words, at, text);
  if (body !== null) bytes.set(body, at + text.length);
  out.commit(FRAME.REQUEST, flags, stream, size);
}

/** The part of a REQUEST's room that a head takes, so that the rest can carry the body. */
export function requestHeadBytes(request: LinkRequest, upgrade: string): number {
  let size = REQUEST_FIXED + 2 * (REQUEST_STRINGS + request.headers.length);
  size += request.method.length + request.authority.length + request.target.length + request.id.length;
  size += request.client.address.length + upgrade.length;
  size += (request.traceparent?.length ?? 0) + (request.tracestate?.length ?? 0);
  for (let index = 0; index < request.headers.length; index++) size += request.headers[index]!.length;
  const { tls } = request;
  if (tls !== undefined) {
    size += 2 * TLS_STRINGS + tls.protocol.length + tls.cipher.length + (tls.alpn?.length ?? 0);
    size += (tls.serverName?.length ?? 0) + (tls.clientCertificate?.length ?? 0);
  }
  return size;
}

function pushTls(strings: string[], tls: TlsFacts): void {
  // No string of a head has a line end: those of PEM travel as HTAB.
  const certificate = tls.clientCertificate?.replaceAll("\r", "").replaceAll("\n", "\t") ?? "";
  strings.push(tls.protocol, tls.cipher, tls.alpn ?? "", tls.serverName ?? "", certificate);
}

/** Reads a REQUEST. Undefined: malformed. Hot path. */
export function readRequest(
  bytes: FastBuffer,
  start: number,
  end: number,
  maxStrings: number,
): DecodedRequest | undefined {
  if (end - start < REQUEST_FIXED) return undefined;
  const bits = bytes[start]!;
  const version = VERSIONS[(bits >> VERSION_SHIFT) & 3];
  const count = readU16(bytes, start + 2);
  const own = (bits & BIT_TLS) === 0 ? REQUEST_STRINGS : REQUEST_STRINGS + TLS_STRINGS;
  if (version === undefined || count < own || ((count - own) & 1) !== 0 || count > maxStrings) return undefined;
  const strings = readStrings(bytes, start + REQUEST_FIXED, end, count);
  if (strings === undefined) return undefined;
  const bodyLength = readU48(bytes, start + 18);
  const method = strings[0]!;
  const target = strings[2]!;
  if (method === "" || target === "") return undefined;
  return {
    method,
    scheme: (bits & BIT_HTTPS) === 0 ? "http" : "https",
    authority: strings[1]!,
    target,
    version,
    headers: strings.slice(own),
    bodyLength: bodyLength === UNKNOWN_LENGTH ? -1 : bodyLength,
    upgrade: strings[7] === "" ? undefined : strings[7],
    id: strings[3]!,
    traceparent: strings[5] === "" ? undefined : strings[5],
    tracestate: strings[6] === "" ? undefined : strings[6],
    clientAddress: strings[4]!,
    clientPort: readU16(bytes, start + 24),
    tls: (bits & BIT_TLS) === 0 ? undefined : readTls(strings),
    receivedAt: readU48(bytes, start + 12),
    queuedMs: readU32(bytes, start + 8),
    timeoutMs: readU32(bytes, start + 4),
    bodyStart: textEnd,
  };
}

function readTls(strings: readonly string[]): TlsFacts {
  return {
    protocol: strings[8]!,
    cipher: strings[9]!,
    alpn: strings[10] === "" ? undefined : strings[10],
    serverName: strings[11] === "" ? undefined : strings[11],
    clientCertificate: strings[12] === "" ? undefined : strings[12]!.replaceAll("\t", "\n"),
  };
}

/** Bytes a response head of these strings takes, without a body. */
function responseHeadBytes(count: number, textBytes: number): number {
  return RESPONSE_FIXED + 2 * count + textBytes;
}

const LENGTH_NAME = "Content-Length";

/**
 * Writes a RESPONSE or INFO head with `bodyBytes` of room behind it; the offset of that room, or -1 where head and
 * body do not fit one frame together (nothing is written then). The caller fills the room and commits
 * {@link pendingSize}. `contentLength` ≥ 0 is added as a field. Throws LinkError `field` or `head-too-large`.
 */
export function beginResponse(
  out: Outbox,
  status: number,
  headers: HeaderList,
  contentLength: number,
  bodyBytes: number,
  limit: number,
): number {
  let text = joinText(headers);
  const lengthValue = contentLength < 0 ? "" : String(contentLength);
  const count = contentLength < 0 ? headers.length : headers.length + 2;
  if (contentLength >= 0) text += LENGTH_NAME + lengthValue;
  const head = responseHeadBytes(count, text.length);
  if (head > limit || count > 0xffff) throw tooLarge(head, limit);
  const size = head + bodyBytes;
  if (size > limit) return -1;
  const start = out.reserve(size);
  const bytes = out.bytes;
  writeU16(bytes, start, status);
  writeU16(bytes, start + 2, count);
  let at = writeLengths(bytes, start + RESPONSE_FIXED, headers);
  if (contentLength >= 0) {
    writeU16(bytes, at, LENGTH_NAME.length);
    writeU16(bytes, at + 2, lengthValue.length);
    at += 4;
  }
  writeText(bytes, out.words, at, text);
  pendingSize = size;
  return at + text.length;
}

/** Payload size of the head that {@link beginResponse} began. A register, as `textEnd` is. */
export let pendingSize = 0;

/** Status and fields of a RESPONSE or INFO. */
export interface DecodedResponse {
  readonly status: number;
  readonly headers: HeaderList;
  /** Bytes of the head; the body follows. */
  readonly length: number;
}

/** Reads a RESPONSE or INFO. Undefined: malformed. Hot path. */
export function readResponse(
  bytes: FastBuffer,
  start: number,
  end: number,
  maxStrings: number,
): DecodedResponse | undefined {
  if (end - start < RESPONSE_FIXED) return undefined;
  const status = readU16(bytes, start);
  const count = readU16(bytes, start + 2);
  if (status < 100 || status > 999 || (count & 1) !== 0 || count > maxStrings) return undefined;
  const headers = readStrings(bytes, start + RESPONSE_FIXED, end, count);
  return headers === undefined || textEnd > end ? undefined : { status, headers, length: textEnd - start };
}

/** Writes a frame that is a field list alone: HELLO, AUTH and END. The payload it returns is valid until the next frame. */
export function writeFields(
  out: Outbox,
  type: number,
  flags: number,
  stream: number,
  fields: HeaderList,
  limit: number,
): Uint8Array {
  const text = joinText(fields);
  const size = FIELDS_FIXED + 2 * fields.length + text.length;
  if (size > limit || fields.length > 0xffff) throw tooLarge(size, limit);
  const start = out.reserve(size);
  writeU16(out.bytes, start, fields.length);
  const at = writeLengths(out.bytes, start + FIELDS_FIXED, fields);
  writeText(out.bytes, out.words, at, text);
  out.commit(type, flags, stream, size);
  out.seal();
  return out.bytes.subarray(start, start + size);
}

/** Reads a field list; undefined: malformed. An empty payload is an empty list. */
export function readFields(bytes: FastBuffer, start: number, end: number, maxStrings: number): HeaderList | undefined {
  if (start === end) return [];
  if (end - start < FIELDS_FIXED) return undefined;
  const count = readU16(bytes, start);
  if ((count & 1) !== 0 || count > maxStrings) return undefined;
  const fields = readStrings(bytes, start + FIELDS_FIXED, end, count);
  return fields === undefined || textEnd !== end ? undefined : fields;
}

function tooLarge(size: number, limit: number): LinkError {
  return new LinkError("head-too-large", `a head of ${size} bytes does not fit a frame of ${limit}`);
}

/** Flags of a head frame: whether its sender's half ends with it. */
export function endFlag(complete: boolean): number {
  return complete ? FLAG.END : 0;
}
