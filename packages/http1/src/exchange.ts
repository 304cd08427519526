import type {
  AbortReason,
  Exchange,
  ExchangeFacts,
  ExchangeObserver,
  HeaderList,
  RequestHead,
  WholeBody,
} from "@portico/gateway/exchange";
import { asBuffer, latin1 } from "./bytes.ts";
import { listElements } from "./characters.ts";
import { Http1Error } from "./error.ts";
import { type ConnectionFacts, RequestFacts, type Trust, forwardedScheme } from "./facts.ts";
import { fieldValue } from "./fields.ts";
import { findReady, keepReady, wholeText } from "./ready.ts";
import type { RequestParser } from "./request-parser.ts";
import {
  CHUNKED_FRAMING,
  NO_FRAMING,
  chunkSize,
  interimHead,
  isBodiless,
  lastChunk,
  readFields,
  responseHead,
  switchHead,
} from "./writer.ts";

/** What an exchange needs of its connection. */
export interface ExchangeConnection {
  readonly facts: ConnectionFacts;
  /** Given where the peer is trusted. */
  readonly trust: Trust | undefined;
  readonly nextId: () => string;
  /** `Date: …` with CRLF. */
  dateLine(): string;
  /** Whether the connection ends after this exchange, whatever the response says. */
  closesAfter(exchange: Http1Exchange): boolean;
  /** Writes; false where the client does not keep up. */
  send(data: Uint8Array | string): boolean;
  /** Announces that more writes follow in this turn. */
  gather(): void;
  /** Writes a head and a large body: in parts, each when the one before was taken. */
  sendLarge(head: string, body: Uint8Array): void;
  /** The exchange wants its body, after `resume`. */
  bodyWanted(exchange: Http1Exchange): void;
  /** The response is written. */
  responseWritten(exchange: Http1Exchange): void;
  /** The connection is a tunnel from here on. */
  switched(exchange: Http1Exchange): void;
  /** Our half of the tunnel is complete. */
  tunnelEnded(exchange: Http1Exchange): void;
  /** Destroys the connection and tells the observer why. */
  abandon(exchange: Http1Exchange, reason: AbortReason, error?: Http1Error): void;
}

/** Head of a received request. */
class ReceivedHead implements RequestHead {
  readonly method: string;
  readonly authority: string;
  readonly target: string;
  readonly version: "1.0" | "1.1";
  readonly headers: HeaderList;
  readonly bodyLength: number;
  readonly upgrade: string | undefined;
  private readonly connection: ExchangeConnection;

  constructor(parser: RequestParser, connection: ExchangeConnection) {
    this.method = parser.method;
    this.authority = parser.authority;
    this.target = parser.target;
    this.version = parser.version;
    this.headers = parser.headers;
    this.bodyLength = parser.bodyLength;
    this.upgrade = parser.upgrade;
    this.connection = connection;
  }

  get scheme(): "http" | "https" {
    const own = this.connection.facts.scheme;
    return this.connection.trust === undefined ? own : (forwardedScheme(this.headers) ?? own);
  }
}

const WAITING = 0;
const STREAMING = 1;
const CHUNKING = 2;
const TUNNELLING = 3;
const WRITTEN = 4;
const ENDED = 5;

/** A body up to this size is written as text behind its head: Node hands short strings to the kernel without making a buffer. */
const TEXT_BYTES = 8_192;
/** A body up to this size is copied behind its head, so that both leave in one write; above, copying costs more than a second buffer in the same call. */
const JOIN_BYTES = 16_384;
/** Larger bodies are written part by part; one call of the system should carry what the kernel's buffers can hold. */
export const PART_BYTES = 262_144;
const CLOSE_LINE = "Connection: close\r\n";
const KEEP_ALIVE_LINE = "Connection: keep-alive\r\n";

/** One request on an HTTP/1.1 connection, and the ability to answer it. */
export class Http1Exchange implements Exchange {
  readonly head: RequestHead;
  observer: ExchangeObserver | undefined = undefined;
  /** Whether the client lets the connection persist; cleared when the response announces its end. */
  keepAlive: boolean;
  /** Whether the client waits for 100 Continue. */
  awaitsContinue: boolean;
  /** `resume` was called and `pause` was not since. */
  flowing = false;
  /** `resume` was called at some time. */
  wanted = false;
  /** The request body was read to its end. */
  bodyRead = false;
  /** `onEnd` was called, or will not be. */
  endDelivered = false;
  /** `write` returned false, and `onDrain` is owed. */
  drainOwed = false;
  private readonly connection: ExchangeConnection;
  private readonly receivedAt: number;
  private knownFacts: RequestFacts | undefined = undefined;
  private phase = WAITING;
  /** Bytes of the body still to come, -1 where no length was announced. */
  private bodyLeft = -1;
  /** HEAD, 204, 304: what is written is thrown away. */
  private muted = false;
  /** Our half of the tunnel was ended. */
  private halfEnded = false;

  constructor(parser: RequestParser, connection: ExchangeConnection, receivedAt: number) {
    this.connection = connection;
    this.receivedAt = receivedAt;
    // Clients that send the tunnel's bytes without waiting must not have them read as requests when CONNECT is declined.
    this.keepAlive = parser.keepAlive && parser.method !== "CONNECT";
    this.awaitsContinue = parser.expectsContinue;
    this.head = new ReceivedHead(parser, connection);
  }

  get facts(): ExchangeFacts {
    const { facts, trust, nextId } = this.connection;
    this.knownFacts ??= new RequestFacts(this.head.headers, facts, trust, nextId, this.receivedAt);
    return this.knownFacts;
  }

  get started(): boolean {
    return this.phase !== WAITING;
  }

  get ended(): boolean {
    return this.phase === ENDED;
  }

  /** Whether the whole response was given. */
  get written(): boolean {
    return this.phase >= WRITTEN;
  }

  get tunnelling(): boolean {
    return this.phase === TUNNELLING;
  }

  resume(): void {
    if (this.phase === ENDED || this.flowing) return;
    this.flowing = true;
    this.wanted = true;
    if (this.awaitsContinue) {
      this.awaitsContinue = false;
      if (this.phase === WAITING && !this.bodyRead) this.connection.send("HTTP/1.1 100 Continue\r\n\r\n");
    }
    this.connection.bodyWanted(this);
  }

  pause(): void {
    this.flowing = false;
  }

  inform(status: number, headers: HeaderList): void {
    if (this.phase === ENDED) return;
    if (this.phase !== WAITING) throw new Http1Error("misuse-order");
    const text = interimHead(status, headers);
    if (this.head.version === "1.0") return;
    if (status === 100) this.awaitsContinue = false;
    this.connection.send(text);
  }

  // Hot path: one string, or one buffer, in one write.
  respond(status: number, headers: HeaderList, body: WholeBody): void {
    if (!this.mayStart()) return;
    if (body !== null && typeof body !== "string" && this.respondReady(status, headers, body)) return;
    const text = typeof body === "string";
    const length = body === null ? 0 : text ? Buffer.byteLength(body) : body.length;
    const dateLine = this.connection.dateLine();
    const head = this.wholeHead(status, headers, length, dateLine);
    if (body !== null && !text && this.repeatable()) keepReady(headers, status, body, dateLine, head);
    this.phase = WRITTEN;
    if (length === 0 || this.muted) this.connection.send(head);
    else if (text && length === body.length && length <= PART_BYTES) this.connection.send(head + body);
    else this.sendBytes(head, body as Uint8Array | string, length);
    this.connection.responseWritten(this);
  }

  /** Hot path of repeated heads: nothing is put together again. False where no head like this is ready. */
  private respondReady(status: number, headers: HeaderList, body: Uint8Array): boolean {
    const found = findReady(headers, status, body.length);
    if (found === undefined || found.dateLine !== this.connection.dateLine()) return false;
    if (this.connectionLine() !== "" || this.head.method === "HEAD") return false;
    this.phase = WRITTEN;
    const whole = body.length <= TEXT_BYTES ? wholeText(found, body) : undefined;
    if (whole === undefined) this.sendBytes(found.head, body, body.length);
    else this.connection.send(whole);
    this.connection.responseWritten(this);
    return true;
  }

  /** Whether this response is what any other client of today's kind would get. */
  private repeatable(): boolean {
    return this.keepAlive && !this.muted && this.head.version === "1.1";
  }

  start(status: number, headers: HeaderList): void {
    if (!this.mayStart()) return;
    const fields = readFields(headers);
    const bodiless = isBodiless(status);
    this.muted = bodiless || this.head.method === "HEAD";
    this.bodyLeft = this.muted ? -1 : fields.length;
    let framing = fields.length < 0 || status === 204 ? NO_FRAMING : fields.length;
    if (status === 205) framing = 0;
    let chunked = false;
    if (!this.muted && framing === NO_FRAMING) {
      chunked = this.head.version !== "1.0";
      if (chunked) framing = CHUNKED_FRAMING;
      else this.keepAlive = false;
    }
    const head = responseHead(status, fields, framing, this.connection.dateLine(), this.connectionLine());
    this.phase = chunked ? CHUNKING : STREAMING;
    this.connection.gather();
    this.connection.send(head);
  }

  write(chunk: Uint8Array | string): boolean {
    if (this.phase >= WRITTEN) {
      if (this.phase === WRITTEN) throw new Http1Error("misuse-order");
      return false;
    }
    if (this.phase === WAITING || this.halfEnded) throw new Http1Error("misuse-order");
    const length = typeof chunk === "string" ? Buffer.byteLength(chunk) : chunk.length;
    if (length === 0 || this.muted) return true;
    if (this.bodyLeft >= 0) {
      if (length > this.bodyLeft) throw new Http1Error("misuse-body-too-long");
      this.bodyLeft -= length;
    }
    // Latin1 is how the sink reads strings: only ASCII means the same in UTF-8.
    const bytes = typeof chunk === "string" && length !== chunk.length ? Buffer.from(chunk) : chunk;
    const taken = this.phase === CHUNKING ? this.writeChunk(bytes, length) : this.connection.send(bytes);
    if (!taken) this.drainOwed = true;
    return taken;
  }

  end(trailers?: HeaderList): void {
    switch (this.phase) {
      case ENDED:
        return;
      case TUNNELLING:
        if (this.halfEnded) return;
        this.halfEnded = true;
        this.connection.tunnelEnded(this);
        return;
      case CHUNKING: {
        const last = lastChunk(trailers ?? []);
        const plain = trailers === undefined || trailers.length === 0 || !this.takesTrailers();
        this.phase = WRITTEN;
        this.connection.send(plain ? "0\r\n\r\n" : last);
        break;
      }
      case STREAMING:
        if (this.bodyLeft > 0) {
          this.connection.abandon(this, "protocol-error", new Http1Error("misuse-body-too-short"));
          return;
        }
        this.phase = WRITTEN;
        break;
      default:
        throw new Http1Error("misuse-order");
    }
    this.connection.responseWritten(this);
  }

  upgrade(status: number, headers: HeaderList): void {
    if (!this.mayStart()) return;
    const connect = this.head.method === "CONNECT";
    if (!connect && this.head.upgrade === undefined) throw new Http1Error("misuse-order");
    const head = switchHead(status, headers, connect ? undefined : this.head.upgrade, this.connection.dateLine());
    this.phase = TUNNELLING;
    this.keepAlive = false;
    this.connection.gather();
    this.connection.send(head);
    this.connection.switched(this);
  }

  abort(reason: AbortReason): void {
    if (this.phase !== ENDED) this.connection.abandon(this, reason);
  }

  /** Called by the connection, once: ends the exchange. */
  finish(): void {
    this.phase = ENDED;
    this.observer?.onFinish();
  }

  /** Called by the connection, once: ends the exchange early. */
  break(reason: AbortReason): void {
    this.phase = ENDED;
    this.observer?.onAbort(reason);
  }

  private mayStart(): boolean {
    if (this.phase === ENDED) return false;
    if (this.phase !== WAITING) throw new Http1Error("misuse-order");
    return true;
  }

  /** Head of a response whose body is known: what Content-Length says, and whether it stands there at all (RFC 9110 §8.6). */
  private wholeHead(status: number, headers: HeaderList, length: number, dateLine: string): string {
    const fields = readFields(headers);
    this.muted = isBodiless(status) || this.head.method === "HEAD";
    let framing = length;
    if (status === 204) framing = NO_FRAMING;
    else if (status === 205) framing = 0;
    else if (this.muted && fields.length >= 0) framing = fields.length;
    else if (this.muted && length === 0) framing = NO_FRAMING;
    return responseHead(status, fields, framing, dateLine, this.connectionLine());
  }

  private connectionLine(): string {
    if (this.keepAlive && this.connection.closesAfter(this)) this.keepAlive = false;
    if (!this.keepAlive) return CLOSE_LINE;
    return this.head.version === "1.0" ? KEEP_ALIVE_LINE : "";
  }

  private sendBytes(head: string, body: Uint8Array | string, length: number): void {
    if (length <= TEXT_BYTES && typeof body !== "string") {
      this.connection.send(head + latin1(asBuffer(body), 0, length));
      return;
    }
    if (length <= JOIN_BYTES) {
      this.connection.send(joined(head, body, length));
      return;
    }
    this.connection.sendLarge(head, typeof body === "string" ? Buffer.from(body) : body);
  }

  private writeChunk(chunk: Uint8Array | string, length: number): boolean {
    const size = chunkSize(length);
    if (typeof chunk === "string") return this.connection.send(`${size}${chunk}\r\n`);
    this.connection.gather();
    this.connection.send(size);
    this.connection.send(chunk);
    return this.connection.send("\r\n");
  }

  /** RFC 9110 §6.5.1: only to clients that said so. */
  private takesTrailers(): boolean {
    const value = fieldValue(this.head.headers, "te");
    return value !== undefined && listElements(value).includes("trailers");
  }
}

/** Head and body as one buffer. */
function joined(head: string, body: Uint8Array | string, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(head.length + length);
  bytes.write(head, 0, "latin1");
  if (typeof body === "string") bytes.write(body, head.length, "utf8");
  else bytes.set(body, head.length);
  return bytes;
}
