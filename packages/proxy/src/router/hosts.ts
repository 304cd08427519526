/** Finds the site of a Host field. */
import { isExpression, parseExpression } from "./pattern.ts";

// Authorities seen lately, so that the usual request costs one lookup. Bounded: clients choose these texts.
const REMEMBERED = 1024;

/**
 * Host name of an authority: without port and final dot, in lower case; IPv6 literals keep their brackets.
 * `Example.COM.:8080` is `example.com`.
 */
export function hostName(authority: string): string {
  const end = authority.startsWith("[") ? authority.indexOf("]") + 1 : authority.lastIndexOf(":");
  let name = end > 0 ? authority.slice(0, end) : authority;
  if (name.endsWith(".")) name = name.slice(0, -1);
  return name.toLowerCase();
}

/** Which of its names a host was found by. */
export type HostKind = "exact" | "leading" | "trailing" | "expression" | "default";

/** A site as it was found: the pattern tells why. */
export interface FoundSite<Site> {
  readonly site: Site;
  readonly pattern: string;
  readonly kind: HostKind;
}

/**
 * Sites by name: exact names first, then the longest `*.name`, then the longest `name.*`, then expressions in order, then
 * the default. All but expressions by hash, so their number does not matter.
 */
export class HostTable<Site> {
  readonly #exact = new Map<string, FoundSite<Site>>();
  /** By what follows the asterisk: `.example.com`. */
  readonly #below = new Map<string, FoundSite<Site>>();
  /** By what stands before it: `example.`. */
  readonly #above = new Map<string, FoundSite<Site>>();
  readonly #expressions: (FoundSite<Site> & { readonly expression: RegExp })[] = [];
  #other: FoundSite<Site> | undefined;
  readonly #seen = new Map<string, Site>();

  /** `pattern`: a name, `*.` and a name, a name and `.*`, `~` and an expression, or `*` for every other name. */
  add(pattern: string, site: Site): void {
    const found = (kind: HostKind): FoundSite<Site> => ({ site, pattern, kind });
    const name = pattern.toLowerCase();
    if (isExpression(pattern)) this.#expressions.push({ ...found("expression"), expression: parseExpression(pattern) });
    else if (name === "*") this.#other = found("default");
    else if (name.startsWith("*.")) this.#below.set(name.slice(1), found("leading"));
    else if (name.endsWith(".*")) this.#above.set(name.slice(0, -1), found("trailing"));
    else this.#exact.set(name, found("exact"));
  }

  /** The site of an authority as received, undefined for none. HOT: one map lookup for an authority seen before. */
  find(authority: string): Site | undefined {
    const site = this.#seen.get(authority);
    if (site !== undefined) return site;
    return this.#remember(authority);
  }

  #remember(authority: string): Site | undefined {
    const site = this.search(hostName(authority))?.site;
    if (site !== undefined) {
      if (this.#seen.size >= REMEMBERED) this.#seen.clear();
      this.#seen.set(authority, site);
    }
    return site;
  }

  /** The site of a host name, and why. */
  search(name: string): FoundSite<Site> | undefined {
    return (
      this.#exact.get(name) ??
      this.#belowOf(name) ??
      this.#aboveOf(name) ??
      this.#expressions.find(({ expression }) => expression.test(name)) ??
      this.#other
    );
  }

  #belowOf(name: string): FoundSite<Site> | undefined {
    if (this.#below.size === 0) return undefined;
    for (let dot = name.indexOf("."); dot !== -1; dot = name.indexOf(".", dot + 1)) {
      const found = this.#below.get(name.slice(dot));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #aboveOf(name: string): FoundSite<Site> | undefined {
    if (this.#above.size === 0) return undefined;
    for (let dot = name.lastIndexOf("."); dot > 0; dot = name.lastIndexOf(".", dot - 1)) {
      const found = this.#above.get(name.slice(0, dot + 1));
      if (found !== undefined) return found;
    }
    return undefined;
  }
}
