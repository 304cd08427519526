/** Whose forwarded fields are believed. */
import { BlockList, isIP, isIPv4 } from "node:net";
import { PorticoServerError } from "./error.ts";

/** Answers for a peer address as a socket reports it; a unix peer has no IP address. */
export type TrustTest = (peerAddress: string) => boolean;

/**
 * @param entries addresses, CIDR ranges, `unix`, or `*`
 * @throws PorticoServerError `config`
 */
export function trustTest(entries: readonly string[]): TrustTest {
  if (entries.includes("*")) return () => true;
  const unix = entries.includes("unix");
  const list = new BlockList();
  for (const entry of entries) if (entry !== "unix") add(list, entry);
  return (peer) => {
    const kind = isIP(peer);
    if (kind === 0) return unix;
    return kind === 4 ? list.check(peer, "ipv4") : list.check(peer, "ipv6");
  };
}

function add(list: BlockList, entry: string): void {
  const [address = "", bits, more] = entry.split("/");
  const family = isIPv4(address) ? "ipv4" : "ipv6";
  const longest = family === "ipv4" ? 32 : 128;
  const prefix = bits === undefined ? longest : Number(bits);
  const valid =
    isIP(address) !== 0 &&
    more === undefined &&
    bits !== "" &&
    Number.isInteger(prefix) &&
    prefix >= 0 &&
    prefix <= longest;
  if (!valid)
    throw new PorticoServerError(
      "config",
      `forwardedAllowIps: "${entry}" is not an address, a range such as 10.0.0.0/8, "unix" or "*"`,
    );
  list.addSubnet(address, prefix, family);
}
