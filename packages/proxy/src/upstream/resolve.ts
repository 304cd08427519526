/**
 * Follows a name in the DNS: its addresses now, and whenever they change.
 *
 * Every few seconds it is looked up again (through the system's resolver, so /etc/hosts and search domains apply), so
 * that replicas that come and go are used and dropped without a restart. A failed look-up keeps what was known: a name
 * server that is away takes no server away.
 */
import { lookup } from "node:dns/promises";

/** Between two look-ups of a name. Replicas appear within it; a local resolver answers from its cache. */
export const LOOKUP_INTERVAL_MS = 3_000;
/** While a name has never resolved. */
export const FIRST_LOOKUP_INTERVAL_MS = 500;

/** All addresses of a name; rejects where there are none. */
export type Lookup = (host: string) => Promise<readonly { address: string; family: number }[]>;

export const systemLookup: Lookup = (host) => lookup(host, { all: true });

/** IPv4 where there is any (several records are several servers, the two families of one machine are not), else IPv6. */
export function chooseAddresses(found: readonly { address: string; family: number }[]): string[] {
  const four = found.filter((entry) => entry.family === 4);
  return [...new Set((four.length > 0 ? four : found).map((entry) => entry.address))].sort();
}

export class NameWatch {
  readonly host: string;
  /** Sorted; empty until the name has resolved. */
  addresses: readonly string[] = [];
  /** What the last look-up failed with. */
  failure: string | undefined;
  /** True until the first look-up has ended. */
  pending = true;
  readonly #lookup: Lookup;
  readonly #changed: (watch: NameWatch) => void;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(host: string, lookup: Lookup, changed: (watch: NameWatch) => void) {
    this.host = host;
    this.#lookup = lookup;
    this.#changed = changed;
    void this.#run();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #run(): Promise<void> {
    let found: string[] = [];
    try {
      found = chooseAddresses(await this.#lookup(this.host));
      this.failure = undefined;
    } catch (error) {
      this.failure = error instanceof Error ? error.message : String(error);
    }
    if (this.#stopped) return;
    const first = this.pending;
    this.pending = false;
    const changed = found.length > 0 && found.join() !== this.addresses.join();
    if (changed) this.addresses = found;
    this.#timer = setTimeout(
      () => void this.#run(),
      this.addresses.length === 0 ? FIRST_LOOKUP_INTERVAL_MS : LOOKUP_INTERVAL_MS,
    );
    this.#timer.unref();
    if (changed || first) this.#changed(this);
  }
}
