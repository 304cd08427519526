import type { Server } from "node:http";
import { Duplex } from "node:stream";
import type { Exchange, ExchangeObserver } from "../exchange.ts";
import { type Callback, connectionReset, type InternalRequest } from "./internals.ts";
import { peerCertificate, type PeerCertificate } from "./peer-certificate.ts";
import { fillRequest, type RequestClass } from "./request.ts";
import { addressFamily } from "./socket.ts";
import { RawAnswer, type AnswerSink } from "./raw-answer.ts";
import type { ReportError } from "./run.ts";

/** How long a socket that was ended and then destroyed may take to hand over its last bytes. A close frame needs one turn. */
const LINGER_MS = 1000;

/** Makes what an 'upgrade' or 'connect' listener is called with. */
export function openTunnel(
  exchange: Exchange,
  Request: RequestClass,
  server: Server | undefined,
  report: ReportError | undefined,
  onEnded: (() => void) | undefined,
): { request: InternalRequest; socket: TunnelSocket } {
  const socket = new TunnelSocket(exchange, server, report, onEnded);
  exchange.observer = socket.observer;
  const request = fillRequest(new Request(socket as never), exchange, socket);
  request.upgrade = true;
  return { request, socket };
}

/**
 * The socket of an upgrade: a `Duplex` with the manners of `net.Socket`. Its owner writes a response head onto it by
 * hand, as `ws` does; that head is read back ({@link RawAnswer}) and becomes the exchange's answer. After a 101 (or a
 * 2xx to CONNECT) bytes pass both ways; any other status is an ordinary response, whose body is what follows the head.
 */
export class TunnelSocket extends Duplex {
  readonly server: Server | undefined;
  readonly observer: ExchangeObserver;
  parser: null = null;
  connecting = false;
  timeout = 0;
  bytesRead = 0;
  bytesWritten = 0;
  readonly #exchange: Exchange;
  readonly #answer: RawAnswer;
  readonly #report: ReportError | undefined;
  #timer: NodeJS.Timeout | undefined = undefined;
  #open = false;
  #wanted = false;
  #theirEnd = false;
  #ourEnd = false;
  #ended = false;
  #blocked = false;
  #written: Callback | undefined = undefined;
  #final: Callback | undefined = undefined;

  constructor(
    exchange: Exchange,
    server: Server | undefined,
    report: ReportError | undefined,
    onEnded: (() => void) | undefined,
  ) {
    super({ allowHalfOpen: true, decodeStrings: true });
    this.#exchange = exchange;
    this.server = server;
    this.#report = report;
    this.#answer = new RawAnswer(this.#sink(), exchange.head.method === "CONNECT");
    this.observer = {
      onData: (chunk) => this.#onData(chunk),
      onEnd: () => this.#onEnd(),
      onDrain: () => this.#onDrain(),
      onFinish: () => {
        this.#onFinish();
        onEnded?.();
      },
      onAbort: () => {
        this.#ended = true;
        // A socket that nobody listens to for errors must not bring the process down because its client left.
        this.destroy(this.listenerCount("error") > 0 ? connectionReset() : undefined);
        onEnded?.();
      },
    };
  }

  /** Where the answer that is written onto this socket goes. */
  #sink(): AnswerSink {
    const exchange = this.#exchange;
    return {
      inform: (status, headers) => exchange.inform(status, headers),
      upgrade: (status, headers) => {
        exchange.upgrade(status, headers);
        this.#open = true;
        if (this.#wanted) {
          exchange.resume();
        }
      },
      respond: (status, headers, body) => exchange.respond(status, headers, body),
      start: (status, headers) => exchange.start(status, headers),
      write: (chunk) => {
        this.#blocked = !exchange.write(chunk);
      },
      end: () => exchange.end(),
    };
  }

  // --- our half ---

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: Callback): void {
    if (this.#ended) {
      callback(connectionReset());
      return;
    }
    this.bytesWritten += chunk.length;
    this.#timer?.refresh();
    try {
      this.#answer.receive(chunk);
    } catch (error) {
      this.#malformed(error, callback);
      return;
    }
    if (this.#blocked) {
      this.#written = callback;
    } else {
      callback();
    }
  }

  override _writev(chunks: { chunk: Buffer; encoding: BufferEncoding }[], callback: Callback): void {
    this._write(Buffer.concat(chunks.map((one) => one.chunk)), "binary", callback);
  }

  override _final(callback: Callback): void {
    this.#ourEnd = true;
    if (this.#ended) {
      callback();
      return;
    }
    try {
      this.#answer.receiveEnd();
    } catch (error) {
      this.#malformed(error, callback);
      return;
    }
    if (this.#open || this.#ended) {
      callback();
    } else {
      this.#final = callback; // a refusal is out when the exchange has finished
    }
  }

  /** What was written is no response: the client is told 500, or sees a broken connection; the writer's stream just closes. */
  #malformed(error: unknown, callback: Callback): void {
    const exchange = this.#exchange;
    this.#report?.(error, exchange);
    if (!exchange.started && !exchange.ended) {
      exchange.respond(500, [], null);
      this.#ended = true;
    }
    callback();
    this.destroy();
  }

  #onDrain(): void {
    this.#blocked = false;
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  // --- their half ---

  override _read(): void {
    this.#wanted = true;
    if (this.#open && !this.#ended) {
      this.#exchange.resume();
    }
  }

  #onData(chunk: Uint8Array): void {
    this.bytesRead += chunk.length;
    this.#timer?.refresh();
    if (!this.destroyed && !this.push(chunk)) {
      this.#exchange.pause();
    }
  }

  #onEnd(): void {
    if (this.#open && !this.#theirEnd) {
      this.#theirEnd = true;
      if (!this.destroyed) {
        this.push(null);
        // As `net.Socket` does: without anything to read, the end is told even if nobody asked for data.
        if (this.readableLength === 0) {
          this.resume();
        }
      }
    }
  }

  // --- the end ---

  #onFinish(): void {
    this.#ended = true;
    const final = this.#final;
    this.#final = undefined;
    final?.();
    if (!this.#open) {
      this.destroy();
    } else if (!this.#theirEnd) {
      this.#onEnd();
    }
  }

  override _destroy(error: Error | null, callback: Callback): void {
    clearTimeout(this.#timer);
    const exchange = this.#exchange;
    if (!this.#ended && !exchange.ended) {
      if (error === null && this.#ourEnd) {
        // What was written goes out; what still comes is of no use to anybody.
        exchange.resume();
        setTimeout(() => {
          if (!exchange.ended) {
            exchange.abort("reset");
          }
        }, LINGER_MS).unref();
      } else {
        exchange.abort("reset");
      }
    }
    const written = this.#written;
    this.#written = undefined;
    written?.(error ?? connectionReset());
    callback(error);
  }

  destroySoon(): void {
    if (this.writable) {
      this.end();
    }
    if (this.writableFinished) {
      this.destroy();
    } else {
      this.once("finish", () => this.destroy());
    }
  }

  resetAndDestroy(): this {
    return this.destroy(connectionReset());
  }

  // --- what `net.Socket` and `tls.TLSSocket` have beside ---

  setTimeout(milliseconds: number, listener?: () => void): this {
    this.timeout = milliseconds;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (milliseconds > 0 && !this.destroyed) {
      this.#timer = setTimeout(() => this.emit("timeout"), milliseconds).unref();
      if (listener) {
        this.once("timeout", listener);
      }
    } else if (listener) {
      this.removeListener("timeout", listener);
    }
    return this;
  }
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
  address(): { address: string; family: string; port: number } {
    return { address: this.localAddress, family: this.localFamily, port: this.localPort };
  }
  get pending(): boolean {
    return false;
  }
  get readyState(): string {
    return this.destroyed ? "closed" : "open";
  }
  get remoteAddress(): string {
    return this.#exchange.facts.client.address;
  }
  get remotePort(): number {
    return this.#exchange.facts.client.port;
  }
  get remoteFamily(): string {
    return addressFamily(this.remoteAddress);
  }
  get localAddress(): string {
    return this.#exchange.facts.local.address;
  }
  get localPort(): number {
    return this.#exchange.facts.local.port;
  }
  get localFamily(): string {
    return addressFamily(this.localAddress);
  }
  get encrypted(): true | undefined {
    return this.#exchange.head.scheme === "https" ? true : undefined;
  }
  get authorized(): boolean | undefined {
    return this.encrypted && this.#exchange.facts.tls?.clientCertificate !== undefined;
  }
  get servername(): string | undefined {
    return this.#exchange.facts.tls?.serverName;
  }
  getPeerCertificate(detailed?: boolean): PeerCertificate {
    return peerCertificate(this.#exchange.facts.tls?.clientCertificate, detailed === true);
  }
}
