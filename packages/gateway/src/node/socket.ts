import { EventEmitter } from "node:events";
import type { Server } from "node:http";
import type { Exchange } from "../exchange.ts";
import { NodeStreamError, type InternalRequest, type InternalResponse } from "./internals.ts";
import { peerCertificate, type PeerCertificate } from "./peer-certificate.ts";

/** Buffered bytes at which `write` asks for a pause: what `net.Socket` has. */
export const HIGH_WATER_MARK: number = 64 * 1024;

/**
 * `req.socket` and `res.socket` of one exchange: as much of a `net.Socket` as handlers, middleware and Node's own
 * messages look at. There is no connection behind it that would be its own: `remoteAddress` is the client's, as the
 * trusted front told it, and bytes can only be sent through the response. One per exchange, so it closes with it.
 *
 * Abstract: what `pause`, `resume`, `uncork` and `destroy` do is given by the exchange's run (`run.ts`).
 */
export abstract class ExchangeSocket extends EventEmitter {
  readonly exchange: Exchange;
  readonly server: Server | undefined;
  request: InternalRequest | undefined = undefined;
  response: InternalResponse | undefined = undefined;

  // Fields that Node's messages and well-known middleware read or assign. Their names are Node's.
  _httpMessage: InternalResponse | null = null;
  _paused = false;
  _hadError = false;
  parser: null = null;
  destroyed = false;
  errored: Error | null = null;
  connecting = false;
  allowHalfOpen = true;
  timeout = 0;
  bytesRead = 0;
  bytesWritten = 0;

  /** How many `cork` calls are not matched by an `uncork`. */
  protected corkDepth = 0;
  /** True once `response.end` has said that nothing follows what it is about to hand over. */
  protected ending = false;
  /** Bytes taken from the response that the transport has not. */
  protected unsent = 0;
  #timer: NodeJS.Timeout | undefined = undefined;

  constructor(exchange: Exchange, server: Server | undefined) {
    super();
    this.exchange = exchange;
    this.server = server;
  }

  abstract pause(): this;
  abstract resume(): this;
  abstract uncork(): void;
  abstract destroy(error?: Error): this;

  // --- who is there ---

  get remoteAddress(): string {
    return this.exchange.facts.client.address;
  }
  get remotePort(): number {
    return this.exchange.facts.client.port;
  }
  get remoteFamily(): string {
    return addressFamily(this.exchange.facts.client.address);
  }
  get localAddress(): string {
    return this.exchange.facts.local.address;
  }
  get localPort(): number {
    return this.exchange.facts.local.port;
  }
  get localFamily(): string {
    return addressFamily(this.exchange.facts.local.address);
  }
  address(): { address: string; family: string; port: number } {
    return { address: this.localAddress, family: this.localFamily, port: this.localPort };
  }

  // --- TLS, which the front terminated ---

  get encrypted(): true | undefined {
    return this.exchange.head.scheme === "https" ? true : undefined;
  }
  get authorized(): boolean | undefined {
    return this.encrypted && this.exchange.facts.tls?.clientCertificate !== undefined;
  }
  get servername(): string | undefined {
    return this.exchange.facts.tls?.serverName;
  }
  get alpnProtocol(): string | false | undefined {
    return this.encrypted && (this.exchange.facts.tls?.alpn ?? false);
  }
  getPeerCertificate(detailed?: boolean): PeerCertificate {
    return peerCertificate(this.exchange.facts.tls?.clientCertificate, detailed === true);
  }
  getCipher(): { name: string; standardName: string; version: string } | undefined {
    const tls = this.exchange.facts.tls;
    return tls && { name: tls.cipher, standardName: tls.cipher, version: tls.protocol };
  }
  getProtocol(): string | null {
    return this.exchange.facts.tls?.protocol ?? null;
  }

  // --- stream-like state ---

  get readable(): boolean {
    return !this.destroyed;
  }
  get writable(): boolean {
    return !this.destroyed;
  }
  get closed(): boolean {
    return this.destroyed;
  }
  get pending(): boolean {
    return false;
  }
  get readyState(): string {
    return this.destroyed ? "closed" : "open";
  }
  get readableHighWaterMark(): number {
    return HIGH_WATER_MARK;
  }
  get writableHighWaterMark(): number {
    return HIGH_WATER_MARK;
  }
  get writableLength(): number {
    return this.unsent;
  }
  get writableCorked(): number {
    return this.corkDepth;
  }
  get writableEnded(): boolean {
    return false;
  }
  get writableFinished(): boolean {
    return false;
  }

  /** Node's messages reach through here for `corked`, `errored` and `needDrain`; they stand on the socket itself. */
  get _writableState(): this {
    return this;
  }
  get corked(): number {
    return this.corkDepth;
  }
  /** Assigned in one place, `OutgoingMessage.end`, right before it uncorks for good: this is how the end is known. */
  set corked(depth: number) {
    this.corkDepth = depth;
    this.ending = true;
  }
  get needDrain(): boolean {
    return false;
  }

  cork(): void {
    this.corkDepth++;
  }

  // --- settings of a connection that is the transport's: accepted, without effect ---

  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  setEncoding(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }

  /** Calls `timeout` listeners after so many milliseconds without a byte either way; 0 turns it off. */
  setTimeout(milliseconds: number, listener?: () => void): this {
    this.timeout = milliseconds;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (milliseconds > 0 && !this.destroyed && !this.exchange.ended) {
      this.#timer = setTimeout(() => this.#timedOut(), milliseconds).unref();
      if (listener) {
        this.once("timeout", listener);
      }
    } else if (listener) {
      this.removeListener("timeout", listener);
    }
    return this;
  }

  /** A byte passed: the time runs anew. */
  protected touch(): void {
    this.#timer?.refresh();
  }

  protected stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #timedOut(): void {
    const heard = this.emit("timeout");
    const { request, response } = this;
    const requestHeard = request !== undefined && !request.complete && request.emit("timeout", this);
    const responseHeard = this._httpMessage !== null && response !== undefined && response.emit("timeout", this);
    const serverHeard = this.server?.emit("timeout", this) ?? false;
    if (!heard && !requestHeard && !responseHeard && !serverHeard) {
      this.destroy();
    }
  }

  // --- raw bytes past the response: there is nowhere to put them ---

  write(_data?: unknown, encoding?: unknown, callback?: unknown): boolean {
    const done = typeof encoding === "function" ? encoding : callback;
    const error = new NodeStreamError(
      "ERR_STREAM_UNABLE_TO_PIPE",
      "Bytes cannot be written past the response: the connection belongs to the transport.",
    );
    if (typeof done === "function") {
      process.nextTick(done, error);
    }
    this.destroy(error);
    return false;
  }

  end(data?: unknown): this {
    if (data !== undefined && data !== null && typeof data !== "function") {
      this.write(data);
    } else {
      this.destroySoon();
    }
    return this;
  }

  /** The response under way is completed first; then there is nothing left to destroy. */
  destroySoon(): void {
    if (!this.ending) {
      this.destroy();
    }
  }

  resetAndDestroy(): this {
    return this.destroy();
  }
}

/** `IPv4` or `IPv6`, as `net.Socket#remoteFamily` has it. */
export function addressFamily(address: string): string {
  return address.includes(":") ? "IPv6" : "IPv4";
}
