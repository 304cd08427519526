/** What an upstream looks like from outside, for `status`. */
import type { Member } from "./member.ts";
import type { Roster } from "./roster.ts";

export type ServerState =
  /* takes requests */
  | "up"
  /* has as many as it takes */
  | "busy"
  /* cannot be connected to */
  | "down"
  /* left alone after failures */
  | "ejected"
  /* health checks say that it is not well */
  | "unhealthy"
  /* finishes what it has */
  | "draining";

export interface ServerStatus {
  readonly address: string;
  readonly state: ServerState;
  /** Of this moment, during a slow start too. */
  readonly weight: number;
  readonly backup: boolean;
  /** Requests under way in this thread. */
  readonly inFlight: number;
}

export interface UpstreamStatus {
  readonly name: string;
  /** Requests that wait in this thread. */
  readonly queued: number;
  /** Too few servers are up, so requests go to all. */
  readonly panic: boolean;
  readonly servers: readonly ServerStatus[];
}

export function describeUpstream(
  name: string,
  queued: number,
  roster: Roster,
  members: readonly Member[],
): UpstreamStatus {
  return {
    name,
    queued,
    panic: roster.panic,
    servers: members.map((member) => ({
      address: member.address,
      state: stateOf(member),
      weight: member.weight,
      backup: member.backup,
      inFlight: member.transport.inFlight,
    })),
  };
}

function stateOf(member: Member): ServerState {
  if (member.draining) return "draining";
  if (!member.healthy) return "unhealthy";
  if (member.passive.out) return "ejected";
  if (member.load() < Infinity) return "up";
  return member.transport.hopeful ? "busy" : "down";
}
