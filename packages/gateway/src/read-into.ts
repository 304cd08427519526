import { Socket, type SocketConstructorOpts } from "node:net";

/**
 * Reads into memory of ours, for sockets that exist already.
 *
 * Node gives every read of a socket a buffer of its own: 64 KiB allocated, shrunk, wrapped and collected, which costs
 * a small message more than reading it. `onread` avoids that, but Node offers it only where a socket is made, not for
 * one that a server accepted or another process passed on. So the handle is given to a new socket that has it. Where
 * Node's internals are not as they are known to be, the socket is left as it is.
 */

/** What libuv asks for, so that a read of ours is as large as one of Node's, bytes. */
export const READ_BYTES = 65_536;

/** As `onread` of `net.Socket`: where to read, and who takes the first `length` bytes of it. */
export interface ReadInto {
  readonly buffer: Buffer | (() => Buffer);
  /** False stops reading until `resume`. */
  readonly callback: (length: number) => boolean;
}

/** The parts of a socket that Node does not document. */
interface Internals {
  _handle: { useUserBuffer?: unknown; readStop?: unknown } | null;
  _server: unknown;
  server: unknown;
}

/**
 * Makes a socket that reads into `target` out of one that Node made without. From here on only the new one is used:
 * the old one has no connection any more. Undefined, and nothing is changed, where that cannot be
 * done: the socket is not a plain one, or was read from. Call it before anything was read, at the latest in the turn
 * in which the socket came.
 */
export function readInto(socket: Socket, target: ReadInto): Socket | undefined {
  const inner = socket as unknown as Internals;
  const handle = inner._handle;
  if (!canMove(socket, handle)) return undefined;
  inner._handle = null;
  const options = { handle, allowHalfOpen: socket.allowHalfOpen, onread: target };
  const made = new Socket(options as unknown as SocketConstructorOpts);
  // The server counts its connections by what their sockets say when they close.
  const outer = made as unknown as Internals;
  outer._server = inner._server;
  outer.server = inner.server;
  inner._server = null;
  return made;
}

function canMove(socket: Socket, handle: Internals["_handle"]): boolean {
  return (
    socket.constructor === Socket &&
    typeof handle?.useUserBuffer === "function" &&
    typeof handle.readStop === "function" &&
    "_server" in socket &&
    !socket.connecting &&
    socket.bytesRead === 0 &&
    socket.listenerCount("data") === 0
  );
}
