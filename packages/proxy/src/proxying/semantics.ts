/** What methods and upgrades mean for forwarding. */
import type { RequestHead } from "@portico/gateway/exchange";

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
