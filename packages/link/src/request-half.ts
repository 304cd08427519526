/** The proxy's half of a stream at the worker: a request body within its window and its length, given on when the application wants it. */

import type { AbortReason, ExchangeObserver, HeaderList } from "@portico/gateway/exchange";
import { FLAG, FRAME, type FastBuffer, readU32 } from "./frame.ts";
import { readFields } from "./head.ts";
import { LinkStream, type StreamHost } from "./stream.ts";

const UNKNOWN_LENGTH = -1;

export abstract class RequestHalf extends LinkStream {
  observer: ExchangeObserver | undefined = undefined;
  started = false;
  ended = false;
  /** The observer was told of the end of the body. */
  protected endReported = false;
  /** Body bytes that the request's length still promises. */
  #expected: number;
  #flowing = false;
  /** The handler has not returned: nothing is reported meanwhile. */
  #handling = true;
  #delivering = false;
  /** Body that waits for `resume`; undefined on the plain path. */
  #arrived: Uint8Array[] | undefined;
  /** Trailers of a body that is complete and not reported yet. */
  #trailers: HeaderList | undefined;

  protected constructor(id: number, session: StreamHost, bodyLength: number) {
    super(id, session);
    this.#expected = bodyLength;
  }

  abstract abort(reason: AbortReason): void;
  /** The application wants a body of which nothing came yet. */
  protected abstract onWanted(): void;
  /** The end of the body was reported. */
  protected abstract onBodyReported(): void;
  /** The handler threw. */
  protected abstract answerFault(): void;

  /** The inline body contradicts the length of the head. */
  contradictory = false;

  /** What came with the REQUEST. False: more than the window. */
  begin(body: Uint8Array | null, complete: boolean): boolean {
    if (body !== null) {
      if (!this.admit(body.length)) return false;
      this.#arrived = [body];
    }
    if (this.#expected !== UNKNOWN_LENGTH) {
      const size = body === null ? 0 : body.length;
      this.contradictory = size > this.#expected || (complete && size < this.#expected);
      this.#expected -= size;
    }
    if (complete) this.#bodyEnded([]);
    return true;
  }

  #bodyEnded(trailers: HeaderList): void {
    this.remoteEnded = true;
    this.#trailers = trailers;
  }

  /** The handler returned: events may come now. */
  handled(): void {
    this.#handling = false;
    // Nobody listens: the body is discarded.
    if (this.observer === undefined) this.#flowing = true;
    if (this.#flowing) this.#deliver();
  }

  handlerThrew(): void {
    this.#handling = false;
    this.answerFault();
  }

  resume(): void {
    if (this.ended || this.#flowing) return;
    this.#flowing = true;
    if (this.#expected !== 0 && !this.remoteEnded && this.#arrived === undefined && !this.started) this.onWanted();
    this.#deliver();
  }

  pause(): void {
    this.#flowing = false;
  }

  #deliver(): void {
    if (this.#handling || this.#delivering) return;
    this.#delivering = true;
    try {
      while (this.#flowing && this.#arrived !== undefined && !this.ended) {
        const chunk = this.#arrived.shift()!;
        if (this.#arrived.length === 0) this.#arrived = undefined;
        this.credit(chunk.length);
        this.observer?.onData(chunk);
      }
      if (this.#flowing && this.#trailers !== undefined && this.#arrived === undefined && !this.ended) {
        const trailers = this.#trailers;
        this.#trailers = undefined;
        this.endReported = true;
        this.observer?.onEnd(trailers);
        this.onBodyReported();
      }
    } finally {
      this.#delivering = false;
    }
  }

  /** One frame of this stream, RESET excepted. False: the link was closed. */
  onFrame(type: number, flags: number, bytes: FastBuffer, start: number, end: number): boolean {
    const { session } = this;
    if (type === FRAME.WINDOW) {
      return this.widen(readU32(bytes, start)) || session.fail("flow-control", "a WINDOW beyond its bounds");
    }
    if (this.remoteEnded) return session.fail("protocol", "a body after its end");
    if (type === FRAME.DATA) return this.#onData((flags & FLAG.END) !== 0, bytes, start, end);
    const trailers = readFields(bytes, start, end, session.limits.maxStrings);
    if (trailers === undefined) return session.fail("protocol", "malformed END");
    this.#bodyEnded(trailers);
    this.#afterBody();
    return true;
  }

  #onData(last: boolean, bytes: FastBuffer, start: number, end: number): boolean {
    const size = end - start;
    if (!this.admit(size)) return this.session.fail("flow-control", "DATA beyond its window");
    if (this.#expected !== UNKNOWN_LENGTH && size > this.#expected) {
      this.contradict();
      return true;
    }
    if (last) this.#bodyEnded([]);
    if (this.#expected !== UNKNOWN_LENGTH) this.#expected -= size;
    if (size > 0) {
      const chunk = this.session.own(bytes, start, end);
      if (this.#flowing && this.#arrived === undefined && !this.#delivering) {
        this.credit(size);
        this.observer?.onData(chunk);
      } else {
        // What waits must not hold on to the much larger memory it came in.
        (this.#arrived ??= []).push(
          size * 2 < chunk.buffer.byteLength ? Uint8Array.prototype.slice.call(chunk) : chunk,
        );
      }
    }
    if (last) this.#afterBody();
    return true;
  }

  #afterBody(): void {
    if (this.ended || this.closed) return;
    if (this.#expected > 0) this.contradict();
    else this.#deliver();
  }

  /** The body is not what its length said: the exchange ends, the link stays. */
  contradict(): void {
    this.#handling = false;
    this.abort("protocol-error");
  }

  /** Both halves are open again: what follows is a tunnel's. */
  protected reopen(): void {
    this.remoteEnded = false;
    this.#trailers = undefined;
    this.endReported = false;
    this.#expected = UNKNOWN_LENGTH;
  }

  /** Nobody wants what waits any more. */
  protected discard(): void {
    this.#arrived = undefined;
  }
}
