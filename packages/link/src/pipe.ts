/** Two sessions joined in memory, for tests: the caller decides when bytes, room and time pass. */

import type { ExchangeHandler } from "@portico/gateway/exchange";
import { type ClientOptions, ClientSession } from "./client.ts";
import type { LinkSink } from "./outbox.ts";
import { ServerSession, type ServerOptions } from "./server.ts";

/** A sink that keeps copies of what it is given. */
export class MemorySink implements LinkSink {
  /** Bytes written and not delivered yet. */
  bytes: Buffer = Buffer.alloc(0);
  scheduled = false;
  ended = false;
  /** Answer `write` with "kept", as a socket does whose peer reads slowly. */
  slow = false;
  /** A write is kept: `writable` is due. */
  kept = false;
  #lent: Uint8Array[] = [];

  write(bytes: Uint8Array): boolean {
    if (this.ended) throw new TypeError("a write after the end");
    // What is kept goes first: a socket keeps the order.
    if (!this.slow && !this.kept) {
      this.bytes = Buffer.concat([this.bytes, bytes]);
      return true;
    }
    this.kept = true;
    // Not copied: a session that wrote to a buffer it lent would be found out.
    this.#lent.push(bytes);
    return false;
  }

  schedule(): void {
    this.scheduled = true;
  }

  /** Takes what was lent; the session may be told `writable` now. */
  release(): void {
    this.bytes = Buffer.concat([this.bytes, ...this.#lent]);
    this.#lent = [];
    this.kept = false;
  }

  end(): void {
    this.ended = true;
  }

  destroy(): void {
    this.ended = true;
  }

  /** Up to `limit` bytes, for the other end. */
  take(limit: number = this.bytes.length): Buffer {
    const taken = Buffer.from(this.bytes.subarray(0, limit));
    this.bytes = this.bytes.subarray(taken.length);
    return taken;
  }
}

export class Pipe {
  readonly clientSink: MemorySink = new MemorySink();
  readonly serverSink: MemorySink = new MemorySink();
  readonly client: ClientSession;
  readonly server: ServerSession;
  now = 1_000_000;

  constructor(handler: ExchangeHandler, client: Partial<ClientOptions> = {}, server: Partial<ServerOptions> = {}) {
    const now = (): number => this.now;
    this.client = new ClientSession(this.clientSink, { now, ...client });
    const worker = { id: 1, generation: 1, count: 1, concurrency: 8 };
    this.server = new ServerSession(this.serverSink, handler, { now, worker, ...server });
    this.client.start();
    this.server.start();
  }

  /** Ends a turn of the event loop at one end. */
  turn(end: "client" | "server"): void {
    const sink = end === "client" ? this.clientSink : this.serverSink;
    const session = end === "client" ? this.client : this.server;
    if (sink.kept) {
      sink.release();
      session.writable();
    }
    if (!sink.scheduled) return;
    sink.scheduled = false;
    session.flush();
  }

  /** Brings up to `limit` bytes to one end. */
  deliver(to: "client" | "server", limit?: number): number {
    const bytes = (to === "client" ? this.serverSink : this.clientSink).take(limit);
    if (bytes.length > 0) (to === "client" ? this.client : this.server).receive(bytes);
    return bytes.length;
  }

  /** Turns and deliveries until nothing moves. */
  settle(): void {
    for (let rounds = 0; rounds < 100_000; rounds++) {
      this.turn("client");
      this.turn("server");
      if (this.deliver("server") + this.deliver("client") > 0) continue;
      if (this.clientSink.kept || this.serverSink.kept || this.clientSink.scheduled || this.serverSink.scheduled)
        continue;
      return;
    }
    throw new RangeError("the link does not come to rest");
  }
}
