/**
 * Consistent hashing: the same key goes to the same server for as long as it is there.
 *
 * Weighted rendezvous: for each server, key and server together give a number that is spread evenly, and the smallest
 * for its weight wins. Against a ring of points: exact by weight, nothing to build when servers come, go or change
 * their weight, and what one leaves is spread over all others. It costs a few multiplications for each server
 * (docs/adr/balancing.md).
 */
import { type BalancedExchange, type Candidate, isOpen, LeastConnections, type Policy } from "./balance.ts";

/** What is hashed of a request; undefined where it has no such thing. */
export type KeyOf = (exchange: BalancedExchange) => string | undefined;

/** 32 bits of a text: FNV-1a, then mixed. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return mix(hash);
}

/** Every bit of the result depends on every bit of the value (the finalizer of MurmurHash3). */
function mix(value: number): number {
  let hash = value ^ (value >>> 16);
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

const SPAN = 2 ** 32;

export class HashPolicy implements Policy {
  readonly #keyOf: KeyOf;
  readonly #maxLoad: number;
  /** For requests without the key. */
  readonly #others = new LeastConnections();

  /** `maxLoad`: no server gets more than so many times the mean of the requests under way; 0: no bound. */
  constructor(keyOf: KeyOf, maxLoad: number) {
    this.#keyOf = keyOf;
    this.#maxLoad = maxLoad;
  }

  update(members: readonly Candidate[]): void {
    this.#others.update(members);
  }

  pick<T extends Candidate>(members: readonly T[], avoid: readonly T[] | null, exchange: BalancedExchange): T | null {
    const key = this.#keyOf(exchange);
    if (key === undefined) return this.#others.pick(members, avoid);
    const hash = hashText(key);
    const share = this.#maxLoad === 0 ? Infinity : this.#share(members);
    let best: T | null = null;
    let least = Infinity;
    // The best of those that have enough already, in case all have.
    let full: T | null = null;
    let leastFull = Infinity;
    for (const member of members) {
      if (!isOpen(member, avoid)) continue;
      const { weight } = member;
      const score = -Math.log((mix(hash ^ member.seed) + 0.5) / SPAN) / weight;
      if (member.transport.inFlight < Math.ceil(share * weight)) {
        if (score < least) {
          least = score;
          best = member;
        }
      } else if (score < leastFull) {
        leastFull = score;
        full = member;
      }
    }
    return best ?? full;
  }

  /** Requests that a server may have for each unit of its weight, the next one counted. */
  #share(members: readonly Candidate[]): number {
    let inFlight = 1;
    let weight = 0;
    for (const member of members) {
      inFlight += member.transport.inFlight;
      weight += member.weight;
    }
    return (this.#maxLoad * inFlight) / weight;
  }
}
