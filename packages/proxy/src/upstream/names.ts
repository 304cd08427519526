/**
 * Follows a name in the DNS: where its servers are now, and whenever that changes.
 *
 * It is looked up again when its records have grown old, so that replicas that come and go are used and dropped
 * without a restart. A failed look-up keeps what was known: a name server that is away takes no server away.
 */
import type { ServerAddress } from "./address.ts";
import { describeFailure, type FoundAddress, type NameResolver } from "./resolver.ts";

/** Between two look-ups where the resolver does not say how long its answer holds, milliseconds: replicas appear within it. */
export const LOOKUP_INTERVAL_MS = 3_000;
/** While a name has never resolved. */
export const FIRST_LOOKUP_INTERVAL_MS = 500;
/** Whatever the records say. */
const SHORTEST_INTERVAL_MS = 1_000;
const LONGEST_INTERVAL_MS = 60_000;

/** Where a server is. */
export interface Place {
  /** The address to connect to. */
  readonly host: string;
  /** For certificates: the name that resolved to it. */
  readonly name: string;
  readonly port: number;
  /** Relative weight by its SRV record; 1 without. */
  readonly weight: number;
  /** A record of a lower priority than others. */
  readonly backup: boolean;
}

/** The IPv4 ones where there are any (several records are several servers, the two families of one machine are not), else IPv6. */
function chooseAddresses(found: readonly FoundAddress[]): string[] {
  const four = found.filter((entry) => entry.family === 4);
  return [...new Set((four.length > 0 ? four : found).map((entry) => entry.address))].sort();
}

function shortestTtl(found: readonly FoundAddress[]): number | undefined {
  const known = found.map((entry) => entry.ttl).filter((ttl) => ttl !== undefined);
  return known.length === 0 ? undefined : Math.min(...known) * 1000;
}

interface Found {
  readonly places: readonly Place[];
  /** Milliseconds; undefined: the resolver does not say. */
  readonly ttl: number | undefined;
}

async function findHost(resolver: NameResolver, address: Pick<ServerAddress, "host" | "port">): Promise<Found> {
  const found = await resolver.addresses(address.host);
  const place = { name: address.host, port: address.port, weight: 1, backup: false };
  return { places: chooseAddresses(found).map((host) => ({ ...place, host })), ttl: shortestTtl(found) };
}

/** The lowest priority serves, all others stand by (RFC 2782). Targets that do not resolve are left out while others do. */
async function findService(resolver: NameResolver, name: string): Promise<Found> {
  const records = await resolver.services(name);
  const first = Math.min(...records.map((record) => record.priority));
  const found = await Promise.allSettled(
    records.map((record) => findHost(resolver, { host: record.name, port: record.port })),
  );
  const places: Place[] = [];
  let ttl: number | undefined;
  let failure: unknown;
  found.forEach((result, index) => {
    const record = records[index]!;
    if (result.status === "rejected") {
      failure = result.reason;
      return;
    }
    ttl = Math.min(ttl ?? Infinity, result.value.ttl ?? Infinity);
    for (const place of result.value.places) {
      places.push({ ...place, weight: Math.max(1, record.weight), backup: record.priority > first });
    }
  });
  if (places.length === 0 && failure !== undefined) throw failure;
  places.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return { places, ttl: ttl === Infinity ? undefined : ttl };
}

const keyOf = (place: Place): string =>
  `${place.name} ${place.host} ${place.port} ${place.weight} ${String(place.backup)}`;

export interface NameWatchOptions {
  readonly resolver: NameResolver;
  /** Milliseconds between two look-ups, where the configuration says so. */
  readonly interval: () => number | undefined;
  /** After the first look-up, and after each that changed something. */
  readonly onChanged: (watch: NameWatch) => void;
  /** A name that was known cannot be looked up any more; once, until it can be. */
  readonly onFailing: (watch: NameWatch) => void;
}

export class NameWatch {
  readonly address: ServerAddress;
  /** Sorted; empty until the name has resolved. */
  places: readonly Place[] = [];
  /** What the last look-up failed with. */
  failure: string | undefined;
  /** True until the first look-up has ended. */
  pending = true;
  readonly #options: NameWatchOptions;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(address: ServerAddress, options: NameWatchOptions) {
    this.address = address;
    this.#options = options;
    void this.#run();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #run(): Promise<void> {
    const { resolver, onChanged, onFailing } = this.#options;
    const { address } = this;
    let found: Found = { places: [], ttl: undefined };
    const failedBefore = this.failure !== undefined;
    try {
      found = address.service ? await findService(resolver, address.host) : await findHost(resolver, address);
      this.failure = undefined;
    } catch (error) {
      this.failure = describeFailure(error);
    }
    if (this.#stopped) return;
    const first = this.pending;
    this.pending = false;
    const { places } = found;
    const changed = places.length > 0 && places.map(keyOf).join() !== this.places.map(keyOf).join();
    if (changed) this.places = places;
    this.#timer = setTimeout(() => void this.#run(), this.#pause(found.ttl));
    this.#timer.unref();
    if (changed || first) onChanged(this);
    else if (this.failure !== undefined && !failedBefore && this.places.length > 0) onFailing(this);
  }

  #pause(ttl: number | undefined): number {
    if (this.places.length === 0) return FIRST_LOOKUP_INTERVAL_MS;
    const interval = this.#options.interval();
    if (interval !== undefined) return interval;
    if (ttl === undefined) return LOOKUP_INTERVAL_MS;
    return Math.min(LONGEST_INTERVAL_MS, Math.max(SHORTEST_INTERVAL_MS, ttl));
  }
}
