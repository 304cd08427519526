import type { Socket } from "node:net";
import type { ExchangeHandler } from "@portico/gateway/exchange";
import { plainAddress } from "@portico/gateway/address";
import { Clock } from "./clock.ts";
import { ServerConnection, type ServerConnectionOptions } from "./connection.ts";
import type { ConnectionFacts } from "./facts.ts";
import type { ByteSink } from "./sink.ts";
import { shareReads } from "./socket/shared-reads.ts";

/** Granularity of every timeout; a tick over 10,000 connections takes well under a millisecond. */
const TICK_MS = 1000;
/** How often a half-closed connection is looked at, so that a client that has left is noticed within 100 ms. */
const HALF_CLOSED_TICK_MS = 25;
/** While draining, so that the last idle connections go soon after their time. */
const DRAIN_TICK_MS = 100;

export interface HttpListenerOptions extends ServerConnectionOptions {
  /** Facts of a connection (PROXY protocol, TLS); by default what the socket says. */
  readonly facts?: (socket: Socket) => ConnectionFacts;
}

/**
 * Sockets to server connections: the only file of this package that knows sockets and timers. One clock and one timer
 * serve all connections of a listener.
 *
 * ```ts
 * const listener = new HttpListener(handler, {});
 * net.createServer({ allowHalfOpen: true }, (socket) => listener.attach(socket)).listen(8080);
 * ```
 */
export class HttpListener {
  private readonly handler: ExchangeHandler;
  private options: HttpListenerOptions;
  private readonly factsOf: (socket: Socket) => ConnectionFacts;
  private readonly attached = new Map<Socket, ServerConnection>();
  private timer: NodeJS.Timeout | undefined = undefined;
  private draining = false;
  private readonly whenEmpty: (() => void)[] = [];
  private requestsOfGone = 0;

  constructor(handler: ExchangeHandler, options: HttpListenerOptions = {}) {
    this.handler = handler;
    this.options = { clock: new Clock(), ...options };
    this.factsOf = options.facts ?? socketFacts;
  }

  /** Other limits, times and trust, for the connections that are open too. `facts` stays what it was. */
  configure(options: HttpListenerOptions): void {
    const { clock } = this.options;
    this.options = { ...options, ...(clock === undefined ? {} : { clock }) };
    for (const connection of this.attached.values()) connection.configure(this.options);
  }

  /** Connections that are open. */
  get connections(): number {
    return this.attached.size;
  }

  /** Requests received over all connections. */
  get requests(): number {
    let sum = this.requestsOfGone;
    for (const connection of this.attached.values()) sum += connection.requestCount;
    return sum;
  }

  /**
   * Takes over an accepted socket, from its first byte. Returns the socket that stands for the connection from here on;
   * the one that was given may be spent.
   *
   * @param facts what is known of the connection; without it, what `facts` of the options says
   * @param received bytes of it that were read before
   */
  attach(accepted: Socket, facts: ConnectionFacts = this.factsOf(accepted), received?: Uint8Array): Socket {
    // A client may close its half and still wait for the answer; without this, Node ends ours at once.
    accepted.allowHalfOpen = true;
    const socket = shareReads(accepted, (bytes, length) => connection.receiveBorrowed(bytes, length));
    socket.setNoDelay(true);
    const connection = new ServerConnection(new SocketSink(socket), this.handler, this.options, facts);
    this.attached.set(socket, connection);
    if (this.draining) connection.drain();
    socket.on("end", () => {
      connection.receiveEnd();
      if (!connection.idle) this.watchHalfClosed(socket, connection);
    });
    socket.on("drain", () => connection.writable());
    socket.on("error", ignore);
    socket.on("close", () => this.detach(socket, connection));
    if (this.timer === undefined) this.startTimer(this.draining ? DRAIN_TICK_MS : TICK_MS);
    if (received !== undefined && received.length > 0) connection.receive(received);
    return socket;
  }

  /**
   * Lets every connection finish what is under way, and resolves when all are closed; what is left after `graceMs` is
   * cut off. Connections that are still attached meanwhile get one answer, with `Connection: close`.
   */
  async drain(graceMs: number): Promise<void> {
    this.draining = true;
    for (const connection of this.attached.values()) connection.drain();
    if (this.attached.size === 0) return;
    this.startTimer(DRAIN_TICK_MS);
    const { promise, resolve } = Promise.withResolvers<void>();
    const limit = setTimeout(() => this.destroy(), graceMs);
    this.whenEmpty.push(resolve);
    await promise;
    clearTimeout(limit);
  }

  /** Cuts every connection off. */
  destroy(): void {
    for (const [socket, connection] of this.attached) {
      connection.abort("shutdown");
      socket.destroy();
    }
  }

  private detach(socket: Socket, connection: ServerConnection): void {
    if (!this.attached.delete(socket)) return;
    connection.closed();
    this.requestsOfGone += connection.requestCount;
    if (this.attached.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
    for (const resolve of this.whenEmpty.splice(0)) resolve();
  }

  private watchHalfClosed(socket: Socket, connection: ServerConnection): void {
    const timer = setInterval(() => connection.tick(performance.now()), HALF_CLOSED_TICK_MS);
    timer.unref();
    socket.once("close", () => clearInterval(timer));
  }

  private startTimer(intervalMs: number): void {
    clearInterval(this.timer);
    this.timer = setInterval(() => this.tick(), intervalMs);
    this.timer.unref();
  }

  private tick(): void {
    const now = performance.now();
    for (const connection of this.attached.values()) connection.tick(now);
  }
}

/** A socket as the engine sees it. */
class SocketSink implements ByteSink {
  private readonly socket: Socket;
  private corked = false;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  write(data: Uint8Array | string): boolean {
    return typeof data === "string" ? this.socket.write(data, "latin1") : this.socket.write(data);
  }

  pair(head: string, body: Uint8Array): boolean {
    this.socket.cork();
    this.socket.write(head, "latin1");
    const taken = this.socket.write(body);
    this.socket.uncork();
    return taken;
  }

  pending(): number | undefined {
    // What libuv holds; `writableLength` changes only when a whole write is done.
    return (this.socket as unknown as { _handle?: { writeQueueSize?: number } | null })._handle?.writeQueueSize;
  }

  gather(): void {
    if (this.corked) return;
    this.corked = true;
    this.socket.cork();
    process.nextTick(uncork, this);
  }

  /** Sends what was gathered. */
  release(): void {
    this.corked = false;
    this.socket.uncork();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }
}

function uncork(sink: SocketSink): void {
  sink.release();
}

/** Errors of a socket end in `close`, which is where they are handled. */
function ignore(): void {}

/**
 * What a plain socket says about its two ends. Unix sockets have no addresses: the peer is `unix:`. An IPv4 address is
 * written as one, on sockets for both families too.
 */
export function socketFacts(socket: Socket): ConnectionFacts {
  const peer = { address: plainAddress(socket.remoteAddress ?? "unix:"), port: socket.remotePort ?? 0 };
  const local = { address: plainAddress(socket.localAddress ?? "unix:"), port: socket.localPort ?? 0 };
  return { peer, local, client: { ...peer, vouchedBy: "socket" }, tls: undefined, scheme: "http" };
}
