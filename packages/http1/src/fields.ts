/**
 * Fields that mean something to the engine or to whoever trusts a front: framing, routing, connection, identity.
 */

/** Fields that belong to one connection (RFC 9110 §7.6.1); callers must not give them, the transport writes its own. */
export const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/** Fields that a trailer section must not carry (RFC 9110 §6.5.1): framing, routing, request modifiers, authentication, content handling. */
const FORBIDDEN_TRAILERS: ReadonlySet<string> = new Set([
  ...CONNECTION_FIELDS,
  "content-length",
  "host",
  "trailer",
  "te",
  "expect",
  "max-forwards",
  "range",
  "cache-control",
  "pragma",
  "authorization",
  "proxy-authorization",
  "proxy-authenticate",
  "www-authenticate",
  "cookie",
  "set-cookie",
  "content-encoding",
  "content-type",
  "content-range",
  "location",
  "date",
  "age",
  "expires",
  "retry-after",
  "vary",
  "forwarded",
  "x-request-id",
  "x-real-ip",
]);

const GUARDED: ReadonlySet<string> = new Set([
  "content-length",
  "transfer-encoding",
  "keep-alive",
  "host",
  "forwarded",
  "x-real-ip",
  "x-request-id",
  "x-client-cert",
  "x-http-method-override",
]);
const GUARDED_PREFIXES = [
  "x-forwarded-",
  "x-accel-",
  "x-sendfile",
  "x-portico-",
  "x-original-",
  "x-rewrite-",
  "x-client-",
  "ssl-client-",
  "proxy-",
];

/** Whether a lower-case name frames, routes or identifies a request, or is one that applications believe because a front writes it. */
export function isGuarded(name: string): boolean {
  return GUARDED.has(name) || GUARDED_PREFIXES.some((prefix) => name.startsWith(prefix));
}

/** Whether a field of this lower-case name must not stand in a trailer section: readers that merge trailers into the head would believe it. */
export function isForbiddenTrailer(name: string): boolean {
  return FORBIDDEN_TRAILERS.has(name) || isGuarded(name);
}

/** Whether a name with an underscore reads as a guarded one in CGI-like environments, where `-` and `_` are the same (nginx `underscores_in_headers`). */
export function isLookalike(name: string): boolean {
  return isGuarded(name.toLowerCase().replaceAll("_", "-"));
}

/** First value of a field by lower-case name, or undefined. Allocates one string for each name of equal length only. */
export function fieldValue(headers: readonly string[], name: string): string | undefined {
  for (let at = 0; at < headers.length; at += 2) {
    const candidate = headers[at] as string;
    if (candidate.length === name.length && (candidate === name || candidate.toLowerCase() === name))
      return headers[at + 1];
  }
  return undefined;
}
