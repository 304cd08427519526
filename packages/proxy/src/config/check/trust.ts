/** `trustedProxies`. */
import { isIP } from "node:net";
import { nearest } from "@portico/supervisor/nearest";
import { TRUST_WORDS } from "../trust.ts";
import { type ConfigCheck, list, text } from "./raw.ts";

function isRange(value: string): boolean {
  const [ip, bits, rest] = value.split("/");
  const version = isIP(ip ?? "");
  if (version === 0 || rest !== undefined) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}

export const checkTrusted: ConfigCheck = (config, found) => {
  list(config["trustedProxies"]).forEach((one, index) => {
    const value = text(one);
    if (value === undefined || TRUST_WORDS.has(value) || isRange(value)) return;
    const near = nearest(value, TRUST_WORDS.keys());
    found.push({
      path: ["trustedProxies", index],
      message: "must be an address, a CIDR range, `loopback`, `private` or `unix`",
      hint: near === undefined ? undefined : `did you mean "${near}"?`,
    });
  });
};
