import { isIPv6 } from "@portico/gateway/address";

/** `host [":" port]`, RFC 9110 §7.2: a registered name or IPv4 address, or an IPv6 address in brackets; no user information. Percent-encoding is refused though RFC 3986 has it: readers differ on whether to decode it. */
const AUTHORITY = /^(?:([A-Za-z0-9\-._~!$&'()*+,;=]+)|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]*))?$/;
const LARGEST_PORT = 65_535;

/** Whether the text is a valid Host value. */
export function isAuthority(text: string): boolean {
  const match = AUTHORITY.exec(text);
  if (match === null) return false;
  if (match[2] !== undefined && !isIPv6(match[2])) return false;
  return match[3] === undefined || (match[3].length <= 5 && Number(match[3]) <= LARGEST_PORT);
}

/** Whether the text is an authority with a port, as CONNECT needs it (RFC 9112 §3.2.3). */
export function isAuthorityWithPort(text: string): boolean {
  return /:[0-9]+$/.test(text) && isAuthority(text);
}

/** Whether two valid authorities name the same place: case-insensitive, the scheme's own port may be left out. */
export function sameAuthority(one: string, other: string, scheme: "http" | "https"): boolean {
  return one === other || canonical(one, scheme) === canonical(other, scheme);
}

function canonical(authority: string, scheme: "http" | "https"): string {
  const lower = authority.toLowerCase();
  const port = scheme === "https" ? ":443" : ":80";
  if (lower.endsWith(port)) return lower.slice(0, -port.length);
  return lower.endsWith(":") ? lower.slice(0, -1) : lower;
}
