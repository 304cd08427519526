import type { Socket } from "node:net";
import { READ_BYTES, readInto } from "@portico/gateway/read-into";

/**
 * One read buffer for all sockets of a thread, instead of one for every read. Where Node's internals are not as they
 * are known to be, sockets are read in the ordinary way.
 */

let buffer: Buffer | undefined;

/** Takes bytes that are overwritten by the next read of any socket: `length` bytes from the beginning of `bytes`. */
export type TakeBorrowed = (bytes: Buffer, length: number) => void;

/**
 * Starts reading an accepted socket. Returns the socket to use from here on: another one than was given, unless its
 * reads cannot be shared. Must be called before anything was read, at the latest in the turn of its `connection` event.
 */
export function shareReads(accepted: Socket, take: TakeBorrowed): Socket {
  const shared = (buffer ??= Buffer.allocUnsafeSlow(READ_BYTES));
  const socket = readInto(accepted, {
    buffer: shared,
    callback(length) {
      take(shared, length);
      return true;
    },
  });
  if (socket !== undefined) return socket;
  accepted.on("data", (chunk: Buffer) => take(chunk, chunk.length));
  return accepted;
}
