/**
 * Which server gets the next request.
 *
 * A policy looks at the members of an upstream and gives one that takes requests now, or null. HOT: no allocation.
 */
import type { ServerTransport } from "./transport.ts";

/** A server of an upstream, as a policy sees it. */
export interface Candidate {
  readonly weight: number;
  readonly transport: Pick<ServerTransport, "load">;
  /** Passive health: gets nothing for the moment. */
  readonly ejected: boolean;
  /** State of the smooth weighted round robin. */
  turn: number;
}

/** Chooses among `members`, without those in `avoid` (servers that have failed this request). */
export interface Policy {
  pick<T extends Candidate>(members: readonly T[], avoid: readonly T[] | null): T | null;
}

/** The fewest requests under way for its size and weight; among equals each in turn. */
class LeastConnections implements Policy {
  #start = 0;

  pick<T extends Candidate>(members: readonly T[], avoid: readonly T[] | null): T | null {
    const count = members.length;
    if (count === 0) return null;
    let at = (this.#start = (this.#start + 1) % count);
    let best: T | null = null;
    let least = Infinity;
    for (let left = count; left > 0; left--) {
      const member = members[at]!;
      at = at + 1 === count ? 0 : at + 1;
      if (member.ejected || (avoid !== null && avoid.includes(member))) continue;
      const load = member.transport.load() / member.weight;
      if (load < least) {
        least = load;
        best = member;
      }
    }
    return best;
  }
}

/** Smooth weighted round robin, as nginx has it: weights 5, 1, 1 give a a b a c a a, never five in a row. */
class RoundRobin implements Policy {
  pick<T extends Candidate>(members: readonly T[], avoid: readonly T[] | null): T | null {
    let best: T | null = null;
    let total = 0;
    for (const member of members) {
      if (member.ejected || (avoid !== null && avoid.includes(member))) continue;
      if (member.transport.load() === Infinity) continue;
      member.turn += member.weight;
      total += member.weight;
      if (best === null || member.turn > best.turn) best = member;
    }
    if (best !== null) best.turn -= total;
    return best;
  }
}

const POLICIES = {
  "least-connections": LeastConnections,
  "round-robin": RoundRobin,
} as const;

export type PolicyName = keyof typeof POLICIES;

export function createPolicy(name: PolicyName): Policy {
  return new POLICIES[name]();
}
