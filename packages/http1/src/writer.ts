import { isAuthority, isAuthorityWithPort } from "./authority.ts";
import { CLASS, TARGET, isFieldValue, isToken } from "./characters.ts";
import { Http1Error } from "./error.ts";
import { CONNECTION_FIELDS, isForbiddenTrailer } from "./fields.ts";
import { contentLength } from "./framing.ts";
import { statusLine } from "./status.ts";

/**
 * Heads, chunks and trailers as latin1 text.
 *
 * Nothing here can emit a split or contradictory message: names and values are checked, connection-level fields are
 * refused, and framing is written from the `framing` argument alone. Whatever breaks a rule throws {@link Http1Error} with code
 * `HTTP1_MISUSE`, and nothing was written.
 */

/** No framing fields: there is no body, or it ends with the connection. */
export const NO_FRAMING = -1;
/** `Transfer-Encoding: chunked`. */
export const CHUNKED_FRAMING = -2;

const ORDINARY = 0;
const LENGTH_FIELD = 1;
const DATE_FIELD = 2;
const CONNECTION_FIELD = 3;
const HOST_FIELD = 4;

/** What is known of a field: names repeat, and often with the value they had, so both are checked once. */
interface KnownField {
  readonly kind: number;
  /** The last value that was found well-formed, and its line. */
  value: string;
  line: string;
}

/** Bounded, because a proxy's upstream chooses names and values too. */
const known = new Map<string, KnownField>();
const MOST_KNOWN_NAMES = 256;
const LONGEST_KNOWN_NAME = 64;
const LONGEST_KNOWN_VALUE = 256;

function knownField(name: string): KnownField {
  const found = known.get(name);
  if (found !== undefined) return found;
  const field = { kind: kindOf(name), value: "", line: `${name}: \r\n` };
  if (known.size < MOST_KNOWN_NAMES && name.length <= LONGEST_KNOWN_NAME) known.set(name, field);
  return field;
}

function kindOf(name: string): number {
  if (typeof name !== "string" || !isToken(name)) throw new Http1Error("misuse-field-name");
  const lower = name.toLowerCase();
  let kind = ORDINARY;
  if (lower === "content-length") kind = LENGTH_FIELD;
  else if (lower === "date") kind = DATE_FIELD;
  else if (lower === "host") kind = HOST_FIELD;
  else if (CONNECTION_FIELDS.has(lower)) kind = CONNECTION_FIELD;
  return kind;
}

/** A checked header list: its lines, and what the framing must know of it. */
export class FieldBlock {
  /** Lines with their CRLFs, without Content-Length. */
  lines = "";
  /** Value of Content-Length, -1 where there is none. */
  length = -1;
  hasDate = false;
  host: string | undefined = undefined;

  // Hot path: once for each message. Must not allocate beyond the text itself.
  read(headers: readonly string[]): void {
    this.lines = "";
    this.length = -1;
    this.hasDate = false;
    this.host = undefined;
    const count = headers.length;
    if ((count & 1) !== 0) throw new Http1Error("misuse-field-list");
    let lines = "";
    for (let at = 0; at < count; at += 2) {
      const name = headers[at] as string;
      const value = headers[at + 1] as string;
      const field = knownField(name);
      if (value !== field.value) {
        if (typeof value !== "string" || !isFieldValue(value)) throw new Http1Error("misuse-field-value");
        if (value.length > LONGEST_KNOWN_VALUE) {
          if (field.kind === ORDINARY || !this.special(field.kind, value)) lines += `${name}: ${value}\r\n`;
          continue;
        }
        field.value = value;
        field.line = `${name}: ${value}\r\n`;
      }
      if (field.kind !== ORDINARY && this.special(field.kind, value)) continue;
      lines += field.line;
    }
    this.lines = lines;
  }

  /** Whether the field is kept out of the lines. */
  private special(kind: number, value: string): boolean {
    switch (kind) {
      case CONNECTION_FIELD:
        throw new Http1Error("misuse-connection-field");
      case LENGTH_FIELD: {
        const length = contentLength(value);
        if (this.length >= 0 || typeof length === "string") throw new Http1Error("misuse-content-length");
        this.length = length;
        return true;
      }
      case DATE_FIELD:
        this.hasDate = true;
        return false;
      default:
        if (this.host !== undefined) throw new Http1Error("misuse-host");
        this.host = value;
        return false;
    }
  }
}

const block = new FieldBlock();
/** The last Host that was found well-formed: nearly always the next one too. */
let knownHost: string | undefined;

/** Checks a list. The answer is valid until the next call of anything in this module: use it at once. */
export function readFields(headers: readonly string[]): FieldBlock {
  block.read(headers);
  return block;
}

/** Statuses that never have a body (RFC 9110 §6.4.1); 205 may not have one either. */
export function isBodiless(status: number): boolean {
  return status < 200 || status === 204 || status === 205 || status === 304;
}

/**
 * Head of a final response. `framing` is a length in bytes, or NO_FRAMING or CHUNKED_FRAMING.
 * A Content-Length in the list must equal a framing that is a length, and excludes chunked.
 */
export function responseHead(
  status: number,
  fields: FieldBlock,
  framing: number,
  dateLine: string,
  connectionLine: string,
): string {
  if (!Number.isInteger(status) || status < 200 || status > 599) throw new Http1Error("misuse-status");
  let head = statusLine(status) + fields.lines;
  if (!fields.hasDate) head += dateLine;
  head += connectionLine;
  if (framing === NO_FRAMING) return `${head}\r\n`;
  if (fields.length >= 0 && fields.length !== framing) throw new Http1Error("misuse-content-length");
  return framing === CHUNKED_FRAMING
    ? `${head}Transfer-Encoding: chunked\r\n\r\n`
    : `${head}Content-Length: ${framing}\r\n\r\n`;
}

/** Head of an interim response, 100 to 199 but 101. */
export function interimHead(status: number, headers: readonly string[]): string {
  if (!Number.isInteger(status) || status < 100 || status > 199 || status === 101)
    throw new Http1Error("misuse-status");
  block.read(headers);
  if (block.length >= 0) throw new Http1Error("misuse-content-length");
  return `${statusLine(status)}${block.lines}\r\n`;
}

/** Head of the answer that turns the connection into a tunnel: 101 with the protocol, or 2xx to CONNECT. */
export function switchHead(
  status: number,
  headers: readonly string[],
  protocol: string | undefined,
  dateLine: string,
): string {
  const fits = protocol === undefined ? status >= 200 && status < 300 : status === 101;
  if (!Number.isInteger(status) || !fits) throw new Http1Error("misuse-status");
  block.read(headers);
  if (block.length >= 0) throw new Http1Error("misuse-content-length");
  const date = block.hasDate ? "" : dateLine;
  const connection = protocol === undefined ? "" : `Connection: Upgrade\r\nUpgrade: ${protocol}\r\n`;
  return `${statusLine(status)}${block.lines}${date}${connection}\r\n`;
}

/** A request to be sent. */
export interface OutgoingRequest {
  readonly method: string;
  /** Origin-form, absolute-form, `*` (OPTIONS), or authority-form (CONNECT). */
  readonly target: string;
  /** Exactly one Host; no connection-level field. */
  readonly headers: readonly string[];
  /** Bytes of the body, -1 chunked. 0: no body; then Content-Length is sent only where the list has it. */
  readonly bodyLength: number;
  /** Protocol to upgrade to. */
  readonly upgrade?: string;
  /** Asks the server to close after its response. */
  readonly close?: boolean;
}

/** Head of a request, HTTP/1.1. */
export function requestHead(request: OutgoingRequest): string {
  const { method, target, bodyLength } = request;
  if (!isToken(method) || !isTarget(method, target)) throw new Http1Error("misuse-request-line");
  block.read(request.headers);
  const { host } = block;
  if (host === undefined || (host !== knownHost && !isAuthority(host))) throw new Http1Error("misuse-host");
  knownHost = host;
  const length = block.length;
  let head = `${method} ${target} HTTP/1.1\r\n${block.lines}${requestConnection(request)}`;
  if (bodyLength === -1) {
    if (length >= 0) throw new Http1Error("misuse-content-length");
    if (method === "CONNECT" || method === "TRACE") throw new Http1Error("misuse-request-line");
    return `${head}Transfer-Encoding: chunked\r\n\r\n`;
  }
  if (!Number.isSafeInteger(bodyLength) || bodyLength < 0) throw new Http1Error("misuse-content-length");
  if (length >= 0 && length !== bodyLength) throw new Http1Error("misuse-content-length");
  if (bodyLength > 0 && (method === "CONNECT" || method === "TRACE")) throw new Http1Error("misuse-request-line");
  if (bodyLength > 0 || length === 0) head += `Content-Length: ${bodyLength}\r\n`;
  return `${head}\r\n`;
}

function requestConnection(request: OutgoingRequest): string {
  if (request.upgrade === undefined) return request.close === true ? "Connection: close\r\n" : "";
  if (
    !/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:\/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?$/.test(request.upgrade) ||
    request.bodyLength !== 0 ||
    request.close === true
  ) {
    throw new Http1Error("misuse-request-line");
  }
  return `Connection: Upgrade\r\nUpgrade: ${request.upgrade}\r\n`;
}

function isTarget(method: string, target: string): boolean {
  if (method === "CONNECT") return isAuthorityWithPort(target);
  for (let at = 0; at < target.length; at++) {
    const code = target.charCodeAt(at);
    if (code > 126 || ((CLASS[code] as number) & TARGET) === 0) return false;
  }
  if (target.charCodeAt(0) === 47) {
    // A backslash may stand in the query only.
    const at = target.indexOf("\\");
    return at < 0 || target.lastIndexOf("?", at) >= 0;
  }
  if (target === "*") return method === "OPTIONS";
  const absolute = /^https?:\/\/([^/?]+)([^?]*)/i.exec(target);
  return absolute !== null && isAuthority(absolute[1] as string) && !(absolute[2] as string).includes("\\");
}

/** Size line of a chunk. The data and a CRLF follow. `bytes` is above 0: a chunk of 0 bytes would end the body. */
export function chunkSize(bytes: number): string {
  if (!Number.isSafeInteger(bytes) || bytes <= 0) throw new Http1Error("misuse-body-too-long");
  return `${bytes.toString(16)}\r\n`;
}

/** The end of a chunked body, with trailers. */
export function lastChunk(trailers: readonly string[]): string {
  if (trailers.length === 0) return "0\r\n\r\n";
  for (let at = 0; at < trailers.length; at += 2) {
    if (isForbiddenTrailer((trailers[at] as string).toLowerCase())) throw new Http1Error("misuse-trailer-field");
  }
  block.read(trailers);
  return `0\r\n${block.lines}\r\n`;
}
