/**
 * An exchange that somebody looks at while it goes by: a log, a counter. It passes everything on, in both directions,
 * and knows at the end what was answered. One object for each request, between the transport and whoever answers.
 */
import { Buffer } from "node:buffer";
import type {
  AbortReason,
  Exchange,
  ExchangeFacts,
  ExchangeHandler,
  ExchangeObserver,
  HeaderList,
  RequestHead,
  WholeBody,
} from "./exchange.ts";

/** How an exchange ended: as it should, or why not. */
export type Ending = AbortReason | "completed";

/** HOT: made for every request where anything is watched. Nothing here may allocate. */
export abstract class WatchedExchange implements Exchange, ExchangeObserver {
  /** Of the final response; 0: none was begun. */
  status = 0;
  /** Of the bodies, as far as they came and went. */
  bytesIn = 0;
  bytesOut = 0;
  observer: ExchangeObserver | undefined = undefined;
  protected readonly inner: Exchange;
  private readonly began = performance.now();

  constructor(inner: Exchange) {
    this.inner = inner;
    inner.observer = this;
  }

  /** Called once, before whoever answers hears of the end. */
  protected abstract over(how: Ending, durationMs: number): void;

  /** Has it answered, and lets a body flow that the answerer does not want, as the transport would have. */
  answer(handler: ExchangeHandler): void {
    handler(this);
    if (this.observer === undefined && !this.inner.ended) this.inner.resume();
  }

  get head(): RequestHead {
    return this.inner.head;
  }
  get facts(): ExchangeFacts {
    return this.inner.facts;
  }
  get started(): boolean {
    return this.inner.started;
  }
  get ended(): boolean {
    return this.inner.ended;
  }

  onData(chunk: Uint8Array): void {
    this.bytesIn += chunk.length;
    this.observer?.onData(chunk);
  }
  onEnd(trailers: HeaderList): void {
    this.observer?.onEnd(trailers);
  }
  onDrain(): void {
    this.observer?.onDrain();
  }
  onFinish(): void {
    this.over("completed", performance.now() - this.began);
    this.observer?.onFinish();
  }
  onAbort(reason: AbortReason): void {
    this.over(reason, performance.now() - this.began);
    this.observer?.onAbort(reason);
  }

  resume(): void {
    this.inner.resume();
  }
  pause(): void {
    this.inner.pause();
  }
  inform(status: number, headers: HeaderList): void {
    this.inner.inform(status, headers);
  }
  respond(status: number, headers: HeaderList, body: WholeBody): void {
    // Before, because the exchange may end within the call. Where it throws, another answer follows.
    this.status = status;
    this.bytesOut = 0;
    this.sent(body);
    this.inner.respond(status, headers, body);
  }
  start(status: number, headers: HeaderList): void {
    this.status = status;
    this.inner.start(status, headers);
  }
  write(chunk: Uint8Array | string): boolean {
    this.sent(chunk);
    return this.inner.write(chunk);
  }
  end(trailers?: HeaderList): void {
    this.inner.end(trailers);
  }
  upgrade(status: number, headers: HeaderList): void {
    this.status = status;
    this.inner.upgrade(status, headers);
  }
  abort(reason: AbortReason): void {
    this.inner.abort(reason);
  }

  private sent(body: WholeBody): void {
    if (body !== null && this.inner.head.method !== "HEAD")
      this.bytesOut += typeof body === "string" ? Buffer.byteLength(body) : body.length;
  }
}
