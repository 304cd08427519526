/** Whose word about the client is believed. */
import { BlockList, isIP } from "node:net";

/** Words for groups of peers. `unix` has no addresses: it is any peer on a unix socket. */
export const TRUST_WORDS: ReadonlyMap<string, readonly string[]> = new Map([
  ["loopback", ["127.0.0.0/8", "::1"]],
  // RFC 1918, RFC 4193, RFC 3927, RFC 4291 §2.5.6.
  ["private", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"]],
  ["unix", []],
]);

/**
 * Compiles `trustedProxies`. The function takes a peer's address as the socket gives it: an IP address (IPv4-mapped
 * IPv6 too), or for a unix socket a path or an empty text.
 */
export function compileTrust(trusted: readonly string[]): (peerAddress: string) => boolean {
  if (trusted.length === 0) return () => false;
  const ranges = new BlockList();
  for (const entry of trusted.flatMap((word) => TRUST_WORDS.get(word) ?? [word])) {
    const [ip = "", bits] = entry.split("/");
    const family = isIP(ip) === 6 ? "ipv6" : "ipv4";
    if (bits === undefined) ranges.addAddress(ip, family);
    else ranges.addSubnet(ip, Number(bits), family);
  }
  const unix = trusted.includes("unix");
  return (peer) => {
    const version = isIP(peer);
    if (version === 0) return unix;
    return ranges.check(peer, version === 6 ? "ipv6" : "ipv4");
  };
}
