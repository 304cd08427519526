/** Where the servers of an upstream are: addresses as they stand in the configuration, names as the DNS has them. */
import { needsLookup, type ServerAddress } from "./address.ts";
import { NameWatch, type NameWatchOptions, type Place } from "./names.ts";

export class Discovery {
  readonly #options: NameWatchOptions;
  readonly #watches = new Map<string, NameWatch>();

  constructor(options: NameWatchOptions) {
    this.#options = options;
  }

  /** True while a name is looked up for the first time. */
  get pending(): boolean {
    for (const watch of this.#watches.values()) if (watch.pending) return true;
    return false;
  }

  /** The places of a server now; a name is followed from here on. */
  placesOf(address: ServerAddress): readonly Place[] {
    const { host, port } = address;
    if (!needsLookup(address)) return [{ host, name: host, port, weight: 1, backup: false }];
    const key = keyOf(address);
    let watch = this.#watches.get(key);
    if (watch === undefined) {
      watch = new NameWatch(address, this.#options);
      this.#watches.set(key, watch);
    }
    return watch.places;
  }

  /** Other names are not followed any more. */
  keepOnly(addresses: readonly ServerAddress[]): void {
    const wanted = new Set(addresses.map(keyOf));
    for (const [key, watch] of this.#watches) {
      if (wanted.has(key)) continue;
      watch.stop();
      this.#watches.delete(key);
    }
  }

  stop(): void {
    this.keepOnly([]);
  }
}

const keyOf = ({ service, host, port }: ServerAddress): string => `${service ? "srv" : "host"} ${host}:${port}`;
