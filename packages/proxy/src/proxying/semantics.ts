/** What methods and upgrades mean for forwarding. */
import type { HeaderList, RequestHead } from "@portico/gateway/exchange";

/** RFC 9110 §9.2.2: sent twice is the same as sent once. */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method);
}

/**
 * The upgrade that is passed on. HTTP/2 over cleartext is between neighbours and not for the application (RFC 9113
 * §3.1 took it away): such a request is an ordinary one.
 */
export function upgradeOf(head: RequestHead): string | undefined {
  const { upgrade } = head;
  return upgrade === undefined || upgrade === "h2c" ? undefined : upgrade;
}

/**
 * Whether a method has a lower-case letter. Methods are case-sensitive (RFC 9110 §9.1), but gunicorn before 22 and some
 * CGI environments read `post` as POST, so what a front allowed as an unknown method would be executed as another.
 * nginx and newer gunicorns refuse them too. HOT: the usual methods are told by identity.
 */
export function hasLowerCase(method: string): boolean {
  if (method === "GET" || method === "POST" || method === "HEAD") return false;
  for (let at = 0; at < method.length; at++) {
    const code = method.charCodeAt(at);
    if (code >= 0x61 && code <= 0x7a) return true;
  }
  return false;
}

/** Whether a 101 names the one protocol that was asked for (RFC 9110 §7.8): a server must not switch to another. */
export function switchesTo(headers: HeaderList, protocol: string): boolean {
  let named = false;
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at]!.length !== 7 || headers[at]!.toLowerCase() !== "upgrade") continue;
    if (named || headers[at + 1]!.toLowerCase() !== protocol) return false;
    named = true;
  }
  return named;
}
