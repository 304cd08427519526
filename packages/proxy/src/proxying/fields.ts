/**
 * Which header fields go on, which are ours, which stop here (RFC 9110 §7.6).
 *
 * HOT: a switch on the length of the name and its first letter decides for nearly every field without comparing
 * strings; a response whose fields all go on keeps its list as it is.
 */
import type { Exchange, HeaderList } from "@portico/gateway/exchange";
import { ForwardError } from "./error.ts";

/** What becomes of a field of a request. */
const KEEP = 0;
/** Belongs to the connection, or is written anew. */
const DROP = 1;
const CONNECTION = 2;
const VIA = 3;
/** X-Forwarded-* and what looks like it: believed from trusted peers only. */
const FORWARDED_FOR = 4;
const FORWARDED = 5;
const TE = 6;
const ACCEL_BUFFERING = 7;
const CONTENT_TYPE = 8;
const CONTENT_LENGTH = 9;
const HOST = 10;
const MAX_FORWARDS = 11;
const ACCEL_REDIRECT = 12;
/** May stand once only (RFC 9110 §5.3): readers take the first, the last, or join them. Flags, so that two are told apart. */
const CONTENT_TYPE_ONCE = 16;
const AUTHORIZATION_ONCE = 32;

type Kind = number;

/** Compares with a lower-case name of the same length. */
function is(name: string, lower: string): boolean {
  return name === lower || name.toLowerCase() === lower;
}

/** Lower-cases the first letter; other characters change too, which no comparison here minds. */
function firstOf(name: string): number {
  return name.charCodeAt(0) | 0x20;
}

const A = 0x61;
const C = 0x63;
const E = 0x65;
const F = 0x66;
const H = 0x68;
const K = 0x6b;
const M = 0x6d;
const P = 0x70;
const T = 0x74;
const U = 0x75;
const V = 0x76;
const X = 0x78;

/** `x-forwarded-…`, also spelt with underscores, which CGI-like servers read as the same field. */
const LOOKS_FORWARDED = /^x[-_](forwarded[-_]|real[-_]ip$|request[-_]id$)/i;

function requestKind(name: string): Kind {
  const first = firstOf(name);
  if (first === X) {
    if (!LOOKS_FORWARDED.test(name)) return KEEP;
    if (name.length === 12) return DROP;
    return is(name, "x-forwarded-for") ? FORWARDED_FOR : FORWARDED;
  }
  switch (name.length) {
    case 2:
      return first === T && is(name, "te") ? TE : KEEP;
    case 3:
      return first === V && is(name, "via") ? VIA : KEEP;
    case 4:
      return first === H && (name === "Host" || is(name, "host")) ? HOST : KEEP;
    case 5:
      // CGI-like servers make HTTP_PROXY of it, which their libraries take for the address of a proxy ("httpoxy").
      return first === P && is(name, "proxy") ? DROP : KEEP;
    case 6:
      return first === E && is(name, "expect") ? DROP : KEEP;
    case 7:
      return (first === U && is(name, "upgrade")) || (first === T && is(name, "trailer")) ? DROP : KEEP;
    case 9:
      return first === F && is(name, "forwarded") ? FORWARDED : KEEP;
    case 10:
      if (first === C && is(name, "connection")) return CONNECTION;
      return first === K && is(name, "keep-alive") ? DROP : KEEP;
    case 12:
      if (first === M) return is(name, "max-forwards") ? MAX_FORWARDS : KEEP;
      return first === C && (name === "Content-Type" || is(name, "content-type")) ? CONTENT_TYPE_ONCE : KEEP;
    case 13:
      return first === A && is(name, "authorization") ? AUTHORIZATION_ONCE : KEEP;
    case 14:
      if (first === C && is(name, "content-length")) return CONTENT_LENGTH;
      return first === H && is(name, "http2-settings") ? DROP : KEEP;
    case 16:
      return first === P && is(name, "proxy-connection") ? DROP : KEEP;
    case 17:
      return first === T && is(name, "transfer-encoding") ? DROP : KEEP;
    case 18:
      return first === P && is(name, "proxy-authenticate") ? DROP : KEEP;
    case 19:
      return first === P && is(name, "proxy-authorization") ? DROP : KEEP;
    default:
      return KEEP;
  }
}

/** `x-accel-redirect`, `-buffering`, `-expires`, `-charset`, `-limit-rate`: between a server and its proxy only. */
const ACCEL = "x-accel-";

function responseKind(name: string): Kind {
  const first = firstOf(name);
  if (first === X) {
    if (name.length <= ACCEL.length || !is(name.slice(0, ACCEL.length), ACCEL)) return KEEP;
    if (is(name, "x-accel-buffering")) return ACCEL_BUFFERING;
    return is(name, "x-accel-redirect") ? ACCEL_REDIRECT : DROP;
  }
  switch (name.length) {
    case 7:
      return (first === U && is(name, "upgrade")) || (first === T && is(name, "trailer")) ? DROP : KEEP;
    case 10:
      if (first === C && is(name, "connection")) return CONNECTION;
      return first === K && is(name, "keep-alive") ? DROP : KEEP;
    case 12:
      return first === C && (name === "Content-Type" || is(name, "content-type")) ? CONTENT_TYPE : KEEP;
    case 14:
      return first === C && (name === "Content-Length" || is(name, "content-length")) ? CONTENT_LENGTH : KEEP;
    case 16:
      return first === P && is(name, "proxy-connection") ? DROP : KEEP;
    case 17:
      return first === T && is(name, "transfer-encoding") ? DROP : KEEP;
    default:
      return KEEP;
  }
}

/** How the Host field goes on: as the client sent it, or a value of ours. */
export type HostPolicy = "pass" | { readonly value: string };

/** Ports as text: few different ones, and converting costs more than looking up. */
const portText = new Map<number, string>();

function textOfPort(port: number): string {
  let text = portText.get(port);
  if (text === undefined) {
    text = String(port);
    if (portText.size < 1024) portText.set(port, text);
  }
  return text;
}

/** A unix socket has a path, or nothing, instead of an address: say so in nginx's word. */
function clientText(address: string): string {
  return address === "" || address.charCodeAt(0) === 0x2f ? "unix:" : address;
}

/**
 * Whether Host, X-Forwarded-For, -Proto, -Host and X-Request-Id would say just what the facts of the request say, so that
 * over the link they need not be sent: the peer is the client, it gave a Host, and that goes on as it is.
 */
export function isDerivable(exchange: Exchange, host: HostPolicy): boolean {
  const { client } = exchange.facts;
  return (
    host === "pass" &&
    client.vouchedBy !== "forwarded" &&
    exchange.head.authority !== "" &&
    clientText(client.address) === client.address
  );
}

/**
 * The fields of a request as they go to a server. Content-Length says `bodyLength`, which we may have counted; -1 (not
 * known before it ends): none.
 *
 * Via is extended; X-Forwarded-For, -Proto, -Host, -Port and X-Request-Id say what we know. Where the peer is a
 * trusted front, its own X-Forwarded-* stand and X-Forwarded-For is extended; from anyone else they are dropped.
 * `viaName` is what this thread calls itself in Via, a pseudonym (RFC 9110 §7.6.3).
 * Throws {@link ForwardError} `repeated-field` where Content-Type or Authorization stands twice.
 * `trailers` says that the transport passes trailers on, so that `TE: trailers` may stand (RFC 9110 §10.1.4).
 * `derived` leaves out what the server writes itself, see {@link isDerivable}.
 */
export function requestFields(
  exchange: Exchange,
  bodyLength: number,
  host: HostPolicy,
  fallbackHost: string,
  trailers: boolean,
  viaName: string,
  derived = false,
): HeaderList {
  const { head, facts } = exchange;
  const { headers } = head;
  const { client } = facts;
  const trusted = client.vouchedBy === "forwarded";
  let named: string | undefined;
  let via: string | undefined;
  let forwardedFor: string | undefined;
  let hasHost = false;
  let hasPort = false;
  let hasLength = bodyLength > 0;
  let once = 0;
  const list: HeaderList = [];
  if (!derived) {
    list.push("Host", host === "pass" ? (head.authority === "" ? fallbackHost : head.authority) : host.value);
  }
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!;
    const kind = requestKind(name);
    if (kind === KEEP) {
      list.push(name, headers[i + 1]!);
      continue;
    }
    const value = headers[i + 1]!;
    if (kind === CONNECTION) named = named === undefined ? value : `${named},${value}`;
    else if (kind === CONTENT_LENGTH) hasLength = true;
    else if (kind === VIA) via = via === undefined ? value : `${via}, ${value}`;
    else if (kind === MAX_FORWARDS) list.push(name, limitsForwards(head.method) ? oneLess(value) : value);
    else if (kind >= CONTENT_TYPE_ONCE) {
      if ((once & kind) !== 0) throw new ForwardError("repeated-field", "receive", `${name} stands more than once`);
      once |= kind;
      list.push(name, value);
    } else if (kind === TE) {
      if (trailers && /(^|,)[ \t]*trailers[ \t]*(,|$)/i.test(value)) list.push("TE", "trailers");
    } else if (trusted && kind === FORWARDED_FOR) {
      forwardedFor = forwardedFor === undefined ? value : `${forwardedFor}, ${value}`;
    } else if (trusted && kind === FORWARDED) {
      if (is(name, "x-forwarded-proto")) continue;
      hasHost ||= is(name, "x-forwarded-host");
      hasPort ||= is(name, "x-forwarded-port");
      list.push(name, value);
    }
  }
  if (named !== undefined && namesFields(named)) dropNamed(list, named);
  if (hasLength && bodyLength >= 0) list.push("Content-Length", bodyLength === 0 ? "0" : String(bodyLength));
  if (via !== undefined && via.length > LONGEST_VIA && hopsOf(via) >= MOST_HOPS)
    throw new ForwardError("loop", "request", `the request has passed ${hopsOf(via)} intermediaries`);
  const ownVia = head.version === "1.1" ? `1.1 ${viaName}` : `${head.version === "2" ? "2.0" : "1.0"} ${viaName}`;
  list.push("Via", via === undefined ? ownVia : `${via}, ${ownVia}`);
  if (!hasPort && facts.local.port !== 0) list.push("X-Forwarded-Port", textOfPort(facts.local.port));
  if (derived) return list;
  list.push(
    "X-Forwarded-For",
    forwardedFor === undefined ? clientText(client.address) : `${forwardedFor}, ${clientText(facts.peer.address)}`,
    "X-Forwarded-Proto",
    head.scheme,
  );
  if (!hasHost && head.authority !== "") list.push("X-Forwarded-Host", head.authority);
  list.push("X-Request-Id", facts.id);
  return list;
}

/**
 * More intermediaries than any real request meets: it goes round in a circle. Each hop adds to Via, so the end always
 * comes (RFC 9110 §7.6: no message to itself without protection from endless loops).
 */
const MOST_HOPS = 32;
/** So many hops take more characters than this; below it they need not be counted. */
const LONGEST_VIA = MOST_HOPS * 5;

function hopsOf(via: string): number {
  return via.split(",").length;
}

/** Whether Max-Forwards means something with this method (RFC 9110 §7.6.2). */
export function limitsForwards(method: string): boolean {
  return method === "OPTIONS" || method === "TRACE";
}

/** Whether a request with such a method must go no further than here. */
export function isLastHop(headers: HeaderList): boolean {
  for (let i = 0; i < headers.length; i += 2)
    if (headers[i]!.length === 12 && is(headers[i]!, "max-forwards") && /^0+$/.test(headers[i + 1]!)) return true;
  return false;
}

/** Largest Max-Forwards that is passed on; no chain is longer. */
const MOST_FORWARDS = 0x7fff_ffff;

function oneLess(forwards: string): string {
  return /^[0-9]+$/.test(forwards) ? String(Math.min(Math.max(0, Number(forwards) - 1), MOST_FORWARDS)) : forwards;
}

/** What Connection names in a head, beside what is known to belong to the connection; undefined: nothing. */
export function namedByConnection(headers: HeaderList): string | undefined {
  let named: string | undefined;
  for (let i = 0; i < headers.length; i += 2)
    if (headers[i]!.length === 10 && is(headers[i]!, "connection"))
      named = named === undefined ? headers[i + 1]! : `${named},${headers[i + 1]!}`;
  return named !== undefined && namesFields(named) ? named : undefined;
}

/** Trailers as they go on; `named` is what Connection names in the head they belong to (RFC 9110 §7.6.1). */
export function trailerFields(trailers: HeaderList, named: string | undefined): HeaderList {
  if (trailers.length === 0) return trailers;
  const kept = responseFields(trailers).headers;
  if (named === undefined) return kept;
  const list = kept.slice();
  dropNamed(list, named);
  return list;
}

/** A list without Content-Length. */
export function withoutLength(headers: HeaderList): HeaderList {
  return headers.filter((_, at) => !is(headers[at - (at % 2)]!, "content-length"));
}

/** What a response says about itself that is for us. */
export interface ResponseNotes {
  /** The fields that go on. */
  headers: HeaderList;
  /** Goes out as it comes: an event stream, or `X-Accel-Buffering: no`. */
  streaming: boolean;
  /** `X-Accel-Redirect`: the path that answers instead. */
  redirect: string | undefined;
  /** Content-Length, or -1. */
  length: number;
  /** Framing that two readers could read differently: the response must not go on. */
  contradictory: boolean;
}

/** One for all: it is read before the next response is looked at. */
const notes: ResponseNotes = { headers: [], streaming: false, redirect: undefined, length: -1, contradictory: false };

/**
 * Reads the fields of a response. The result is reused: take what you need at once. Fields of the connection and
 * X-Accel-* stop here; where there are none, `headers` is the same list.
 */
export function responseFields(headers: HeaderList): ResponseNotes {
  notes.headers = headers;
  notes.streaming = false;
  notes.redirect = undefined;
  notes.length = -1;
  notes.contradictory = false;
  let clean: HeaderList | undefined;
  let named: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!;
    const kind = responseKind(name);
    if (kind === KEEP) {
      clean?.push(name, headers[i + 1]!);
      continue;
    }
    const value = headers[i + 1]!;
    if (kind === CONTENT_TYPE || kind === CONTENT_LENGTH) {
      if (kind === CONTENT_TYPE) notes.streaming ||= isEventStream(value);
      else if (notes.length !== -1) notes.contradictory = true;
      else if ((notes.length = lengthOf(value)) === -1) notes.contradictory = true;
      clean?.push(name, value);
      continue;
    }
    if (kind === ACCEL_BUFFERING) notes.streaming ||= value === "no";
    else if (kind === ACCEL_REDIRECT) {
      // Two places to go to: nobody can know which was meant.
      notes.contradictory ||= notes.redirect !== undefined;
      notes.redirect = value;
    }
    if (kind === CONNECTION) named = named === undefined ? value : `${named},${value}`;
    clean ??= headers.slice(0, i);
  }
  if (clean !== undefined) {
    if (named !== undefined && namesFields(named)) dropNamed(clean, named);
    notes.headers = clean;
  }
  return notes;
}

/** Bytes that a Content-Length says; -1 where it is not 1 to 15 digits, which every safe integer fits. */
function lengthOf(value: string): number {
  const count = value.length;
  if (count === 0 || count > 15) return -1;
  let length = 0;
  for (let at = 0; at < count; at++) {
    const digit = value.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}

const EVENT_STREAM = "text/event-stream";

function isEventStream(value: string): boolean {
  if (value.length < EVENT_STREAM.length || firstOf(value) !== T) return false;
  return value.slice(0, EVENT_STREAM.length).toLowerCase() === EVENT_STREAM;
}

/** False for what nearly every Connection field says: it names no field. */
function namesFields(named: string): boolean {
  return !is(named, "keep-alive") && !is(named, "close");
}

/** Takes out the fields that Connection names (RFC 9110 §7.6.1), in place. Host is never the connection's to take. */
function dropNamed(list: HeaderList, named: string): void {
  const names = new Set(
    named
      .toLowerCase()
      .split(",")
      .map((part) => part.trim()),
  );
  names.delete("host");
  names.delete("te");
  let to = 0;
  for (let i = 0; i < list.length; i += 2) {
    if (names.has(list[i]!.toLowerCase())) continue;
    list[to] = list[i]!;
    list[to + 1] = list[i + 1]!;
    to += 2;
  }
  list.length = to;
}
