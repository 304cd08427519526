/** The one address of a site: `canonical`. */
import type { Exchange } from "@portico/gateway/exchange";
import { respondError } from "../answer/error.ts";
import { hostName } from "./hosts.ts";

// RFC 8555 §8.3: certificates are asked for by name and over http, whatever the site prefers.
const CHALLENGE = "/.well-known/acme-challenge/";
const PERMANENT = 308; // RFC 9110 §15.4.9: the method stays
// What may stand in a Location (RFC 3986 §2).
const LOCATION = /^[\x21-\x7e]+$/;

/** Redirects what was asked for elsewhere; true where it has answered. */
export type Canonical = (exchange: Exchange) => boolean;

/** @param canonical `https://example.com`, `https://` or `//example.com` */
export function compileCanonical(canonical: string): Canonical {
  const at = canonical.indexOf("//");
  const scheme = at === 0 ? undefined : canonical.slice(0, at - 1).toLowerCase();
  const host = canonical.slice(at + 2).toLowerCase() || undefined;
  // A port in it counts; without one, the port of the request does not.
  const nameOf = host?.includes(":") === true ? (authority: string) => authority.toLowerCase() : hostName;
  return (exchange) => {
    const { head } = exchange;
    const rightHost = host === undefined || nameOf(head.authority) === host;
    if (rightHost && (scheme === undefined || head.scheme === scheme)) return false;
    if (head.target.startsWith(CHALLENGE)) return false;
    const location = `${scheme ?? head.scheme}://${host ?? hostName(head.authority)}${head.target === "*" ? "/" : head.target}`;
    if (LOCATION.test(location)) exchange.respond(PERMANENT, ["Location", location], null);
    else respondError(exchange, 400);
    return true;
  };
}
