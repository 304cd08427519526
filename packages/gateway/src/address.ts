/** Textual IP addresses (RFC 3986 §3.2.2, RFC 4291 §2.2), without zones. `node:net` knows them too, but the engines import no I/O. */

const IPV4_PART = /^(?:0|[1-9][0-9]{0,2})$/;
const GROUP = /^[0-9A-Fa-f]{1,4}$/;
const GROUPS = 8;
const MAPPED = "::ffff:";

export function isIPv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => IPV4_PART.test(part) && Number(part) <= 255);
}

export function isIPv6(text: string): boolean {
  const halves = text.split("::");
  if (halves.length > 2) return false;
  const [before, after] = halves as [string, string?];
  const tail = after ?? before;
  const counted = groupCount(before, after === undefined) + (after === undefined ? 0 : groupCount(after, true));
  if (Number.isNaN(counted) || (tail === "" && after === undefined)) return false;
  // `::` stands for at least one group.
  return after === undefined ? counted === GROUPS : counted < GROUPS;
}

export function isIP(text: string): boolean {
  return isIPv4(text) || isIPv6(text);
}

/**
 * The address that a person would write: `::ffff:192.0.2.1`, which a socket for both families says of its IPv4 peers
 * (RFC 4291 §2.5.5.2), is 192.0.2.1. Everything else stays as it is.
 */
export function plainAddress(address: string): string {
  if (!address.startsWith("::") || address.slice(0, MAPPED.length).toLowerCase() !== MAPPED) return address;
  const inner = address.slice(MAPPED.length);
  return isIPv4(inner) ? inner : address;
}

/** Groups in a colon-separated half, NaN where it is malformed; an IPv4 address at the very end counts as two. */
function groupCount(half: string, last: boolean): number {
  if (half === "") return 0;
  const parts = half.split(":");
  let count = 0;
  for (const [index, part] of parts.entries()) {
    if (GROUP.test(part)) count += 1;
    else if (last && index === parts.length - 1 && isIPv4(part)) count += 2;
    else return NaN;
  }
  return count;
}
