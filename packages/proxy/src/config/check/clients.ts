/** Lists of addresses: `trustedProxies`, and every other that takes the same words. */
import { nearest } from "@portico/supervisor/nearest";
import { isIP } from "node:net";
import type { Finding, KeyPath } from "../problems.ts";
import { TRUST_WORDS } from "../trust.ts";
import { type ConfigCheck, type RouteCheck, list, record, text } from "./raw.ts";

function isRange(value: string): boolean {
  const [ip, bits, rest] = value.split("/");
  const version = isIP(ip ?? "");
  if (version === 0 || rest !== undefined) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}

/** Entries of a list of addresses. */
export function checkAddresses(addresses: unknown, path: KeyPath, found: Finding[]): void {
  list(addresses).forEach((one, index) => {
    const value = text(one);
    if (value === undefined || TRUST_WORDS.has(value) || isRange(value)) return;
    const near = nearest(value, TRUST_WORDS.keys());
    found.push({
      path: [...path, index],
      message: "must be an address, a CIDR range, `loopback`, `private` or `unix`",
      hint: near === undefined ? undefined : `did you mean "${near}"?`,
    });
  });
}

export const checkClientLists: ConfigCheck = (config, found) => {
  checkAddresses(config["trustedProxies"], ["trustedProxies"], found);
  list(config["listen"]).forEach((one, index) => {
    const { trusted } = record(record(one)["proxyProtocol"]);
    checkAddresses(trusted, ["listen", index, "proxyProtocol", "trusted"], found);
  });
  list(config["sites"]).forEach((site, index) => {
    const { allow } = record(record(site)["maintenance"]);
    checkAddresses(allow, ["sites", index, "maintenance", "allow"], found);
  });
};

export const checkMatchClients: RouteCheck = (route, path, _config, found) =>
  checkAddresses(record(route["match"])["clients"], [...path, "match", "clients"], found);
