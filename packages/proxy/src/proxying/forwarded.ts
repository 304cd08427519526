/** The Forwarded field (RFC 7239), for routes that ask for it. */
import { isIPv6 } from "node:net";
import type { Exchange, HeaderList } from "@portico/gateway/exchange";
import { fieldValue } from "../answer/fields.ts";

/** RFC 7239 §6: an IPv6 address in brackets and quotes; what has no address is `unknown`. */
function node(address: string): string {
  if (isIPv6(address)) return `"[${address}]"`;
  return /^[\d.]+$/.test(address) ? address : "unknown";
}

/** RFC 9110 §5.6.4. */
const quoted = (text: string): string => `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;

/**
 * Adds our element. What a trusted front has written stands before it; where that has written X-Forwarded-For only, its
 * addresses are told in elements of their own (RFC 7239 §7.4).
 */
export function addForwarded(headers: HeaderList, { head, facts }: Exchange): HeaderList {
  const trusted = facts.client.vouchedBy === "forwarded";
  const peer = trusted ? facts.peer.address : facts.client.address;
  const host = head.authority === "" ? "" : `;host=${quoted(head.authority)}`;
  const own = `for=${node(peer)};proto=${head.scheme}${host}`;
  const list: HeaderList = [];
  for (let at = 0; at < headers.length; at += 2)
    if (headers[at]!.toLowerCase() !== "forwarded") list.push(headers[at]!, headers[at + 1]!);
  const before = trusted ? (fieldValue(headers, "forwarded") ?? elementsOf(headers)) : undefined;
  list.push("Forwarded", before === undefined ? own : `${before}, ${own}`);
  return list;
}

/** The addresses of X-Forwarded-For but for the last, which is the peer. */
function elementsOf(headers: HeaderList): string | undefined {
  const addresses = (fieldValue(headers, "x-forwarded-for") ?? "").split(",").slice(0, -1);
  if (addresses.length === 0) return undefined;
  return addresses.map((address) => `for=${node(address.trim().replaceAll(/^\[|\]$/g, ""))}`).join(", ");
}
