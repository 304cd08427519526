/**
 * Which server gets the next request.
 *
 * A policy looks at the servers of an upstream that are up and gives one that takes requests now, or null. HOT: no
 * allocation.
 */
import type { Exchange } from "@portico/gateway/exchange";
import type { ServerTransport } from "./transport.ts";

/** What a policy may look at of a request. */
export type BalancedExchange = Pick<Exchange, "head" | "facts">;

/** A server of an upstream, as a policy sees it. */
export interface Candidate {
  /** Effective weight, above 0; grows during a slow start. */
  readonly weight: number;
  readonly transport: Pick<ServerTransport, "inFlight">;
  /** As of its transport: how busy it would be; Infinity: it takes none now. */
  load(): number;
  /** Stands for the server in consistent hashing: 32 bits of its address. */
  readonly seed: number;
  /** State of the smooth weighted round robin. */
  turn: number;
  /** Mean time to the head of its responses, milliseconds; 0: not measured. */
  meanMs: number;
  /** Monotonic milliseconds of the last measurement. */
  measuredAt: number;
}

/** Chooses among `members`, without those in `avoid` (servers that have failed this request). */
export interface Policy {
  pick<T extends Candidate>(members: readonly T[], avoid: readonly T[] | null, exchange: BalancedExchange): T | null;
  /** The members or their weights have changed. */
  update?(members: readonly Candidate[]): void;
  /** A response has begun after so many milliseconds. */
  observe?(member: Candidate, headMs: number): void;
}

/** The fewest requests under way for its size and weight; among equals each in turn, by weight. */
export class LeastConnections implements Policy {
  #start = 0;
  #weighted = false;

  update(members: readonly Candidate[]): void {
    this.#weighted = members.some((member) => member.weight !== members[0]!.weight);
  }

  pick<T extends Candidate>(members: readonly T[], avoid: readonly T[] | null): T | null {
    const count = members.length;
    if (count === 0) return null;
    if (this.#weighted) return pickWeighted(members, avoid);
    let at = (this.#start = this.#start + 1 >= count ? 0 : this.#start + 1);
    let best: T | null = null;
    let least = Infinity;
    for (let left = count; left > 0; left--) {
      const member = members[at]!;
      at = at + 1 === count ? 0 : at + 1;
      if (avoid !== null && avoid.includes(member)) continue;
      const load = member.load();
      if (load < least) {
        least = load;
        best = member;
      }
    }
    return best;
  }
}

function pickWeighted<T extends Candidate>(members: readonly T[], avoid: readonly T[] | null): T | null {
  let least = Infinity;
  for (const member of members) {
    if (!isOpen(member, avoid)) continue;
    const load = member.transport.inFlight / member.weight;
    if (load < least) least = load;
  }
  if (least === Infinity) return null;
  let best: T | null = null;
  let total = 0;
  for (const member of members) {
    if (!isOpen(member, avoid) || member.transport.inFlight / member.weight !== least) continue;
    member.turn += member.weight;
    total += member.weight;
    if (best === null || member.turn > best.turn) best = member;
  }
  if (best !== null) best.turn -= total;
  return best;
}

/** Smooth weighted round robin, as nginx has it: weights 5, 1, 1 give a a b a c a a, never five in a row. */
export class RoundRobin implements Policy {
  pick<T extends Candidate>(members: readonly T[], avoid: readonly T[] | null): T | null {
    let best: T | null = null;
    let total = 0;
    for (const member of members) {
      if (!isOpen(member, avoid)) continue;
      member.turn += member.weight;
      total += member.weight;
      if (best === null || member.turn > best.turn) best = member;
    }
    if (best !== null) best.turn -= total;
    return best;
  }
}

/** Part of a new measurement in the mean: about the last twenty responses count. */
const NEWEST = 0.1;
/** A server that is not asked is forgiven by so much, milliseconds to a third of its mean: it is tried again. */
const FORGIVEN_MS = 10_000;
/** Below it a difference is chance, milliseconds: then the fewest under way decide. */
const LEAST_MS = 0.2;

/** The shortest recent response time, times what is under way, for its weight. */
export class LeastTime implements Policy {
  readonly #now: () => number;
  /** Of all servers: what one is taken for that was not measured yet. */
  #typicalMs = LEAST_MS;

  constructor(now: () => number) {
    this.#now = now;
  }

  observe(member: Candidate, headMs: number): void {
    const now = this.#now();
    const before = forgiven(member, now);
    member.meanMs = member.meanMs === 0 ? headMs : before + NEWEST * (headMs - before);
    member.measuredAt = now;
    this.#typicalMs += NEWEST * (headMs - this.#typicalMs);
  }

  pick<T extends Candidate>(members: readonly T[], avoid: readonly T[] | null): T | null {
    const now = this.#now();
    let best: T | null = null;
    let least = Infinity;
    for (const member of members) {
      if (avoid !== null && avoid.includes(member)) continue;
      const load = member.load();
      if (load === Infinity) continue;
      const { meanMs, measuredAt } = member;
      const ms = meanMs === 0 ? this.#typicalMs : forgiven(member, now);
      const cost = (Math.max(ms, LEAST_MS) * load) / member.weight;
      if (cost < least || (cost === least && measuredAt < best!.measuredAt)) {
        least = cost;
        best = member;
      }
    }
    return best;
  }
}

/** A mean that was measured a while ago. */
function forgiven({ meanMs, measuredAt }: Candidate, now: number): number {
  return meanMs * Math.exp((measuredAt - now) / FORGIVEN_MS);
}

/** The less busy of two drawn by weight: nearly as even as asking all, and no herd runs to the same one. */
export class RandomTwo implements Policy {
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  pick<T extends Candidate>(members: readonly T[], avoid: readonly T[] | null): T | null {
    const first = this.#draw(members, avoid, null);
    if (first === null) return null;
    const second = this.#draw(members, avoid, first);
    if (second === null) return first;
    return second.transport.inFlight / second.weight < first.transport.inFlight / first.weight ? second : first;
  }

  #draw<T extends Candidate>(members: readonly T[], avoid: readonly T[] | null, except: T | null): T | null {
    let total = 0;
    for (const member of members) if (member !== except && isOpen(member, avoid)) total += member.weight;
    if (total === 0) return null;
    let left = this.#random() * total;
    let last: T | null = null;
    for (const member of members) {
      if (member === except || !isOpen(member, avoid)) continue;
      last = member;
      left -= member.weight;
      if (left < 0) break;
    }
    return last;
  }
}

/** It takes a request now, and has not failed this one. */
export function isOpen<T extends Candidate>(member: T, avoid: readonly T[] | null): boolean {
  return (avoid === null || !avoid.includes(member)) && member.load() !== Infinity;
}
