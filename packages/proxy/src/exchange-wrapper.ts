/**
 * An exchange in front of another: what a stage of the chain that changes the request or the response hands on. All is
 * passed through; a stage overrides what it changes. Made only for requests of routes that have such a stage.
 *
 * `facts` stay those of the transport: what is noted about an exchange is kept by them.
 */
import type {
  AbortReason,
  Exchange,
  ExchangeFacts,
  ExchangeObserver,
  HeaderList,
  RequestHead,
  WholeBody,
} from "@portico/gateway/exchange";

export class ExchangeWrapper implements Exchange {
  readonly inner: Exchange;

  /** Another route is another attempt at the same request: what is in front of the first is taken off for it. Not this. */
  get lasting(): boolean {
    return false;
  }

  constructor(inner: Exchange) {
    this.inner = inner;
  }

  get head(): RequestHead {
    return this.inner.head;
  }
  get facts(): ExchangeFacts {
    return this.inner.facts;
  }
  get observer(): ExchangeObserver | undefined {
    return this.inner.observer;
  }
  set observer(observer: ExchangeObserver | undefined) {
    this.inner.observer = observer;
  }
  get started(): boolean {
    return this.inner.started;
  }
  get ended(): boolean {
    return this.inner.ended;
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
    this.inner.respond(status, headers, body);
  }
  start(status: number, headers: HeaderList): void {
    this.inner.start(status, headers);
  }
  write(chunk: Uint8Array | string): boolean {
    return this.inner.write(chunk);
  }
  end(trailers?: HeaderList): void {
    this.inner.end(trailers);
  }
  upgrade(status: number, headers: HeaderList): void {
    this.inner.upgrade(status, headers);
  }
  abort(reason: AbortReason): void {
    this.inner.abort(reason);
  }
}
