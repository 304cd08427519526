import { PorticoGatewayError } from "../errors.ts";
import type { Exchange } from "../exchange.ts";

/** Bytes kept for a stream that nobody reads from just now before the transport is paused: one socket read. */
const READ_AHEAD_BYTES = 65_536;

const EMPTY = new Uint8Array(0);

/**
 * The body of one request, between the pushes of an exchange and an application that pulls. Nothing flows, and no
 * 100 Continue is sent, before somebody reads. It is read once: whole, or as a stream.
 */
export class RequestBody {
  readonly #exchange: Exchange;
  #limit: number;
  #mode: "unread" | "whole" | "stream" = "unread";
  #chunks: Uint8Array[] = [];
  /** Bytes in `#chunks`. */
  #held = 0;
  #received = 0;
  #complete: boolean;
  #error: unknown;
  #resolve: ((bytes: Uint8Array) => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;
  #stream: ReadableStream<Uint8Array> | undefined;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** A reader waits for the next chunk. */
  #wanted = false;

  constructor(exchange: Exchange, limit: number) {
    this.#exchange = exchange;
    this.#limit = limit;
    this.#complete = exchange.head.bodyLength === 0;
  }

  /** True once it was read as a whole or a stream was handed out. */
  get touched(): boolean {
    return this.#mode !== "unread";
  }

  /** Changes the limit, bytes; has effect on what has not arrived yet. */
  limitTo(bytes: number): void {
    this.#limit = bytes;
  }

  /** The whole body. Rejects with `BODY_USED`, `BODY_TOO_LARGE`, or the reason why the exchange ended. */
  whole(): Promise<Uint8Array> {
    if (this.touched)
      return Promise.reject(new PorticoGatewayError("BODY_USED", "Body is unusable: it was read before"));
    this.#mode = "whole";
    if (this.#complete && this.#error === undefined) return Promise.resolve(EMPTY);
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      if (this.#error === undefined) this.#checkDeclared();
      if (this.#error === undefined) this.#exchange.resume();
      else reject(this.#error);
    });
  }

  /** The body as a stream; the same one each time. */
  stream(): ReadableStream<Uint8Array> {
    if (this.#stream !== undefined) return this.#stream;
    this.#mode = "stream";
    // A high-water mark of 0: nothing is asked for until somebody reads, so the client is not told to continue either.
    this.#stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#pull(),
        cancel: () => {
          this.#controller = undefined;
          this.#chunks = [];
          this.#exchange.resume(); // What is left is read and dropped, so that the connection can be used again.
        },
      },
      { highWaterMark: 0 },
    );
    return this.#stream;
  }

  push(chunk: Uint8Array): void {
    this.#received += chunk.length;
    if (this.#error !== undefined) return;
    if (this.#received > this.#limit) return this.fail(this.#tooLarge());
    if (this.#mode === "whole") {
      this.#chunks.push(chunk);
      return;
    }
    if (this.#controller === undefined) return;
    if (this.#wanted) {
      this.#wanted = false;
      this.#controller.enqueue(chunk);
      return;
    }
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    if (this.#held >= READ_AHEAD_BYTES) this.#exchange.pause();
  }

  finish(): void {
    this.#complete = true;
    if (this.#error !== undefined) return;
    if (this.#mode === "whole") this.#resolve?.(joined(this.#chunks, this.#received));
    else if (this.#wanted) this.#close();
  }

  /** Ends a body that is not complete. What is held of it is lost: a part is never taken for the whole. */
  fail(error: unknown): void {
    if (this.#error !== undefined || this.#complete) return;
    this.#error = error;
    this.#chunks = [];
    this.#reject?.(error);
    this.#controller?.error(error);
    this.#controller = undefined;
  }

  #pull(): void {
    const next = this.#chunks.shift();
    if (next !== undefined) {
      this.#held -= next.length;
      this.#controller?.enqueue(next);
      return;
    }
    if (this.#complete) return this.#close();
    if (this.#error === undefined) this.#checkDeclared();
    if (this.#error !== undefined) return;
    this.#wanted = true;
    this.#exchange.resume();
  }

  #close(): void {
    this.#controller?.close();
    this.#controller = undefined;
  }

  #checkDeclared(): void {
    if (this.#exchange.head.bodyLength > this.#limit) this.fail(this.#tooLarge());
  }

  #tooLarge(): PorticoGatewayError {
    return new PorticoGatewayError("BODY_TOO_LARGE", `Request body is larger than the limit of ${this.#limit} bytes`, {
      rule: "T4.5.1",
    });
  }
}

function joined(chunks: Uint8Array[], total: number): Uint8Array {
  if (chunks.length === 1) return chunks[0] as Uint8Array;
  const whole = new Uint8Array(total);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
