/** REQUEST, RESPONSE, INFO and END payloads (docs/spec/link.md, sections 5 and 6). */

import type { ExchangeFacts, HeaderList, RequestHead, TlsFacts } from "@portico/gateway/exchange";
import { LinkError } from "./error.ts";
import { joinText, readStrings, textEnd, writeLengths, writeText } from "./fields.ts";
import { FLAG, FRAME, type FastBuffer, readU16, writeU16, writeU32, writeU48 } from "./frame.ts";
import type { Outbox } from "./outbox.ts";
import {
  BIT_DERIVED,
  BIT_HTTPS,
  BIT_TLS,
  REQUEST_FIXED,
  REQUEST_STRINGS,
  TLS_STRINGS,
  UNKNOWN_LENGTH,
  VERSIONS,
  VERSION_SHIFT,
} from "./received-request.ts";

/** What a proxy says of a request: its head, and the facts a worker cannot know. */
export interface LinkRequest
  extends
    RequestHead,
    Pick<
      ExchangeFacts,
      "id" | "traceparent" | "tracestate" | "client" | "tls" | "receivedAt" | "queuedMs" | "deadline"
    > {
  /**
   * Host, X-Forwarded-For, -Proto, -Host and X-Request-Id are not among `headers`: they say what authority, client,
   * scheme and id say, and the worker writes them where they are asked for (spec 6.1). False where absent.
   */
  readonly derived?: boolean;
}

const RESPONSE_FIXED = 4;
const FIELDS_FIXED = 2;

const MAX_U32 = 0xffff_ffff;

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
    (request.derived === true ? BIT_DERIVED : 0) |
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
