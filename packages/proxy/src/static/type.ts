/** Media types and cache rules by file name. */
import { lookup } from "mrmime";

/** Media types that are text although they do not begin with `text/`. JSON is UTF-8 by its own rule (RFC 8259 §8.1). */
const TEXT_TYPES = new Set(["application/xml", "application/xhtml+xml", "image/svg+xml", "application/manifest+json"]);

/** Content-Type of a file by its name; `application/octet-stream` where nothing is known of it. */
export function contentType(name: string): string {
  const type = lookup(name) ?? "application/octet-stream";
  return type.startsWith("text/") || TEXT_TYPES.has(type) ? `${type}; charset=utf-8` : type;
}

const YEAR = "public, max-age=31536000, immutable";

/** Where bundlers put the hash: `app-BX2k3_9a.js` (eight letters of base64), `app.3f2a1b0c.min.css` (hexadecimal). */
const HASHED = /[.-](?:(?<base64>[\w-]{8})|(?<hex>[0-9a-f]{8,64}))(?:\.min)?\.[a-z0-9]+(?:\.map)?$/i;

/**
 * Whether a name carries a content hash. Errs on the side of *no*, since a name that only looks like one would be
 * kept for a year: a hash must have digits, and letters beside them (capitals, unless it is hexadecimal).
 */
export function isHashed(name: string): boolean {
  const { base64, hex } = HASHED.exec(name)?.groups ?? {};
  const hash = base64 ?? hex;
  if (hash === undefined || !/\d/.test(hash)) return false;
  return /^[0-9a-f]+$/.test(hash) ? /[a-f]/.test(hash) : /[A-Z]/.test(hash);
}

/** Cache-Control of a file under a `cacheControl` setting; undefined: none. */
export function cacheControl(setting: string | undefined, name: string): string | undefined {
  if (setting !== "immutable") return setting;
  return isHashed(name) ? YEAR : "no-cache";
}
