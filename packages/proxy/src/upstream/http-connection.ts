/**
 * One connection to a plain HTTP/1.1 server: a socket, the parser of its responses, and at most one request under way.
 *
 * HOT: a request on a connection that exists costs its stream, one write and one read; no promise, no closure, no
 * timer. All connections of a thread read into one buffer; what outlives the read is copied out of it by the parser.
 *
 * What the server sends is trusted no more than what clients send. A connection that said anything out of turn, or
 * whose request was not sent whole before its response was complete, is never used again.
 */
import { connect, type Socket, type NetConnectOpts } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import { DATA, DEFAULT_LIMITS, END, FAILED, HEAD, ResponseParser, chunkSize, type MessageLimits } from "@portico/http1";
import { MAX_RESPONSE_HEAD } from "./http.ts";
import type { HttpStream } from "./http-stream.ts";
import type { Wheel, WheelEntry } from "./wheel.ts";

/** What libuv asks for, so that a read of ours is as large as one of Node's. */
const READ_BYTES = 65_536;

/** A body up to here goes out as text with its head: one string costs less than a second piece. */
const TEXT_BODY = 8192;

/** TCP keep-alive, milliseconds: finds a machine that is gone without a word. */
const PROBE_MS = 30_000;

/** How much sooner than the server says we give an idle connection up, milliseconds: what takes longer on the way is lost. */
const HINT_MARGIN_MS = 1000;

/** After both halves of a tunnel have ended, what is on its way has so long to leave. */
const LINGER_MS = 30_000;

/** As Node's own client took them so far: cookies and policies of real applications go beyond what clients may send. */
const RESPONSE_LIMITS: MessageLimits = {
  ...DEFAULT_LIMITS,
  field: MAX_RESPONSE_HEAD,
  header: MAX_RESPONSE_HEAD,
  fields: 1000, // nginx takes any number; the bytes are bounded already
};

/** One for all connections of the thread: reads do not overlap. */
let readBuffer: Buffer | undefined;

/** Where a connection leads. */
export type Target = ({ readonly path: string } | { readonly host: string; readonly port: number }) & {
  /** Over TLS. */
  readonly secure?: SecureTarget | undefined;
};

/** What connections to a server over TLS share. */
export interface SecureTarget {
  readonly options: ConnectionOptions;
  /** The last session: the next connection resumes it. */
  session: Buffer | undefined;
}

/** What a connection needs of its pool. */
export interface ConnectionHome {
  readonly wheel: Wheel;
  /** Milliseconds. */
  readonly connectTimeout: number;
  readonly keepAlive: number;
  connected(): void;
  connectFailed(reason: string, timedOut: boolean): void;
  /** It may be used again. False: it is not wanted. */
  park(connection: HttpConnection): boolean;
  /** A connection that had been idle was closed by the server: the others may be too. */
  stale(): void;
  /** It is closed, or will be. */
  gone(connection: HttpConnection): void;
  /** A stream has ended. */
  ended(): void;
  /** Whoever receives a stream's events threw: a fault of ours. The stream was reset. */
  fault(error: unknown): void;
}

export class HttpConnection implements WheelEntry {
  dueAt = 0;
  wheelSlot = 0;
  wheelNext: WheelEntry | null = null;
  wheelPrevious: WheelEntry | null = null;
  readonly home: ConnectionHome;
  readonly #socket: Socket;
  readonly #parser = new ResponseParser(RESPONSE_LIMITS);
  #stream: HttpStream | undefined;
  #connected = false;
  #timedOut = false;
  #failure = "the server closed the connection";
  /** It has served a request before the one under way, and nothing of the response has come. */
  #doubtful = false;
  #destroyed = false;
  #paused = false;
  /** The last Keep-Alive field, and what follows from it. */
  #hint = "";
  #hintMs = Infinity;
  #idleMs = 0;

  constructor(home: ConnectionHome, target: Target) {
    this.home = home;
    const buffer = (readBuffer ??= Buffer.allocUnsafeSlow(READ_BYTES));
    const { secure, ...where } = target;
    const options: NetConnectOpts = {
      ...("path" in where ? where : { ...where, keepAlive: true, keepAliveInitialDelay: PROBE_MS, noDelay: true }),
      // A server may end its half and still be sent the rest, in a tunnel.
      allowHalfOpen: true,
      onread: {
        buffer,
        callback: (length: number) => {
          this.#received(buffer, length);
          return true;
        },
      },
    };
    const socket = (this.#socket = secure === undefined ? connect(options) : dialTls(options, secure));
    socket.on(secure === undefined ? "connect" : "secureConnect", () => {
      this.#connected = true;
      home.connected();
    });
    socket.on("end", () => this.#guard(() => this.#ended()));
    socket.on("drain", () => this.#guard(() => this.#stream?.drained()));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      // Where several addresses were tried the message is empty.
      this.#failure = error.message === "" ? (error.code ?? error.name) : error.message;
    });
    socket.on("close", () => this.#guard(() => this.#closed()));
    home.wheel.arm(this, home.wheel.now() + home.connectTimeout);
  }

  // --- the request ---------------------------------------------------------------------------------------------

  /** Sends the head of a request, and as much of its body as there is. HOT. */
  begin(stream: HttpStream, head: string, body: Uint8Array | null): void {
    const socket = this.#socket;
    this.#stream = stream;
    this.#parser.expect(stream);
    if (!stream.sent) {
      // The first part of the body mostly comes in this same turn.
      socket.cork();
      process.nextTick(uncork, socket);
      socket.write(head, "latin1");
      if (body !== null) stream.write(body);
    } else if (body === null || body.length === 0) socket.write(head, "latin1");
    else if (body.length <= TEXT_BODY) socket.write(head + latin1(body), "latin1");
    else {
      socket.cork();
      socket.write(head, "latin1");
      socket.write(body);
      socket.uncork();
    }
  }

  write(chunk: Uint8Array): boolean {
    return this.#socket.write(chunk);
  }

  writeText(text: string): void {
    this.#socket.write(text, "latin1");
  }

  writeChunk(chunk: Uint8Array): boolean {
    const socket = this.#socket;
    const size = chunkSize(chunk.length);
    if (chunk.length <= TEXT_BODY) return socket.write(`${size}${latin1(chunk)}\r\n`, "latin1");
    socket.cork();
    socket.write(size, "latin1");
    socket.write(chunk);
    const taken = socket.write("\r\n", "latin1");
    socket.uncork();
    return taken;
  }

  // --- what the stream asks for --------------------------------------------------------------------------------

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#socket.resume();
  }

  /** Ends our half of a tunnel. */
  end(): void {
    this.#socket.end();
  }

  /** Both halves of the tunnel have ended: what was written still leaves. */
  leave(): void {
    this.#stream = undefined;
    const { wheel } = this.home;
    wheel.arm(this, wheel.now() + LINGER_MS);
  }

  /** Nothing comes from it any more. */
  destroy(): void {
    this.#stream = undefined;
    this.cut();
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.home.wheel.disarm(this);
    this.home.gone(this);
  }

  /** The server seems to hang. */
  suspect(): void {
    this.#stream?.suspect();
  }

  /** Breaks it off; a request under way is told so. */
  cut(): void {
    this.#socket.destroy();
  }

  // --- the pool's side -----------------------------------------------------------------------------------------

  /** It leaves the pool for the next request. False: its time was over. HOT. */
  take(): boolean {
    if (this.#destroyed || this.dueAt <= this.home.wheel.now()) return false;
    this.#doubtful = true;
    return true;
  }

  onDeadline(): void {
    if (!this.#connected) {
      this.#timedOut = true;
      this.#failure = `no connection within ${this.home.connectTimeout} ms`;
      this.cut();
    } else if (this.#stream === undefined) this.destroy();
  }

  // --- the socket's events -------------------------------------------------------------------------------------

  /** HOT. */
  #received(buffer: Buffer, length: number): void {
    const stream = this.#stream;
    // Nobody asked: it would be taken for the response to the next request.
    if (stream === undefined) {
      this.destroy();
      return;
    }
    this.#doubtful = false;
    this.#parser.lend(buffer, length);
    try {
      this.#read(stream);
    } catch (error) {
      this.#fault(stream, error);
    }
    this.#parser.keep();
  }

  #guard(event: () => void): void {
    const stream = this.#stream;
    try {
      event();
    } catch (error) {
      this.#fault(stream, error);
    }
  }

  /** What throws here would end the thread, and every other request with it. */
  #fault(stream: HttpStream | undefined, error: unknown): void {
    this.home.fault(error);
    try {
      stream?.fail("internal", false, "handling the response failed");
    } catch (again) {
      this.home.fault(again);
    }
  }

  /** HOT: goes on for as long as the stream is ours; each call of it may end that. */
  #read(stream: HttpStream): void {
    const parser = this.#parser;
    while (this.#stream === stream) {
      const event = parser.next();
      if (event === DATA) stream.data(parser.data);
      else if (event === END) {
        if (parser.interim) continue;
        this.#complete(stream);
        return;
      } else if (event === HEAD) {
        if (parser.keepAlive) this.#idleMs = this.#idleTime(parser.headers);
        stream.head(parser);
      } else {
        // What is whole goes on first: the client must see that the rest is missing.
        stream.releaseHead();
        if (event === FAILED) stream.fail("protocol", false, parser.error?.message ?? "");
        return;
      }
    }
  }

  #complete(stream: HttpStream): void {
    const parser = this.#parser;
    const { trailers } = parser;
    const reusable =
      parser.keepAlive &&
      stream.sent &&
      // More than the response: whatever it is, nobody may get it.
      parser.buffered === 0 &&
      this.#socket.writableLength === 0 &&
      this.#idleMs > 0;
    this.#stream = undefined;
    if (reusable && this.home.park(this)) {
      const { wheel } = this.home;
      parser.release();
      if (this.#paused) this.resume();
      wheel.arm(this, wheel.now() + this.#idleMs);
    } else this.destroy();
    stream.complete(trailers);
  }

  /** How long it may be idle after this response. HOT. */
  #idleTime(headers: readonly string[]): number {
    for (let at = 0; at < headers.length; at += 2) {
      const name = headers[at] as string;
      if (name.length !== 10 || (name.charCodeAt(0) | 0x20) !== 0x6b || name.toLowerCase() !== "keep-alive") continue;
      const value = headers[at + 1] as string;
      // Nearly always what it was the last time.
      if (value !== this.#hint) {
        const seconds = /(?:^|[,;\t ])timeout[\t ]*=[\t ]*"?(\d{1,9})/i.exec(value)?.[1];
        this.#hint = value;
        this.#hintMs = seconds === undefined ? Infinity : Number(seconds) * 1000 - HINT_MARGIN_MS;
      }
      return Math.min(this.home.keepAlive, this.#hintMs);
    }
    return this.home.keepAlive;
  }

  /** The server has ended its half. */
  #ended(): void {
    const stream = this.#stream;
    if (stream === undefined) this.destroy();
    else if (stream.tunnelling) stream.tunnelEnded();
    else if (this.#parser.finish() === END) this.#complete(stream);
    else this.#lost(stream);
  }

  #closed(): void {
    const stream = this.#stream;
    if (stream === undefined) {
      this.destroy();
      return;
    }
    if (this.#connected) {
      this.#lost(stream);
      return;
    }
    this.destroy();
    this.home.connectFailed(this.#failure, this.#timedOut);
    stream.unconnected(this.#timedOut ? "connect-timeout" : "connect", this.#failure);
  }

  /** Sent once and never again: whether a retry is safe is not for this place to say. */
  #lost(stream: HttpStream): void {
    if (this.#doubtful) this.home.stale();
    stream.fail("lost", false, this.#failure);
  }
}

function dialTls(options: NetConnectOpts, secure: SecureTarget): Socket {
  const { session } = secure;
  // `onread` is net's, and TLS sockets have it too.
  const all: ConnectionOptions = { ...(options as ConnectionOptions), ...secure.options };
  const socket = connectTls(session === undefined ? all : { ...all, session });
  socket.on("session", (fresh) => {
    secure.session = fresh;
  });
  return socket;
}

function uncork(socket: Socket): void {
  socket.uncork();
}

/** The same bytes as text, one character each. */
function latin1(bytes: Uint8Array): string {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return buffer.toString("latin1");
}
