/**
 * A listening socket in a thread: what accepts, and the connections that came in by it.
 *
 * With `proxyProtocol`, a connection of a trusted peer begins with a PROXY header, which says who the client is; it is
 * read before the HTTP engine gets the connection. From then on the peer is who the header names: whether *that* one's
 * X-Forwarded-For is believed is a question of its own.
 */
import { Buffer } from "node:buffer";
import net from "node:net";
import { type ConnectionFacts, MALFORMED, MORE, type ProxyHeader, readProxyHeader } from "@portico/http1";
import type { HttpListener } from "@portico/http1/socket";
import { socketFacts } from "@portico/http1/socket";
import { compileTrust } from "../config/trust.ts";
import type { ListenSettings } from "../config/schema.ts";
import type { ThreadListener } from "./messages.ts";

// A removed listener's WebSockets may live on for as long as they like: the longest that a timer can wait, 24 days.
const NO_HURRY_MS = 2 ** 31 - 1;

interface Gate {
  readonly trusted: (peer: string) => boolean;
  readonly timeoutMs: number;
}

export interface DoorOwner {
  /** A connection was accepted; false: there are too many, and it must be closed. Each true is followed by one `left`. */
  entered(): boolean;
  left(): void;
  /** Accepting failed, or a header could not be read. */
  note(level: "info" | "error", fields: object, message: string): void;
}

export class Door {
  readonly key: string;
  readonly url: string;
  readonly http: HttpListener;
  readonly #owner: DoorOwner;
  #server: net.Server | undefined;
  #gate: Gate | undefined;

  constructor(listener: ThreadListener, http: HttpListener, owner: DoorOwner) {
    this.key = listener.key;
    this.url = listener.url;
    this.http = http;
    this.#owner = owner;
  }

  /** Takes the settings of a configuration in force. */
  configure(settings: ListenSettings): void {
    const { proxyProtocol } = settings;
    this.#gate =
      proxyProtocol === undefined
        ? undefined
        : { trusted: compileTrust(proxyProtocol.trusted), timeoutMs: proxyProtocol.timeout };
  }

  /**
   * Listens on a descriptor, which is the door's from here on. A second one of the same socket takes the place of the
   * first, with its own backlog; no connection is lost meanwhile.
   *
   * @throws the system's error
   */
  async open(fd: number, backlog: number): Promise<void> {
    const before = this.#server;
    const server = net.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: false }, (socket) =>
      this.#accept(socket),
    );
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen({ fd, backlog }, resolve);
    await promise;
    server.off("error", reject);
    server.on("error", (error) => this.#owner.note("error", { err: error }, "accepting connections failed"));
    this.#server = server;
    before?.close();
  }

  #accept(socket: net.Socket): void {
    if (!this.#owner.entered()) {
      socket.destroy();
      return;
    }
    const gate = this.#gate;
    if (gate === undefined || !gate.trusted(socketFacts(socket).peer.address)) this.#attach(socket);
    else this.#readHeader(socket, gate.timeoutMs);
  }

  #attach(socket: net.Socket, facts?: ConnectionFacts, received?: Uint8Array): void {
    this.http.attach(socket, facts, received).once("close", () => this.#owner.left());
  }

  #readHeader(socket: net.Socket, timeoutMs: number): void {
    let bytes: Buffer = Buffer.alloc(0);
    const close = (reason: string): void => {
      this.#owner.note("info", { peer: socket.remoteAddress, reason }, "no PROXY header");
      socket.destroy();
    };
    const timer = setTimeout(close, timeoutMs, "timeout");
    const left = (): void => {
      clearTimeout(timer);
      this.#owner.left();
    };
    const take = (chunk: Buffer): void => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const header = readProxyHeader(bytes);
      if (header === MORE) return;
      if (header === MALFORMED) {
        close("malformed");
        return;
      }
      clearTimeout(timer);
      socket.off("data", take).off("close", left).off("error", ignore).off("end", ended);
      this.#attach(socket, factsOf(header, socketFacts(socket)), bytes.subarray(header.length));
    };
    const ended = (): void => void socket.destroy();
    socket.on("data", take).on("close", left).on("error", ignore).on("end", ended);
  }

  /** Accepts no more; what is under way ends by itself. */
  close(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  /** Accepts no more; idle connections are closed, others when they have finished. Resolves when none is left. */
  async leave(): Promise<void> {
    this.close();
    await this.http.drain(NO_HURRY_MS);
  }
}

function ignore(): void {}

/** What a header says, where it says something. */
function factsOf({ source, destination }: ProxyHeader, facts: ConnectionFacts): ConnectionFacts {
  if (source === undefined || destination === undefined) return facts;
  return { ...facts, peer: source, local: destination, client: { ...source, vouchedBy: "proxy-protocol" } };
}
