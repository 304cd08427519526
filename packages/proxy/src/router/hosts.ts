/** Finds the site of a Host field. */

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

/** Sites by name: exact names first, then the longest wildcard, then the default. Each by hash, so their number does not matter. */
export class HostTable<Site> {
  readonly #exact = new Map<string, Site>();
  /** By what follows the asterisk: `.example.com`. */
  readonly #below = new Map<string, Site>();
  #other: Site | undefined;
  readonly #seen = new Map<string, Site | undefined>();

  /** `pattern`: a name, `*.` and a name, or `*` for every other name. */
  add(pattern: string, site: Site): void {
    const name = pattern.toLowerCase();
    if (name === "*") this.#other = site;
    else if (name.startsWith("*.")) this.#below.set(name.slice(1), site);
    else this.#exact.set(name, site);
  }

  /** The site of an authority as received, undefined for none. HOT: one map lookup for an authority seen before. */
  find(authority: string): Site | undefined {
    const site = this.#seen.get(authority);
    if (site !== undefined) return site;
    return this.#remember(authority);
  }

  #remember(authority: string): Site | undefined {
    const site = this.#search(hostName(authority));
    if (site !== undefined) {
      if (this.#seen.size >= REMEMBERED) this.#seen.clear();
      this.#seen.set(authority, site);
    }
    return site;
  }

  #search(name: string): Site | undefined {
    const exact = this.#exact.get(name);
    if (exact !== undefined) return exact;
    if (this.#below.size > 0) {
      for (let dot = name.indexOf("."); dot !== -1; dot = name.indexOf(".", dot + 1)) {
        const site = this.#below.get(name.slice(dot));
        if (site !== undefined) return site;
      }
    }
    return this.#other;
  }
}
