/** Which of several codings of a file a client gets (RFC 9110 §12.5.3). */

/** Content codings that a file may lie beside itself in, and the suffix of its name then. */
export const SUFFIXES = { br: ".br", zstd: ".zst", gzip: ".gz" } as const;

export type Coding = keyof typeof SUFFIXES;

/** `name;q=0.5`; anything else in an element voids it. */
const ELEMENT = /^(?<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*;[ \t]*q=(?<weight>0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?$/i;

/** Weight of each coding that is named, by lower-case name, `*` included. */
function weights(accept: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const element of accept.split(",")) {
    const groups = ELEMENT.exec(element.trim())?.groups;
    if (groups === undefined) continue;
    const name = groups["name"]!.toLowerCase();
    found.set(name === "x-gzip" ? "gzip" : name, groups["weight"] === undefined ? 1 : Number(groups["weight"]));
  }
  return found;
}

/**
 * The coding to send, of those that are there in the order of our preference; undefined: none (identity). The client's weights
 * come first, our order decides among equals. A client that says nothing gets identity: it may be a tool that cannot
 * decode.
 */
export function chooseCoding(accept: string | undefined, available: readonly Coding[]): Coding | undefined {
  if (accept === undefined || accept.trim() === "") return undefined;
  const named = weights(accept);
  const rest = named.get("*") ?? 0;
  let best: Coding | undefined;
  // Identity needs no naming to be acceptable; it is worth less than any coding that the client names.
  let most = named.get("identity") ?? 0;
  for (const coding of available) {
    const weight = named.get(coding) ?? rest;
    if (weight > 0 && (weight > most || (best === undefined && weight === most))) {
      best = coding;
      most = weight;
    }
  }
  return best;
}
