/** Whose forwarded fields are believed. */
import { BlockList } from "node:net";
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
    const family = familyOf(peer);
    return family === undefined ? unix : list.check(peer, family);
  };
}

/** Of an address that a socket reported, whose form is known to be right; undefined: a unix socket's path, or nothing. */
function familyOf(address: string): "ipv4" | "ipv6" | undefined {
  if (/^[\d.]+$/.test(address)) return "ipv4";
  return address.includes(":") && /^[\da-f:.]+$/i.test(address) ? "ipv6" : undefined;
}

function add(list: BlockList, entry: string): void {
  const [address = "", bits, more] = entry.split("/");
  const family = address.includes(":") ? "ipv6" : "ipv4";
  const longest = family === "ipv4" ? 32 : 128;
  const prefix = bits === undefined ? longest : Number(bits);
  const valid = more === undefined && bits !== "" && Number.isInteger(prefix) && prefix >= 0 && prefix <= longest;
  try {
    // Node's isIP is not asked: its expression for IPv6 alone takes 5 ms of a start to compile.
    if (valid) return list.addSubnet(address, prefix, family);
  } catch {
    // not an address
  }
  throw new PorticoServerError(
    "config",
    `forwardedAllowIps: "${entry}" is not an address, a range such as 10.0.0.0/8, "unix" or "*"`,
  );
}
