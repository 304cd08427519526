/** The policy that a configuration asks for. */
import type { UpstreamSettings } from "../config/schema.ts";
import { LeastConnections, LeastTime, type Policy, RandomTwo, RoundRobin } from "./balance.ts";
import { HashPolicy } from "./hash.ts";
import { compileKey } from "./key.ts";

export interface PolicySources {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** From 0 up to 1; Math.random unless given. */
  readonly random?: () => number;
}

type PolicySettings = Pick<UpstreamSettings, "balance" | "hash">;

const POLICIES: Record<UpstreamSettings["balance"], (settings: PolicySettings, sources: PolicySources) => Policy> = {
  "least-connections": () => new LeastConnections(),
  "round-robin": () => new RoundRobin(),
  "least-time": (_settings, { now }) => new LeastTime(now),
  "random-two": (_settings, { random }) => new RandomTwo(random ?? Math.random),
  "ip-hash": () => new HashPolicy(compileKey("client"), 0),
  hash: ({ hash }) => new HashPolicy(compileKey(hash.key), hash.maxLoad),
};

export function createPolicy(settings: PolicySettings, sources: PolicySources): Policy {
  return POLICIES[settings.balance](settings, sources);
}
