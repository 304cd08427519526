/** One request to a server behind TLS: undici's events on one side, an {@link UpstreamObserver} on the other. */
import { Readable, type Duplex } from "node:stream";
import type { Dispatcher, errors } from "undici";
import type { HeaderList } from "@portico/gateway/exchange";
import { MAX_RESPONSE_HEAD, WINDOW } from "./http.ts";
import type { UpstreamObserver, UpstreamPhase, UpstreamRequest, UpstreamReset, UpstreamStream } from "./transport.ts";

const NO_FIELDS: HeaderList = [];

type Errors = typeof errors;

/** What a stream needs of its transport. */
interface StreamHome {
  readonly pool: Dispatcher;
  readonly undici: { readonly errors: Errors };
  readonly serverName: string;
  readonly events: { onConnectFailed(reason: string, timedOut: boolean): void };
  ended(): void;
}

/** Heads that wait for the end of this turn: the body of a small response comes in the same turn, and then all is one. */
let held: HttpsStream[] = [];

function releaseHeld(): void {
  const heads = held;
  held = [];
  for (const stream of heads) stream.releaseHead();
}

export class HttpsStream implements UpstreamStream, Dispatcher.DispatchHandler {
  readonly #home: StreamHome;
  readonly #observer: UpstreamObserver;
  #controller: Dispatcher.DispatchController | undefined;
  #body: RequestBody | undefined;
  #tunnel: Duplex | undefined;
  #phase: UpstreamPhase = "connect";
  #done = false;
  /** Ended for the observer, while undici has yet to notice. */
  #opening = true;
  #early: UpstreamReset | undefined;
  // The head while it is held back.
  #status = 0;
  #fields: HeaderList = NO_FIELDS;
  #first: Uint8Array | null = null;
  #owed = 0;
  #paused = false;

  /** `streamed`: a body follows by `write` and `end`. */
  constructor(home: StreamHome, observer: UpstreamObserver, streamed: boolean) {
    this.#home = home;
    this.#observer = observer;
    if (streamed) this.#body = new RequestBody(this);
  }

  dispatch(request: UpstreamRequest, body: Uint8Array | null): void {
    const { upgrade } = request;
    const options: Dispatcher.DispatchOptions = {
      path: request.target,
      method: request.method,
      headers: request.headers,
      body: this.#body ?? body,
    };
    if (upgrade !== undefined) options.upgrade = upgrade;
    // `servername` is undocumented in the types, and without it undici would take the client's Host.
    (options as { servername?: string }).servername = this.#home.serverName;
    this.#home.pool.dispatch(options, this);
    this.#opening = false;
    if (body !== null && this.#body !== undefined) this.#body.push(body);
    const early = this.#early;
    if (early !== undefined) queueMicrotask(() => this.#observer.onReset(early));
  }

  // --- UpstreamStream ------------------------------------------------------------------------------------------

  write(chunk: Uint8Array): boolean {
    if (this.#done) return true;
    if (this.#tunnel !== undefined) return this.#tunnel.write(chunk);
    return this.#body?.push(chunk) ?? true;
  }

  end(): void {
    // Trailers of requests are dropped: undici has no way to send them (RFC 9110 §6.5.1 allows it).
    if (this.#done) return;
    if (this.#tunnel !== undefined) this.#tunnel.end();
    else this.#body?.push(null);
  }

  consume(bytes: number): void {
    this.#owed -= bytes;
    if (!this.#paused || this.#owed > WINDOW / 2 || this.#done) return;
    this.#paused = false;
    if (this.#tunnel !== undefined) this.#tunnel.resume();
    else this.#controller?.resume();
  }

  reset(): void {
    if (this.#done) return;
    this.#finish();
    this.#cancel();
  }

  // --- undici's events -----------------------------------------------------------------------------------------

  onRequestStart(controller: Dispatcher.DispatchController): void {
    const before = this.#controller;
    this.#controller = controller;
    if (this.#done) controller.abort(this.#cancelled());
    // Sent once and never again: whether a retry is safe is not for the client library to say.
    else if (before !== undefined) this.#fail("lost", false, "the connection was closed while the request was sent");
    else this.#phase = "request";
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    if (this.#done) return;
    const fields = fieldsOf(controller.rawHeaders);
    if (status < 200) {
      this.#observer.onInform(status, fields);
      return;
    }
    this.#status = status;
    this.#fields = fields;
    if (held.push(this) === 1) process.nextTick(releaseHeld);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#done) return;
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
    if (this.#owed > WINDOW && !this.#done) {
      this.#paused = true;
      controller.pause();
    }
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (this.#done) return;
    const trailers = fieldsOf(controller.rawTrailers);
    const status = this.#status;
    if (status !== 0 && trailers.length === 0) {
      this.#finish();
      this.#status = 0;
      this.#observer.onResponse(status, this.#fields, this.#first, true);
      return;
    }
    this.releaseHead();
    if (this.#done) return;
    this.#finish();
    this.#observer.onEnd(trailers);
  }

  onRequestUpgrade(controller: Dispatcher.DispatchController, status: number, _headers: unknown, socket: Duplex): void {
    if (this.#done) {
      socket.destroy();
      return;
    }
    this.#phase = "tunnel";
    this.#tunnel = socket;
    socket.on("error", (error) => this.#fail("lost", false, error.message));
    socket.on("close", () => this.#fail("lost", false, "the server closed the tunnel"));
    this.#observer.onResponse(status, fieldsOf(controller.rawHeaders), null, false);
    if (this.#done) return;
    socket.on("data", (chunk: Buffer) => this.#onTunnelData(chunk));
    socket.on("drain", () => this.#observer.onDrain());
    socket.on("end", () => {
      if (this.#done) return;
      if (socket.writableEnded) this.#finish();
      this.#observer.onEnd(NO_FIELDS);
    });
    socket.on("finish", () => {
      if (socket.readableEnded && !this.#done) this.#finish();
    });
  }

  onResponseError(_controller: unknown, error: Error): void {
    if (this.#done) return;
    const { errors } = this.#home.undici;
    if (this.#phase === "connect") {
      // Never sent: undici says so by not having started the request.
      const timedOut = error instanceof errors.ConnectTimeoutError;
      if (isInvalid(errors, error)) {
        this.#fail("unsupported", false, error.message);
        return;
      }
      if (!(error instanceof errors.ClientDestroyedError)) this.#home.events.onConnectFailed(error.message, timedOut);
      this.#fail(timedOut ? "connect-timeout" : "connect", true, error.message);
      return;
    }
    // A head that came whole before the connection broke is passed on: the client must see that the rest is missing.
    this.releaseHead();
    if (this.#done) return;
    this.#fail(isProtocolError(errors, error) ? "protocol" : "lost", false, error.message);
  }

  /** Passes a held head on, without the rest of its body. */
  releaseHead(): void {
    const status = this.#status;
    if (status === 0 || this.#done) return;
    this.#status = 0;
    this.#phase = "response";
    const first = this.#first;
    this.#first = null;
    if (first !== null) this.#owed += first.length;
    this.#observer.onResponse(status, this.#fields, first, false);
  }

  // --- the rest ------------------------------------------------------------------------------------------------

  /** The request's body has room again. */
  wanted(): void {
    if (!this.#done && !this.#opening) this.#observer.onDrain();
  }

  #onTunnelData(chunk: Buffer): void {
    if (this.#done) return;
    this.#owed += chunk.length;
    this.#observer.onData(chunk);
    if (this.#owed > WINDOW && !this.#done) {
      this.#paused = true;
      this.#tunnel?.pause();
    }
  }

  #fail(code: UpstreamReset["code"], refused: boolean, message: string): void {
    if (this.#done) return;
    const error: UpstreamReset = { code, refused, phase: this.#phase, message };
    this.#finish();
    this.#cancel();
    if (this.#opening) this.#early = error;
    else this.#observer.onReset(error);
  }

  #finish(): void {
    if (this.#done) return;
    this.#done = true;
    this.#home.ended();
  }

  #cancel(): void {
    if (this.#tunnel !== undefined) this.#tunnel.destroy();
    else this.#controller?.abort(this.#cancelled());
    this.#body?.destroy();
  }

  #cancelled(): Error {
    return new this.#home.undici.errors.RequestAbortedError("given up");
  }
}

/** The body of a request that is longer than one piece: pushed to, read by undici. */
class RequestBody extends Readable {
  readonly #stream: HttpsStream;
  #asked = false;

  constructor(stream: HttpsStream) {
    super({ highWaterMark: 64 * 1024 });
    this.#stream = stream;
    // Destroyed with a reason by undici when the connection breaks: the reason comes by `onResponseError`.
    this.on("error", () => {});
  }

  override push(chunk: Uint8Array | null): boolean {
    const more = super.push(chunk);
    this.#asked ||= !more;
    return more;
  }

  override _read(): void {
    if (!this.#asked) return;
    this.#asked = false;
    this.#stream.wanted();
  }
}

/**
 * undici gives raw fields as a flat list of buffers, nearly always parts of one chunk: that is decoded once, and the
 * text is cut (half the time of decoding each). What lies elsewhere (a field that came in two chunks) is decoded alone.
 */
function fieldsOf(raw: Dispatcher.DispatchController["rawHeaders"]): HeaderList {
  if (!Array.isArray(raw) || raw.length === 0) return NO_FIELDS;
  const list: HeaderList = [];
  const first = raw[0]!;
  const last = raw.at(-1)!;
  if (typeof first === "string" || typeof last === "string" || first.buffer !== last.buffer) {
    for (const item of raw) list.push(typeof item === "string" ? item : item.toString("latin1"));
    return list;
  }
  const { buffer, byteOffset: base } = first;
  const span = Math.max(0, last.byteOffset + last.length - base);
  const text = span > MAX_RESPONSE_HEAD ? "" : Buffer.from(buffer, base, span).toString("latin1");
  for (const item of raw as Buffer[]) {
    const at = item.byteOffset - base;
    const whole = item.buffer === buffer && at >= 0 && at + item.length <= text.length;
    list.push(whole ? text.slice(at, at + item.length) : item.toString("latin1"));
  }
  return list;
}

function isProtocolError(errors: Errors, error: Error): boolean {
  return (
    error instanceof errors.HTTPParserError ||
    error instanceof errors.HeadersOverflowError ||
    error instanceof errors.ResponseContentLengthMismatchError ||
    /bad response|bad upgrade/.test(error.message)
  );
}

/** undici would not send it: the request's own form is at fault, no other server will do better. */
function isInvalid(errors: Errors, error: Error): boolean {
  return error instanceof errors.InvalidArgumentError || error instanceof errors.NotSupportedError;
}
