/** One request to a plain HTTP/1.1 server, and its response: a connection on one side, an {@link UpstreamObserver} on the other. */
import type { HeaderList } from "@portico/gateway/exchange";
import { Http1Error, lastChunk, type ExpectedResponse, type ResponseParser } from "@portico/http1";
import { WINDOW } from "./http.ts";
import type { HttpConnection } from "./http-connection.ts";
import type { UpstreamObserver, UpstreamPhase, UpstreamReset, UpstreamStream } from "./transport.ts";

const NO_FIELDS: HeaderList = [];

/** The request's body is sent in chunks, and has not ended. */
const CHUNKED = -1;

export class HttpStream implements UpstreamStream, ExpectedResponse {
  readonly method: string;
  /** Whether the request asks for an upgrade. */
  readonly upgrade: boolean;
  readonly #connection: HttpConnection;
  readonly #observer: UpstreamObserver;
  #phase: UpstreamPhase = "request";
  #done = false;
  // The request: bytes of its body that are still to come, and whether somebody waits to send more.
  #unsent: number;
  #blocked = false;
  // The head of the response while it waits for the rest of what was read with it: small responses are passed on whole.
  #status = 0;
  #fields: HeaderList = NO_FIELDS;
  #first: Uint8Array | null = null;
  // Bytes of the response that nobody has consumed yet.
  #owed = 0;
  #paused = false;
  // Halves of a tunnel that have ended.
  #ourHalfEnded = false;
  #serverHalfEnded = false;

  /** `unsent`: bytes of the body that follow by `write`, -1 where their number is not known. */
  constructor(
    connection: HttpConnection,
    observer: UpstreamObserver,
    method: string,
    upgrade: boolean,
    unsent: number,
  ) {
    this.#connection = connection;
    this.#observer = observer;
    this.method = method;
    this.upgrade = upgrade;
    this.#unsent = unsent;
  }

  /** The whole request is written. */
  get sent(): boolean {
    return this.#unsent === 0;
  }

  get tunnelling(): boolean {
    return this.#phase === "tunnel";
  }

  // --- UpstreamStream ------------------------------------------------------------------------------------------

  write(chunk: Uint8Array): boolean {
    if (this.#done || chunk.length === 0) return true;
    const connection = this.#connection;
    let taken: boolean;
    if (this.#phase === "tunnel") taken = this.#ourHalfEnded || connection.write(chunk);
    else if (this.#unsent === CHUNKED) taken = connection.writeChunk(chunk);
    else if (chunk.length > this.#unsent) {
      // One byte more would be read as the next request.
      this.fail("internal", false, "more body than was announced");
      return true;
    } else {
      this.#unsent -= chunk.length;
      taken = connection.write(chunk);
    }
    this.#blocked = !taken;
    return taken;
  }

  end(trailers: HeaderList = NO_FIELDS): void {
    if (this.#done) return;
    if (this.#phase === "tunnel") this.#endTunnel();
    else if (this.#unsent === CHUNKED) {
      this.#unsent = 0;
      this.#connection.writeText(endOfChunks(trailers));
    } else if (this.#unsent > 0) this.fail("internal", false, "less body than was announced");
  }

  consume(bytes: number): void {
    this.#owed -= bytes;
    if (!this.#paused || this.#owed > WINDOW / 2 || this.#done) return;
    this.#paused = false;
    this.#connection.resume();
  }

  reset(): void {
    if (this.#done) return;
    this.#finish();
    this.#connection.destroy();
  }

  // --- the connection's events ---------------------------------------------------------------------------------

  /** A head was read. HOT. */
  head(parser: ResponseParser): void {
    const { status, headers } = parser;
    if (parser.interim) this.#observer.onInform(status, headers);
    else if (status === 101 || (this.method === "CONNECT" && status < 300)) {
      this.#phase = "tunnel";
      this.#observer.onResponse(status, headers, null, false);
    } else {
      this.#status = status;
      this.#fields = headers;
    }
  }

  /** A part of the body was read. It is ours. HOT. */
  data(chunk: Uint8Array): void {
    if (this.#status !== 0) {
      if (this.#first === null) {
        this.#first = chunk;
        return;
      }
      this.releaseHead();
      if (this.#done) return;
    }
    this.#owed += chunk.length;
    this.#observer.onData(chunk);
    this.#hold();
  }

  /** Passes a head on whose body goes on later. */
  releaseHead(): void {
    const status = this.#status;
    if (status === 0) return;
    const first = this.#first;
    this.#status = 0;
    this.#first = null;
    this.#phase = "response";
    if (first !== null) this.#owed += first.length;
    this.#observer.onResponse(status, this.#fields, first, false);
    this.#hold();
  }

  /** The response is complete, and the connection has let go of this stream. HOT. */
  complete(trailers: HeaderList): void {
    const status = this.#status;
    if (status !== 0 && trailers.length === 0) {
      this.#finish();
      this.#observer.onResponse(status, this.#fields, this.#first, true);
      return;
    }
    this.releaseHead();
    if (this.#done) return;
    this.#finish();
    this.#observer.onEnd(trailers);
  }

  /** The connection takes bytes again. */
  drained(): void {
    if (!this.#blocked || this.#done) return;
    this.#blocked = false;
    this.#observer.onDrain();
  }

  /** The server has ended its half of the tunnel. */
  tunnelEnded(): void {
    this.#serverHalfEnded = true;
    if (this.#ourHalfEnded) this.#leaveTunnel();
    this.#observer.onEnd(NO_FIELDS);
  }

  /** The server seems to hang: whoever waits for the head may leave. */
  suspect(): void {
    if (!this.#done && this.#phase === "request" && this.#status === 0) this.#observer.onSuspect?.();
  }

  /** No connection could be made: nothing was sent. */
  unconnected(code: "connect" | "connect-timeout", message: string): void {
    this.#phase = "connect";
    this.fail(code, true, message);
  }

  fail(code: UpstreamReset["code"], refused: boolean, message: string): void {
    if (this.#done) return;
    this.#finish();
    this.#connection.destroy();
    this.#observer.onReset({ code, refused, phase: this.#phase, message });
  }

  // --- the rest ------------------------------------------------------------------------------------------------

  /** Slows the server down where too much waits to be consumed. */
  #hold(): void {
    if (this.#owed <= WINDOW || this.#paused || this.#done) return;
    this.#paused = true;
    this.#connection.pause();
  }

  #endTunnel(): void {
    if (this.#ourHalfEnded) return;
    this.#ourHalfEnded = true;
    this.#connection.end();
    if (this.#serverHalfEnded) this.#leaveTunnel();
  }

  #leaveTunnel(): void {
    this.#connection.leave();
    this.#finish();
  }

  #finish(): void {
    this.#done = true;
    this.#connection.home.ended();
  }
}

/** The end of a chunked body. Trailers that must not be sent are dropped, all of them (RFC 9110 §6.5.1 allows it). */
function endOfChunks(trailers: HeaderList): string {
  if (trailers.length === 0) return lastChunk(trailers);
  try {
    return lastChunk(trailers);
  } catch (error) {
    if (!(error instanceof Http1Error)) throw error;
    return lastChunk(NO_FIELDS);
  }
}
