/**
 * What a master hands to its successor: listening sockets, by descriptor, and what is to be known of each. It travels in
 * an environment variable, so that another version of the program can read it; within `version` fields are only added.
 */
import type { ListenAddress } from "./address.ts";
import type { BoundListener } from "./listener.ts";

/** A socket with the name under which the successor looks for it: the address as it was asked for. */
export interface NamedListener {
  readonly key: string;
  readonly listener: BoundListener;
}

export interface HandedSocket {
  readonly key: string;
  readonly fd: number;
  /** As bound: the real port, the absolute path. */
  readonly address: ListenAddress;
  readonly backlog: number;
  /** Of a unix socket's path, by which it is known as this one. */
  readonly inode?: number | undefined;
}

export interface Handover {
  readonly version: 1;
  readonly pid: number;
  readonly sockets: readonly HandedSocket[];
}

/** Standard streams are before the sockets, and the channel. */
export const FIRST_HANDED_FD = 4;
export const HANDOVER_VARIABLE = "PORTICO_HANDOVER";

/** Successor to predecessor, over the channel between them. */
export type FromSuccessor =
  | { readonly portico: "successor"; readonly state: "ready" | "leaving" }
  | { readonly portico: "successor"; readonly state: "failed"; readonly message: string; readonly exitCode: number };

/** Predecessor to successor: a connection that it cannot serve any more comes with it. */
export interface ToSuccessor {
  readonly portico: "predecessor";
  readonly message: unknown;
}

export function describeHandover(listeners: readonly NamedListener[]): Handover {
  return {
    version: 1,
    pid: process.pid,
    sockets: listeners.map(({ key, listener }, index) => ({
      key,
      fd: FIRST_HANDED_FD + index,
      address: listener.address,
      backlog: listener.backlog,
      inode: listener.inode,
    })),
  };
}

/** Undefined: there is none, or it cannot be read. */
export function readHandover(text: string | undefined): Handover | undefined {
  if (text === undefined) return undefined;
  try {
    const handover = JSON.parse(text) as Handover;
    return handover.version === 1 && Array.isArray(handover.sockets) ? handover : undefined;
  } catch {
    return undefined;
  }
}
