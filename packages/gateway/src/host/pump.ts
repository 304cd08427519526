import { PorticoGatewayError } from "../errors.ts";
import type { Exchange, HeaderList } from "../exchange.ts";
import type { Draft } from "./reply.ts";
import type { BodySource } from "./source.ts";

const encoder = new TextEncoder();

/** Computes the trailers when the body is complete. */
export type TrailerMaker = () => Promise<HeaderList>;

/**
 * Sends a body from its source to an exchange: one part at a time, and none while the transport is full.
 *
 * A body that turns out to be a single part, complete within one turn of the event loop, goes as one whole response. One
 * that takes longer has its head sent at once, for clients of server-sent events wait for it.
 */
export class Pump {
  readonly #exchange: Exchange;
  readonly #draft: Draft;
  readonly #source: BodySource;
  readonly #trailers: TrailerMaker | undefined;
  #sent = 0;
  #stopped = false;
  #wake: (() => void) | undefined;

  constructor(exchange: Exchange, draft: Draft, source: BodySource, trailers: TrailerMaker | undefined) {
    this.#exchange = exchange;
    this.#draft = draft;
    this.#source = source;
    this.#trailers = trailers;
  }

  /** Resolves when everything was given to the exchange, or the pump was stopped. Rejects with what the source threw, or `BAD_BODY`, `BAD_CONTENT_LENGTH`; the source is let go of then. */
  async run(): Promise<void> {
    try {
      await this.#run();
    } catch (error) {
      if (!this.#stopped) this.#source.cancel(error);
      throw error;
    }
  }

  /** The transport takes bytes again. */
  drain(): void {
    this.#wake?.();
  }

  /** The exchange is over: the source is told why. */
  stop(reason: unknown): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#source.cancel(reason);
    this.#wake?.();
  }

  async #run(): Promise<void> {
    const { status, headers, contentLength } = this.#draft;
    const first = this.#source.next();
    const prompt = await withinThisTurn(first);
    if (this.#stopped) return;
    if (prompt && this.#trailers === undefined) {
      const result = await first;
      if (this.#stopped) return;
      if (result.done) return this.#whole(null);
      const part = bytesOf(result.value);
      const second = this.#source.next();
      if ((await withinThisTurn(second)) && (await second).done) {
        if (!this.#stopped) this.#whole(part);
        return;
      }
      if (this.#stopped) return;
      this.#exchange.start(status, headers);
      await this.#write(part);
      await this.#rest(second);
    } else {
      this.#exchange.start(status, headers);
      await this.#rest(first);
    }
    if (this.#stopped) return;
    if (contentLength !== -1 && this.#sent < contentLength) throw this.#wrongLength(`only ${this.#sent}`);
    const trailers = this.#trailers === undefined ? undefined : await this.#trailers();
    if (!this.#stopped) this.#exchange.end(trailers);
  }

  async #rest(next: Promise<{ readonly done: boolean; readonly value: unknown }>): Promise<void> {
    let result = await next;
    while (!result.done && !this.#stopped) {
      await this.#write(bytesOf(result.value));
      if (this.#stopped) return;
      result = await this.#source.next();
    }
  }

  async #write(part: Uint8Array): Promise<void> {
    if (part.length === 0 || this.#stopped) return;
    this.#sent += part.length;
    if (this.#draft.contentLength !== -1 && this.#sent > this.#draft.contentLength) throw this.#wrongLength("more");
    if (this.#exchange.write(part) || this.#exchange.ended) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }

  #whole(body: Uint8Array | null): void {
    const length = body?.length ?? 0;
    const declared = this.#draft.contentLength;
    if (declared !== -1 && declared !== length) throw this.#wrongLength(String(length));
    this.#exchange.respond(this.#draft.status, this.#draft.headers, body);
  }

  #wrongLength(actual: string): PorticoGatewayError {
    return new PorticoGatewayError(
      "BAD_CONTENT_LENGTH",
      `Content-Length says ${this.#draft.contentLength}, the body gave ${actual} bytes`,
      { rule: "T5.3.2" },
    );
  }
}

/** Whether a promise settles before the event loop goes round, that is, without waiting for the outside world. */
async function withinThisTurn(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  let finish: (() => void) | undefined;
  const turn = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const cancel = nextTurn(finish as () => void);
  const note = (): void => {
    settled = true;
    cancel();
    finish?.();
  };
  promise.then(note, note);
  await turn;
  return settled;
}

/** Calls back when the event loop has gone round; gives the way to take that back. Not every platform has `setImmediate`. */
function nextTurn(callback: () => void): () => void {
  if (typeof setImmediate === "function") {
    const immediate = setImmediate(callback);
    return () => clearImmediate(immediate);
  }
  const timer = setTimeout(callback, 0);
  return () => clearTimeout(timer);
}

function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value === "string") return encoder.encode(value);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw new PorticoGatewayError("BAD_BODY", `A body stream gave a ${typeof value}, not bytes or text`, {
    rule: "T5.4.1",
  });
}
