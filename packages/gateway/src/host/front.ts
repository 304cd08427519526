import { PorticoGatewayError } from "../errors.ts";
import type { HeaderList } from "../exchange.ts";
import { checkFields } from "./fields.ts";

/**
 * What the front before this host does for responses that ask for it by a field (docs/spec/tsgi.md, 5.7). Said by the
 * operator, for fronts over HTTP; over the link a front says `accel` and `cache` itself.
 */
export interface FrontOptions {
  /** Acts on X-Accel-Redirect: answers with another of its own routes, and keeps the field to itself. */
  readonly redirects?: boolean;
  /** Folder → internal location of the front that sends the files below it: `{ "/srv/files": "/protected/" }`. Includes `redirects`. */
  readonly files?: Readonly<Record<string, string>>;
  /** Acts on Cache-Tag, CDN-Cache-Control and X-Portico-Purge. */
  readonly cache?: boolean;
}

/** Field by which a front is told what to remove from its cache. */
const PURGE_FIELD = "x-portico-purge";

/** The internal location that stands for a file, percent-encoded; undefined: the front does not have it. */
export function locationOf(path: string, files: Readonly<Record<string, string>> = {}): string | undefined {
  // Not resolved on purpose: what has to be would mean another file to the front than to us.
  if (/(?:^|\/)\.{1,2}(?:\/|$)|\/\/|\0/.test(path)) return undefined;
  for (const [folder, location] of Object.entries(files)) {
    const root = folder.endsWith("/") ? folder : `${folder}/`;
    if (!path.startsWith(root)) continue;
    const rest = path.slice(root.length).split("/").map(encodeURIComponent).join("/");
    return `${location.endsWith("/") ? location : `${location}/`}${rest}`;
  }
  return undefined;
}

/** A target for X-Accel-Redirect: origin-form. Throws `BAD_FIELD`. */
export function redirectFields(target: string): HeaderList {
  if (!target.startsWith("/"))
    throw new PorticoGatewayError("BAD_FIELD", `An internal redirect goes to a path that begins with "/": ${target}`, {
      rule: "T5.7.4",
    });
  return checkFields(["x-accel-redirect", target]).list;
}

/** What `ctx.cache` was told of one response. */
export class CacheOrders {
  #tags: string[] = [];
  #ttl: number | undefined;
  #stale: number | undefined;
  #purges: string[] = [];

  tags(tags: readonly string[]): void {
    for (const tag of tags)
      if (!/^[\x21-\x2b\x2d-\x7e]+$/.test(tag))
        throw new PorticoGatewayError("BAD_FIELD", `Not a cache tag: ${JSON.stringify(tag)}`, { rule: "T5.7.6" });
    this.#tags.push(...tags);
  }
  ttl(seconds: number): void {
    this.#ttl = wholeSeconds(seconds);
  }
  staleWhileRevalidate(seconds: number): void {
    this.#stale = wholeSeconds(seconds);
  }
  /** `kind` is `url`, `prefix` or `tag`. Written as a member of a structured list (RFC 9651 §3.1). */
  purge(kind: string, value: string, mode: "soft" | "hard"): void {
    if (!/^[\x20-\x7e]+$/.test(value))
      throw new PorticoGatewayError("BAD_FIELD", `Nothing in a cache is called ${JSON.stringify(value)}`, {
        rule: "T5.7.7",
      });
    this.#purges.push(`"${value.replaceAll(/["\\]/g, String.raw`\$&`)}";${kind}${mode === "soft" ? ";soft" : ""}`);
  }

  /** The fields that carry it to the front. */
  fields(): HeaderList {
    const list: HeaderList = [];
    if (this.#tags.length > 0) list.push("cache-tag", this.#tags.join(","));
    const control: string[] = [];
    if (this.#ttl !== undefined) control.push(`max-age=${this.#ttl}`);
    if (this.#stale !== undefined) control.push(`stale-while-revalidate=${this.#stale}`);
    if (control.length > 0) list.push("cdn-cache-control", control.join(", "));
    if (this.#purges.length > 0) list.push(PURGE_FIELD, this.#purges.join(", "));
    return list;
  }
}

function wholeSeconds(seconds: number): number {
  if (Number.isSafeInteger(seconds) && seconds >= 0) return seconds;
  throw new PorticoGatewayError("BAD_FIELD", `${seconds} is not a whole number of seconds, from 0`, { rule: "T5.7.6" });
}
