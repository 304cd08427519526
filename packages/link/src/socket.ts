/**
 * A link on a `net.Socket` (TCP, unix, or TLS): the only I/O of the package.
 *
 * Frames of one turn of the event loop leave in one write, and what a link reads it reads into one buffer of its own
 * (figures against other schemes: docs/adr/0003-link-encoding.md).
 */

import { randomBytes } from "node:crypto";
import { type NetConnectOpts, type Socket, connect } from "node:net";
import { plainAddress } from "@portico/gateway/address";
import { READ_BYTES, type ReadInto, readInto } from "@portico/gateway/read-into";
import type { Endpoint, ExchangeHandler } from "@portico/gateway/exchange";
import { type ClientOptions, ClientSession } from "./client.ts";
import type { LinkError } from "./error.ts";
import type { LinkSink } from "./outbox.ts";
import { ServerSession, type ServerOptions } from "./server.ts";

/** How often a link looks at the clock, ms: coarse enough to cost nothing, fine against timeouts of seconds. */
const TICK_MS = 1_000;
/** How long a closing link may take to hand its last bytes to a peer that does not read, ms. */
const LINGER_MS = 2_000;

/** Turns in a row with a single stream after which a frame is taken to be alone in its turn, too: then it does not wait for company, which costs a round of the event loop. */
const LONELY_TURNS = 8;

type Optional<T, Keys extends keyof T> = Omit<T, Keys> & Partial<Pick<T, Keys>>;

/** Session options; clock and randomness are the process's own unless given. */
export type ClientLinkOptions = Optional<ClientOptions, "now">;
export type ServerLinkOptions = Optional<ServerOptions, "now">;

/** The common part of both sessions, as the socket sees it. */
interface Session {
  readonly isClosed: boolean;
  start(): void;
  readonly inFlight: number;
  receive(chunk: Uint8Array, size?: number): boolean;
  receiveEnd(): void;
  closed(cause?: unknown): void;
  writable(): void;
  flush(): void;
  tick(now: number): void;
}

/** Sends one session's bytes to one socket, and the socket's events to the session. */
class SocketSink implements LinkSink, ReadInto {
  #socket: Socket | undefined;
  #session: Session | undefined;
  /** The socket keeps a buffer of ours. */
  #kept = false;
  /** Where the socket reads to. Another one takes its place when parts of it were given away. */
  #memory: Buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  /** Bytes are being received: what is gathered meanwhile leaves behind them. */
  #reading = false;
  #dueAfterRead = false;
  /** Turns in a row in which no more than one stream was in flight. */
  #lonely = 0;
  readonly #flush = (): void => {
    const session = this.#session;
    if (session === undefined) return;
    this.#lonely = session.inFlight <= 1 ? this.#lonely + 1 : 0;
    session.flush();
  };
  // The `drain` event would come only after the socket's own high-water mark: too late, the session waits from the first byte.
  readonly #written = (): void => {
    if (!this.#kept || this.#socket!.writableLength > 0) return;
    this.#kept = false;
    this.#session?.writable();
  };

  /** For `onread`: where the next bytes go. */
  readonly buffer = (): Buffer => this.#memory;
  /** For `onread`: so many bytes came. */
  readonly callback = (length: number): boolean => {
    if (this.#receive(this.#memory, length)) this.#memory = Buffer.allocUnsafeSlow(READ_BYTES);
    return true;
  };

  #receive(bytes: Buffer, length: number): boolean {
    this.#reading = true;
    const gave = this.#session!.receive(bytes, length);
    this.#reading = false;
    if (this.#dueAfterRead) {
      this.#dueAfterRead = false;
      this.#flush();
    }
    return gave;
  }

  write(bytes: Uint8Array): boolean {
    const socket = this.#socket!;
    socket.write(bytes, this.#written);
    // Nothing left behind: the system has a copy, and the buffer is free.
    this.#kept = socket.writableLength > 0;
    return !this.#kept;
  }

  writeAll(pieces: readonly Uint8Array[]): boolean {
    const socket = this.#socket!;
    socket.cork();
    for (const piece of pieces) socket.write(piece, this.#written);
    socket.uncork();
    this.#kept = socket.writableLength > 0;
    return !this.#kept;
  }

  schedule(): void {
    if (this.#reading) {
      this.#dueAfterRead = true;
      return;
    }
    if (this.#lonely >= LONELY_TURNS && this.#session!.inFlight <= 1) process.nextTick(this.#flush);
    else setImmediate(this.#flush);
  }

  end(): void {
    const socket = this.#socket!;
    socket.end();
    setTimeout(() => socket.destroy(), LINGER_MS).unref();
  }

  destroy(): void {
    this.#socket!.destroy();
  }

  /** `reads`: the socket gives what it reads to {@link SocketSink.callback}. */
  attach(socket: Socket, reads: boolean, session: Session, now: () => number): void {
    this.#session = session;
    this.#socket = socket;
    if (typeof socket.setNoDelay === "function") socket.setNoDelay(true);
    const clock = setInterval(() => session.tick(now()), TICK_MS);
    clock.unref();
    let failure: unknown;
    if (!reads) socket.on("data", (chunk: Buffer) => this.#receive(chunk, chunk.length));
    socket.on("end", () => {
      session.receiveEnd();
      socket.end();
    });
    socket.on("error", (error) => {
      failure = error;
    });
    socket.on("close", () => {
      clearInterval(clock);
      session.closed(failure);
    });
    // A socket that another process passed on may come paused.
    socket.resume();
    session.start();
    // HELLO leaves at once: nothing can be gathered with it.
    session.flush();
  }
}

/** Connects, and speaks the proxy's end. */
export function dialLink(
  target: NetConnectOpts,
  options: ClientLinkOptions,
): { readonly session: ClientSession; readonly socket: Socket } {
  const sink = new SocketSink();
  const socket = connect({ ...target, onread: sink });
  return { session: clientOn(socket, sink, true, options), socket };
}

/** Speaks the proxy's end on a socket that is connected or connecting. */
export function connectLink(socket: Socket, options: ClientLinkOptions): ClientSession {
  return clientOn(socket, new SocketSink(), false, options);
}

function clientOn(socket: Socket, sink: SocketSink, reads: boolean, options: ClientLinkOptions): ClientSession {
  const now = options.now ?? Date.now;
  const session = new ClientSession(sink, { random: randomBytes, ...options, now });
  sink.attach(socket, reads, session, now);
  return session;
}

/** Speaks the worker's end on an accepted socket that nothing was read from. The socket can be destroyed and says when it is closed; its bytes go past it. */
export function acceptLink(accepted: Socket, handler: ExchangeHandler, options: ServerLinkOptions): ServerSession {
  const now = options.now ?? Date.now;
  const sink = new SocketSink();
  const peer = endpoint(accepted.remoteAddress, accepted.remotePort);
  const local = endpoint(accepted.localAddress, accepted.localPort);
  const moved = readInto(accepted, sink);
  const session = new ServerSession(sink, handler, { random: randomBytes, peer, local, ...options, now });
  if (moved === undefined) sink.attach(accepted, false, session, now);
  else {
    standFor(moved, accepted);
    sink.attach(moved, true, session, now);
  }
  return session;
}

/** Whoever holds the accepted socket can still destroy it, and hears when it is closed (so does Node, which counts those that a process passed on). */
function standFor(moved: Socket, accepted: Socket): void {
  moved.once("close", () => accepted.destroy());
  accepted.once("close", () => moved.destroy());
}

/** Drains a worker's link: resolves when it is closed, at the latest after `graceMs`, when what is left is cut off. */
export function drainLink(session: ServerSession | ClientSession, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    if (session.isClosed) {
      resolve();
      return;
    }
    const timer = setTimeout(() => session.close("shutdown", "the time to drain is over"), graceMs);
    session.whenClosed((_error: LinkError | undefined) => {
      clearTimeout(timer);
      resolve();
    });
    session.drain();
  });
}

/** An IPv4 address is written as one, on sockets for both families too. */
function endpoint(address: string | undefined, port: number | undefined): Endpoint {
  return { address: plainAddress(address ?? ""), port: port ?? 0 };
}
