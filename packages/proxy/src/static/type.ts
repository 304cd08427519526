/** Media types and cache rules by file name. */
import { matchesGlob } from "node:path";
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

/** One value for all files, or a value for each pattern, of which the first that matches counts. */
export type CacheControl = string | Readonly<Record<string, string>>;

/**
 * Cache-Control of a file under a `cacheControl` setting; undefined: none.
 *
 * @param path of the file below the root, with its slash; patterns without a slash are compared with `name` alone
 */
export function cacheControlOf(setting: CacheControl | undefined, path: string, name: string): string | undefined {
  const value = typeof setting === "object" ? firstMatch(setting, path, name) : setting;
  if (value !== "immutable") return value;
  return isHashed(name) ? YEAR : "no-cache";
}

function firstMatch(patterns: Readonly<Record<string, string>>, path: string, name: string): string | undefined {
  for (const [pattern, value] of Object.entries(patterns)) {
    const whole = pattern.includes("/");
    if (matchesGlob(whole ? path : name, whole && !pattern.startsWith("/") ? `/${pattern}` : pattern)) return value;
  }
  return undefined;
}
