import type { RecordHeaders, Reply } from "../application.ts";
import type { Context } from "../context.ts";
import { type GatewayErrorCode, PorticoGatewayError } from "../errors.ts";
import type { AbortReason, Exchange, ExchangeObserver, HeaderList } from "../exchange.ts";
import { RequestBody } from "./body.ts";
import { HostContext } from "./context.ts";
import { errorReply } from "./failure.ts";
import { checkFields } from "./fields.ts";
import { FileTicket } from "./file.ts";
import type { CacheOrders } from "./front.ts";
import { Pump, type TrailerMaker } from "./pump.ts";
import { discardReply, draftOf } from "./reply.ts";
import { LazyRequest, type RequestSource } from "./request.ts";
import type { HostCore } from "./core.ts";
import { type TunnelEnd, UpgradeTicket } from "./upgrade.ts";

const REASONS: Record<AbortReason, readonly [GatewayErrorCode, string]> = {
  "client-disconnected": ["CLIENT_DISCONNECTED", "The client left before the response was complete"],
  "protocol-error": ["CLIENT_DISCONNECTED", "The client broke the protocol before the response was complete"],
  reset: ["CLIENT_DISCONNECTED", "The exchange was reset before the response was complete"],
  timeout: ["TIMEOUT", "The time for this request has passed"],
  shutdown: ["SHUTDOWN", "The worker is shutting down"],
};

/** Longest delay that a timer takes, milliseconds (2^31 - 1); a later deadline needs none. */
const LONGEST_TIMER_MS = 2_147_483_647;

/**
 * One run of the application: between an exchange on one side, and the request and context it is shown as on the
 * other. Hot path: everything that not every request needs is made when first asked for.
 */
export class Call implements ExchangeObserver, RequestSource {
  readonly core: HostCore;
  readonly exchange: Exchange;
  readonly request: Request;
  readonly context: Context;
  /** Whether the application has handed over a reply, or the host has in its place. */
  replied = false;
  trailers: TrailerMaker | undefined;
  /** What `ctx.cache` and `ctx.compress` said. */
  cache: CacheOrders | undefined;
  noTransform = false;
  /** What `ctx.buffering` said. */
  buffering: boolean | undefined;
  #body: RequestBody | undefined;
  #bodyLimit: number;
  #controller: AbortController | undefined;
  #reason: PorticoGatewayError | undefined;
  #pump: Pump | undefined;
  #tunnel: TunnelEnd | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer strikes, milliseconds since the epoch. */
  #timeUp = Infinity;
  #requestTrailers: PromiseWithResolvers<HeaderList> | undefined;
  #receivedTrailers: HeaderList | undefined;
  #finished: ((reason: PorticoGatewayError | undefined) => void)[] | undefined;
  #recovering = false;
  #over = false;

  constructor(core: HostCore, exchange: Exchange) {
    this.core = core;
    this.exchange = exchange;
    this.#bodyLimit = core.limits.bodySize;
    this.request = new LazyRequest(this) as unknown as Request;
    this.context = new HostContext(this);
  }

  // --- the application's side

  /** Runs the application. Never throws. Hot path: no promise unless the application returns one. */
  run(): void {
    if (this.core.limits.time !== Infinity) this.limitTime(this.core.limits.time);
    let reply: Reply | PromiseLike<Reply>;
    try {
      reply = this.core.dispatch(this.exchange.head, this.request, this.context);
    } catch (error) {
      return this.fail(error);
    }
    if (isThenable(reply)) this.#later(reply);
    else this.#send(reply);
  }

  get body(): RequestBody {
    if (this.#body === undefined) {
      this.#body = new RequestBody(this.exchange, this.#bodyLimit);
      if (this.#reason !== undefined) this.#body.fail(this.#reason);
    }
    return this.#body;
  }

  get bodyLimit(): number {
    return this.#bodyLimit;
  }

  limitBody(bytes: number): void {
    this.#bodyLimit = bytes;
    this.#body?.limitTo(bytes);
  }

  /** Milliseconds left until the time limit; Infinity where there is none. */
  get timeLeft(): number {
    return Math.max(0, this.#timeUp - Date.now());
  }

  limitTime(ms: number): void {
    clearTimeout(this.#timer);
    this.#timeUp = Date.now() + ms;
    this.#timer = undefined;
    if (this.#over || ms > LONGEST_TIMER_MS) return;
    this.#timer = setTimeout(() => this.#timeOut(), ms);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
      else if (!this.#over) {
        this.core.listening.add(this);
        const deadline = this.exchange.facts.deadline;
        if (deadline !== undefined && deadline < this.#timeUp) this.limitTime(Math.max(0, deadline - Date.now()));
      }
    }
    return this.#controller.signal;
  }

  /** Aborts the signal, once; the exchange itself goes on. */
  interrupt(code: AbortReason): void {
    if (this.#over || this.#reason !== undefined) return;
    this.#reason = reasonOf(code);
    this.#controller?.abort(this.#reason);
  }

  get requestTrailers(): Promise<HeaderList> {
    if (this.#requestTrailers === undefined) {
      this.#requestTrailers = Promise.withResolvers();
      this.#requestTrailers.promise.catch(ignore); // Not awaiting it is no error.
      if (this.#receivedTrailers !== undefined) this.#requestTrailers.resolve(this.#receivedTrailers);
      else if (this.exchange.head.bodyLength === 0) this.#requestTrailers.resolve([]);
      else if (this.#reason !== undefined) this.#requestTrailers.reject(this.#reason);
    }
    return this.#requestTrailers.promise;
  }

  earlyHints(headers: RecordHeaders): void {
    if (this.exchange.started || this.exchange.ended) throw tooLate("earlyHints");
    this.exchange.inform(103, checkFields(headers).list);
  }

  onFinished(callback: (reason: PorticoGatewayError | undefined) => void): void {
    if (this.#over) queueMicrotask(() => this.#tell(callback));
    else (this.#finished ??= []).push(callback);
  }

  // --- the exchange's side

  onData(chunk: Uint8Array): void {
    if (this.#tunnel !== undefined) this.#tunnel.receive(chunk);
    else this.#body?.push(chunk);
  }

  onEnd(trailers: HeaderList): void {
    if (this.#tunnel !== undefined) return this.#tunnel.receiveEnd();
    this.#receivedTrailers = trailers;
    this.#body?.finish();
    this.#requestTrailers?.resolve(trailers);
  }

  onDrain(): void {
    this.#pump?.drain();
    this.#tunnel?.drain();
  }

  onFinish(): void {
    this.#end();
  }

  onAbort(reason: AbortReason): void {
    if (this.#over) return;
    const error = (this.#reason ??= reasonOf(reason));
    this.#end();
    this.#body?.fail(error);
    this.#requestTrailers?.reject(error);
    this.#controller?.abort(error);
    this.#pump?.stop(error);
    this.#tunnel?.abandon();
  }

  // --- replies

  #later(reply: PromiseLike<Reply>): void {
    this.core.begin();
    reply.then(
      (settled) => {
        this.#send(settled);
        this.core.end();
      },
      (error: unknown) => {
        this.fail(error);
        this.core.end();
      },
    );
  }

  /** Hot path. */
  #send(reply: Reply): void {
    const exchange = this.exchange;
    if (this.replied || exchange.ended) return discardReply(reply, this.#reason);
    this.replied = true;
    try {
      if (reply instanceof UpgradeTicket) {
        this.#tunnel = reply.tunnel;
        reply.accept();
        return;
      }
      if (reply instanceof FileTicket) {
        this.replied = false; // what comes of it is the reply
        return this.#later(reply.respond(exchange.head));
      }
      const draft = draftOf(reply, exchange.head.method);
      if (this.cache !== undefined) draft.headers.push(...this.cache.fields());
      if (this.noTransform) addNoTransform(draft.headers);
      if (this.buffering !== undefined) draft.headers.push("x-accel-buffering", this.buffering ? "yes" : "no");
      if (draft.stream !== undefined) this.#pumpOut(new Pump(exchange, draft, draft.stream, this.trailers));
      else if (this.trailers === undefined || draft.whole === null)
        exchange.respond(draft.status, draft.headers, draft.whole);
      else this.#pumpOut(new Pump(exchange, draft, wholeSource(draft.whole), this.trailers));
    } catch (error) {
      discardReply(reply, error);
      this.#answerError(error);
    }
  }

  #pumpOut(pump: Pump): void {
    this.#pump = pump;
    this.core.begin();
    pump
      .run()
      .catch((error: unknown) => this.#answerError(error))
      .finally(() => this.core.end());
  }

  /** The application threw. Its own `onError` answers first, once; then the host. */
  fail(error: unknown): void {
    const { onError } = this.core;
    if (onError === undefined || this.#recovering || this.replied || this.exchange.ended)
      return this.#answerError(error);
    this.#recovering = true;
    try {
      const reply = onError(error, this.request, this.context);
      if (isThenable(reply)) this.#later(reply);
      else this.#send(reply);
    } catch (second) {
      this.#answerError(second);
    }
  }

  /** Answers an error that nobody handled: never with more than its id, unless in development. */
  #answerError(error: unknown): void {
    this.replied = true;
    const exchange = this.exchange;
    const answer = errorReply(error, exchange, this.core.development);
    const { target, method } = exchange.head;
    const fields = { err: error, id: exchange.facts.id, method, target, status: answer.status };
    if (exchange.ended) {
      // Nobody waits for the answer. What the loss of the client caused is no news; anything else is.
      if (error !== this.#reason) this.core.log.warn(fields, "The application failed after the exchange had ended");
      return;
    }
    if (answer.status >= 500) this.core.log.error(fields, `The application failed: ${answer.summary}`);
    else this.core.log.info(fields, `The request was refused: ${answer.summary}`);
    if (exchange.started) return exchange.abort("reset");
    try {
      exchange.respond(answer.status, answer.headers, answer.body);
    } catch (refused) {
      this.core.log.error({ err: refused, id: exchange.facts.id }, "The transport refused the error page");
      exchange.abort("reset");
    }
  }

  #timeOut(): void {
    this.#timer = undefined;
    if (this.#over) return;
    this.interrupt("timeout");
    // What has been begun goes on: the front that set the deadline ends it. An answer that is still owed is given.
    if (!this.replied) this.#answerError(this.#reason);
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    if (this.#controller !== undefined) this.core.listening.delete(this);
    if (this.#finished !== undefined) for (const callback of this.#finished) this.#tell(callback);
    this.core.leave();
  }

  #tell(callback: (reason: PorticoGatewayError | undefined) => void): void {
    try {
      callback(this.#reason);
    } catch (error) {
      this.core.log.error({ err: error, id: this.exchange.facts.id }, "A callback of ctx.onFinished threw");
    }
  }
}

export function tooLate(what: string): PorticoGatewayError {
  return new PorticoGatewayError("TOO_LATE", `${what}: the response is on its way already`);
}

/** Says that nobody on the way may change the body (RFC 9111 §5.2.2.6): a front that compresses would. */
function addNoTransform(headers: HeaderList): void {
  for (let at = 0; at < headers.length; at += 2)
    if (headers[at]!.toLowerCase() === "cache-control") {
      headers[at + 1] = `${headers[at + 1]}, no-transform`;
      return;
    }
  headers.push("cache-control", "no-transform");
}

function reasonOf(reason: AbortReason): PorticoGatewayError {
  const [code, message] = REASONS[reason];
  return new PorticoGatewayError(code, message);
}

function isThenable(value: unknown): value is PromiseLike<Reply> {
  return (
    typeof value === "object" && value !== null && typeof (value as Partial<PromiseLike<unknown>>).then === "function"
  );
}

/** A whole body as a source, for responses that have trailers and therefore cannot go as one. */
function wholeSource(body: Uint8Array | string): {
  next(): Promise<{ done: boolean; value: unknown }>;
  cancel(): void;
} {
  let given = false;
  return {
    next: () => {
      const done = given;
      given = true;
      return Promise.resolve({ done, value: done ? undefined : body });
    },
    cancel: ignore,
  };
}

function ignore(): void {}
