/**
 * The transport to an HTTP/1.1 server, over TCP, TLS or a unix socket: a pool of connections, the last used first, so
 * that those that are not needed grow old and go. One request at a time on each: a response that is late or hostile
 * holds up and touches nobody else's.
 */
import type { ConnectionOptions } from "node:tls";
import { Http1Error, requestHead, type OutgoingRequest } from "@portico/http1";
import type { ServerAddress } from "./address.ts";
import { HttpTransport, type HttpTransportOptions } from "./http.ts";
import { HttpConnection, type ConnectionHome, type Target } from "./http-connection.ts";
import { HttpStream } from "./http-stream.ts";
import type { TransportEvents, UpstreamObserver, UpstreamRequest, UpstreamStream } from "./transport.ts";
import type { Wheel } from "./wheel.ts";

/** Idle connections kept for one server: what a burst leaves behind beyond that is closed at once. */
const MOST_IDLE = 1024;

export interface HttpClientOptions extends HttpTransportOptions {
  /** An observer threw: a fault of ours, its stream was reset. */
  readonly onError?: ((error: unknown) => void) | undefined;
  /** Over TLS. */
  readonly secure?: ConnectionOptions | undefined;
}

export class HttpClient extends HttpTransport implements ConnectionHome {
  readonly wheel: Wheel;
  readonly connectTimeout: number;
  readonly keepAlive: number;
  readonly #target: Target;
  readonly #onError: ((error: unknown) => void) | undefined;
  /** The last used at the end. */
  readonly #idle: HttpConnection[] = [];
  readonly #connections = new Set<HttpConnection>();

  /** `host` is the address to connect to: what the name in `address` resolved to. */
  constructor(address: ServerAddress, host: string, options: HttpClientOptions, wheel: Wheel, events: TransportEvents) {
    super(events);
    this.wheel = wheel;
    this.connectTimeout = options.connectTimeout;
    this.keepAlive = options.keepAlive;
    this.#onError = options.onError;
    const secure = options.secure === undefined ? undefined : { options: options.secure, session: undefined };
    this.#target = { ...(address.path === undefined ? { host, port: address.port } : { path: address.path }), secure };
  }

  /** HOT. */
  open(
    request: UpstreamRequest,
    body: Uint8Array | null,
    complete: boolean,
    observer: UpstreamObserver,
  ): UpstreamStream {
    const { method, bodyLength } = request;
    // Node's own servers are the only ones of note that read it; over HTTP it stays refused.
    if (request.target === "*") throw new Http1Error("misuse-request-line");
    if (complete && bodyLength !== (body === null ? 0 : body.length)) throw new Http1Error("misuse-content-length");
    const head = requestHead(request as OutgoingRequest);
    const connection = this.#take();
    const upgrade = request.upgrade !== undefined;
    const stream = new HttpStream(connection, observer, method, upgrade, complete ? 0 : bodyLength);
    this.started();
    connection.begin(stream, head, body);
    return stream;
  }

  #take(): HttpConnection {
    for (let last = this.#idle.pop(); last !== undefined; last = this.#idle.pop()) {
      if (last.take()) return last;
      last.destroy();
    }
    const connection = new HttpConnection(this, this.#target);
    this.#connections.add(connection);
    return connection;
  }

  // --- the connections' events ---------------------------------------------------------------------------------

  connected(): void {
    this.events.onConnected();
  }

  connectFailed(reason: string, timedOut: boolean): void {
    if (!this.closing) this.events.onConnectFailed(reason, timedOut);
  }

  park(connection: HttpConnection): boolean {
    if (this.closing || this.#idle.length >= MOST_IDLE) return false;
    this.#idle.push(connection);
    return true;
  }

  fault(error: unknown): void {
    this.#onError?.(error);
  }

  /** A server that restarts closes all; a retry must not meet the next of them. */
  stale(): void {
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }

  gone(connection: HttpConnection): void {
    this.#connections.delete(connection);
    const at = this.#idle.lastIndexOf(connection);
    if (at !== -1) this.#idle.splice(at, 1);
  }

  suspect(): void {
    for (const connection of this.#connections) connection.suspect();
  }

  protected disconnect(): void {
    this.stale();
    for (const connection of this.#connections) connection.cut();
  }
}
