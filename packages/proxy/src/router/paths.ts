/**
 * Finds the routes of a path: an exact path first, then longer prefixes before shorter, then the order of the
 * configuration. Compiled once; a lookup is one hash lookup and a walk along the segments that prefixes share.
 */

export interface PathRoute {
  /** `/about`, or a prefix that ends in `/*`. */
  readonly path: string;
}

class Segment<Route> {
  readonly below: Map<string, Segment<Route>> = new Map();
  /** Routes of the prefix that ends here, in order. */
  own: Route[] = [];
  /** The same, followed by those of all shorter prefixes. Filled by `seal`. */
  all: readonly Route[] = [];
}

const NONE: readonly never[] = [];

export class PathTable<Route extends PathRoute> {
  readonly #exact = new Map<string, readonly Route[]>();
  readonly #root = new Segment<Route>();

  constructor(routes: readonly Route[]) {
    const exact = new Map<string, Route[]>();
    for (const route of routes) {
      if (route.path.endsWith("/*")) this.#segmentOf(route.path.slice(0, -1)).own.push(route);
      else PathTable.#list(exact, route.path).push(route);
    }
    PathTable.#seal(this.#root, NONE);
    for (const [path, own] of exact) this.#exact.set(path, [...own, ...this.#prefixes(path)]);
  }

  static #list<Route>(lists: Map<string, Route[]>, key: string): Route[] {
    let list = lists.get(key);
    if (list === undefined) lists.set(key, (list = []));
    return list;
  }

  /** All routes that match a path in normal form, best first. HOT. */
  find(path: string): readonly Route[] {
    return this.#exact.get(path) ?? this.#prefixes(path);
  }

  #prefixes(path: string): readonly Route[] {
    let segment = this.#root;
    let from = 1;
    while (segment.below.size > 0) {
      const slash = path.indexOf("/", from);
      if (slash === -1) break;
      const next = segment.below.get(path.slice(from, slash));
      if (next === undefined) break;
      segment = next;
      from = slash + 1;
    }
    return segment.all;
  }

  /** `prefix` begins and ends with a slash. */
  #segmentOf(prefix: string): Segment<Route> {
    let segment = this.#root;
    for (const name of prefix.split("/").slice(1, -1)) {
      let next = segment.below.get(name);
      if (next === undefined) segment.below.set(name, (next = new Segment<Route>()));
      segment = next;
    }
    return segment;
  }

  static #seal<Route>(segment: Segment<Route>, shorter: readonly Route[]): void {
    segment.all = segment.own.length === 0 ? shorter : [...segment.own, ...shorter];
    for (const next of segment.below.values()) PathTable.#seal(next, segment.all);
  }
}
