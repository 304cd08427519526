/** One server of an upstream: its transport, its weight, its health. */
import type { ServerSettings } from "../config/schema.ts";
import type { Candidate } from "./balance.ts";
import { hashText } from "./hash.ts";
import { PassiveHealth } from "./passive.ts";
import type { Count } from "./zone.ts";
import type { ServerTransport } from "./transport.ts";

/** What a member is: a configured server at one of the addresses its name resolved to. */
export interface MemberIdentity {
  /** All that its transport is made from. The same key is the same connections, over reloads too. */
  readonly key: string;
  /** What the log calls it; the same over reloads, restarts and threads. */
  readonly address: string;
}

/** A slow start begins with this part of the weight. */
const FIRST_PART = 0.1;

export class Member implements Candidate, MemberIdentity {
  readonly key: string;
  readonly address: string;
  readonly transport: ServerTransport;
  readonly seed: number;
  /** As configured, or as set since. */
  server: ServerSettings;
  /** Its own weight, its record's included. */
  fullWeight = 1;
  weight = 1;
  backup = false;
  draining = false;
  turn = 0;
  meanMs = 0;
  measuredAt = 0;
  readonly passive = new PassiveHealth();
  /** What health checks say. */
  healthy = true;
  /** Requests under way in all threads; null: not limited. */
  count: Count | null = null;
  limit = Infinity;
  /** Monotonic milliseconds at which its slow start began; 0: none. */
  startedAt = 0;

  constructor(identity: MemberIdentity, server: ServerSettings, transport: ServerTransport) {
    this.key = identity.key;
    this.address = identity.address;
    this.seed = hashText(identity.address);
    this.server = server;
    this.transport = transport;
  }

  /** HOT. */
  load(): number {
    if (this.count !== null && this.count.value >= this.limit) return Infinity;
    return this.transport.load();
  }

  /** Health checks and requests have found nothing against it. */
  get up(): boolean {
    return this.healthy && !this.passive.out;
  }

  /** Sets the weight of this moment. True while it still grows. */
  grow(now: number, slowStartMs: number): boolean {
    const part = this.startedAt === 0 ? 1 : (now - this.startedAt) / slowStartMs;
    if (!(part < 1)) {
      this.startedAt = 0;
      this.weight = this.fullWeight;
      return false;
    }
    this.weight = this.fullWeight * Math.max(FIRST_PART, part);
    return true;
  }
}
