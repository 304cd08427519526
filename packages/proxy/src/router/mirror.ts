/**
 * `mirror` of a `proxy` route: a copy of the request goes to another upstream, whose answer nobody sees.
 *
 * The copy never delays or fails the request. It has no back-pressure: what the mirror does not take in time waits in
 * memory up to `bodySize`; beyond it, or where too many copies are under way, the copy is given up and the request goes
 * on.
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
} from "@portico/gateway/exchange";
import type { MirrorSettings } from "../config/schema.ts";
import { ExchangeWrapper } from "../exchange-wrapper.ts";

/** Facts of its own: what is noted about the copy must not be noted about the request. */
function copyOfFacts(facts: ExchangeFacts): ExchangeFacts {
  const { id, traceparent, tracestate, peer, local, client, tls, receivedAt } = facts;
  return { id, traceparent, tracestate, peer, local, client, tls, receivedAt, queuedMs: 0, deadline: undefined };
}

/** The copy: takes the request's body as it comes, and drops the answer. */
class ShadowExchange implements Exchange {
  readonly head: RequestHead;
  readonly facts: ExchangeFacts;
  observer: ExchangeObserver | undefined = undefined;
  started = false;
  ended = false;
  readonly #limit: number;
  readonly #onEnd: () => void;
  #waiting: Uint8Array[] = [];
  #bytes = 0;
  #flowing = false;
  #whole = false;
  #complete: HeaderList | undefined;

  constructor(original: Exchange, limit: number, onEnd: () => void) {
    this.head = original.head;
    this.facts = copyOfFacts(original.facts);
    this.#limit = limit;
    this.#onEnd = onEnd;
  }

  /** A part of the original's body. */
  take(chunk: Uint8Array): void {
    if (this.ended) return;
    this.#bytes += chunk.length;
    if (this.#bytes > this.#limit) {
      this.abort("reset");
      return;
    }
    // Whoever gets the original's bytes owns them.
    this.#waiting.push(Buffer.from(chunk));
    this.#flow();
  }

  /** The original's body is complete. */
  complete(trailers: HeaderList): void {
    if (this.#whole) return;
    this.#whole = true;
    this.#complete = trailers;
    this.#flow();
  }

  /** The original ended early. */
  lose(reason: AbortReason): void {
    if (!this.#whole) this.abort(reason);
  }

  #flow(): void {
    while (this.#flowing && this.#waiting.length > 0) this.observer?.onData(this.#waiting.shift()!);
    if (!this.#flowing || this.#complete === undefined || this.ended) return;
    const trailers = this.#complete;
    this.#complete = undefined;
    this.observer?.onEnd(trailers);
  }

  #finish(): void {
    if (this.ended) return;
    this.ended = true;
    this.#waiting = [];
    this.#onEnd();
  }

  resume(): void {
    this.#flowing = true;
    // Never from inside the handler that resumes: the seam's rule.
    queueMicrotask(() => this.#flow());
  }
  pause(): void {
    this.#flowing = false;
  }
  inform(): void {}
  respond(): void {
    this.started = true;
    this.end();
  }
  start(): void {
    this.started = true;
  }
  write(): boolean {
    return true;
  }
  end(): void {
    if (this.ended) return;
    this.#finish();
    this.observer?.onFinish();
  }
  upgrade(): void {
    this.abort("reset");
  }
  abort(reason: AbortReason): void {
    if (this.ended) return;
    this.#finish();
    this.observer?.onAbort(reason);
  }
}

/** The original, whose body is copied on its way. */
class MirroredExchange extends ExchangeWrapper implements ExchangeObserver {
  readonly #shadow: ShadowExchange;
  #observer: ExchangeObserver | undefined;

  constructor(inner: Exchange, shadow: ShadowExchange) {
    super(inner);
    this.#shadow = shadow;
    inner.observer = this;
  }

  override get observer(): ExchangeObserver | undefined {
    return this.#observer;
  }
  override set observer(observer: ExchangeObserver | undefined) {
    this.#observer = observer;
  }

  onData(chunk: Uint8Array): void {
    this.#shadow.take(chunk);
    this.#observer?.onData(chunk);
  }
  onEnd(trailers: HeaderList): void {
    this.#shadow.complete(trailers);
    this.#observer?.onEnd(trailers);
  }
  onDrain(): void {
    this.#observer?.onDrain();
  }
  onFinish(): void {
    this.#shadow.lose("reset");
    this.#observer?.onFinish();
  }
  onAbort(reason: AbortReason): void {
    // A request that did not arrive whole is none for the mirror either; one that did goes on.
    this.#shadow.lose(reason);
    this.#observer?.onAbort(reason);
  }
}

/** Puts a mirror in front of a handler. */
export function mirrorHandler(
  settings: MirrorSettings,
  mirror: ExchangeHandler,
  next: ExchangeHandler,
): ExchangeHandler {
  let underWay = 0;
  const done = (): void => void underWay--;
  return (exchange) => {
    const { head } = exchange;
    const wanted =
      head.upgrade === undefined &&
      head.method !== "CONNECT" &&
      head.bodyLength <= settings.bodySize &&
      underWay < settings.concurrency &&
      (settings.share === 100 || Math.random() * 100 < settings.share);
    if (!wanted) {
      next(exchange);
      return;
    }
    underWay++;
    const shadow = new ShadowExchange(exchange, settings.bodySize, done);
    next(new MirroredExchange(exchange, shadow));
    if (head.bodyLength === 0) shadow.complete([]);
    // After the request itself is on its way, and in no case instead of it.
    setImmediate(() => {
      if (!shadow.ended) mirror(shadow);
    });
  };
}
