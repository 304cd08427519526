import type { AbortReason, ExchangeHandler, HeaderList, WholeBody } from "@portico/gateway/exchange";
import { Clock } from "./clock.ts";
import { ConnectionTimer } from "./connection-timer.ts";
import { Http1Error } from "./error.ts";
import { type ExchangeConnection, Http1Exchange, PART_BYTES } from "./exchange.ts";
import { type ConnectionFacts, type Trust, requestIds } from "./facts.ts";
import { type ConnectionLimits, DEFAULT_CONNECTION_LIMITS, DEFAULT_LIMITS, type MessageLimits } from "./limits.ts";
import { DATA, END, FAILED, HEAD } from "./parser-event.ts";
import { RequestParser } from "./request-parser.ts";
import type { ByteSink } from "./sink.ts";
import { reasonOf } from "./status.ts";
import { readFields, responseHead } from "./writer.ts";

/** What went along with an error: enough for a log line, nothing that the client sent. */
export interface ErrorFacts {
  /** Request id, as the client sees it in the error response. */
  readonly id: string;
  readonly connection: ConnectionFacts;
  /** The exchange that the error ended; undefined where it arose before there was one. */
  readonly exchange: Http1Exchange | undefined;
}

/** The answer to a request that could not be read. Connection-level fields and framing are added. */
export interface ErrorAnswer {
  readonly headers: HeaderList;
  readonly body: WholeBody;
}

export interface ServerConnectionOptions {
  readonly limits?: Partial<ConnectionLimits>;
  readonly messageLimits?: Partial<MessageLimits>;
  /** Which peers' forwarded fields and request ids are believed. None where absent. */
  readonly trust?: Trust;
  /** Shared by connections, so that Date is rendered once for all. */
  readonly clock?: Clock;
  /** Makes request ids. */
  readonly nextId?: () => string;
  /** Told of every refused message, timeout of a message under way, and error of a handler or observer. Must not throw. */
  readonly onError?: (error: unknown, facts: ErrorFacts) => void;
  /** Renders the answer to a refused message; undefined: the plain one. Must not throw. */
  readonly onProtocolError?: (error: Http1Error, facts: ErrorFacts) => ErrorAnswer | undefined;
}

/** Options with their defaults. */
interface ConnectionSettings {
  readonly limits: ConnectionLimits;
  readonly messageLimits: MessageLimits;
  readonly clock: Clock;
  readonly nextId: () => string;
  readonly options: ServerConnectionOptions;
}

const sharedIds = requestIds();

const knownSettings = new WeakMap<ServerConnectionOptions, ConnectionSettings>();

/** Fills in the defaults, once for each options object. */
function settingsOf(options: ServerConnectionOptions): ConnectionSettings {
  const known = knownSettings.get(options);
  if (known !== undefined) return known;
  const settings = {
    limits: { ...DEFAULT_CONNECTION_LIMITS, ...options.limits },
    messageLimits: { ...DEFAULT_LIMITS, ...options.messageLimits },
    clock: options.clock ?? new Clock(),
    nextId: options.nextId ?? sharedIds,
    options,
  };
  knownSettings.set(options, settings);
  return settings;
}

/** Trust for a connection whose peer is itself trusted. */
function trustOf({ options: { trust } }: ConnectionSettings, facts: ConnectionFacts): Trust | undefined {
  return trust !== undefined && trust(facts.peer.address) ? trust : undefined;
}

const OPEN = 0;
/** The last response is written and our half closed; what still comes is thrown away, and what has not left yet has its time. */
const LINGERING = 1;
const GONE = 2;

/**
 * The server's end of one HTTP/1.1 connection: bytes in, exchanges to the handler, bytes out.
 *
 * One exchange at a time: a pipelined request is not even parsed before the response to the former was taken by the
 * sink. Knows no sockets and no timers: `tick` brings the time.
 */
export class ServerConnection implements ExchangeConnection {
  readonly facts: ConnectionFacts;
  trust: Trust | undefined;
  nextId: () => string;
  private readonly sink: ByteSink;
  private readonly handler: ExchangeHandler;
  private settings: ConnectionSettings;
  private limits: ConnectionLimits;
  private readonly parser: RequestParser;
  private readonly timer: ConnectionTimer;
  private exchange: Http1Exchange | undefined = undefined;
  private state = OPEN;
  private requests = 0;
  private draining = false;
  /** The sink did not take the last write at once. */
  private blocked = false;
  private readingPaused = false;
  private pumping = false;
  /** The handler is being called, for a request of this time. */
  private dispatching = false;
  private dispatchedAt = 0;
  /** The client closed its half. */
  private peerEnded = false;
  private ourHalfEnded = false;
  /** Bytes of an unread body thrown away so far. */
  private discarded = 0;
  /** What is left of a large body. */
  private rest: Uint8Array | undefined = undefined;

  constructor(sink: ByteSink, handler: ExchangeHandler, options: ServerConnectionOptions, facts: ConnectionFacts) {
    this.settings = settingsOf(options);
    this.sink = sink;
    this.handler = handler;
    this.facts = facts;
    this.limits = this.settings.limits;
    this.nextId = this.settings.nextId;
    this.trust = trustOf(this.settings, facts);
    this.parser = new RequestParser(this.settings.messageLimits);
    this.timer = new ConnectionTimer(this.limits);
  }

  /** Other limits, times and trust, from the next message on; what is being received goes by the new limits too. */
  configure(options: ServerConnectionOptions): void {
    this.settings = settingsOf(options);
    this.limits = this.settings.limits;
    this.nextId = this.settings.nextId;
    this.trust = trustOf(this.settings, this.facts);
    this.parser.limits = this.settings.messageLimits;
    this.timer.limits = this.limits;
  }

  /** No request is under way or half received, and nothing waits to be sent. */
  get idle(): boolean {
    return this.exchange === undefined && !this.blocked && !this.parser.inMessage;
  }

  /** Requests that were dispatched so far. */
  get requestCount(): number {
    return this.requests;
  }

  /** Bytes from the client. They belong to the connection. */
  receive(chunk: Uint8Array): void {
    if (this.state !== OPEN) return;
    this.parser.feed(chunk);
    this.pump();
    this.holdReading();
  }

  /** Bytes from the client that are overwritten when this returns: the first `length` of `bytes`. */
  receiveBorrowed(bytes: Buffer, length: number): void {
    if (this.state !== OPEN) return;
    this.parser.lend(bytes, length);
    this.pump();
    this.parser.keep();
    this.holdReading();
  }

  private holdReading(): void {
    if (this.parser.buffered > this.limits.buffered && !this.readingPaused && this.state === OPEN) {
      this.readingPaused = true;
      this.sink.pause();
    }
  }

  /** The client closed its half; a request that is complete is still answered. */
  receiveEnd(): void {
    if (this.peerEnded) return;
    this.peerEnded = true;
    if (this.state === OPEN) this.pump();
  }

  /** The sink takes bytes again. */
  writable(): void {
    if (this.state === GONE || !this.blocked) return;
    this.blocked = false;
    this.timer.written();
    this.guard(() => {
      if (this.rest !== undefined && !this.sendRest()) return;
      const { exchange } = this;
      if (exchange === undefined) return;
      if (exchange.written) this.endExchange(exchange);
      else if (exchange.drainOwed) {
        exchange.drainOwed = false;
        exchange.observer?.onDrain();
      }
    });
    this.pump();
  }

  /** The connection is gone, for whatever reason. */
  closed(): void {
    if (this.state === GONE) return;
    this.state = GONE;
    this.breakExchange("client-disconnected");
  }

  /** Time passes: milliseconds of any clock that never runs backwards, about once a second. */
  tick(now: number): void {
    if (this.state === GONE) return;
    const { exchange, timer } = this;
    if (this.blocked && timer.stalled(now, this.sink.pending?.())) {
      this.destroy("timeout");
    } else if (this.state === LINGERING) {
      this.tickLingering(now);
    } else if (exchange === undefined) {
      this.tickBetween(now);
    } else if (this.peerEnded && !this.blocked && !exchange.tunnelling && timer.halfClosed(now)) {
      this.destroy("client-disconnected");
    } else {
      const waiting =
        !exchange.bodyRead && !exchange.tunnelling && !this.readingPaused && (exchange.flowing || exchange.written);
      const rule = timer.body(now, waiting);
      if (rule !== undefined) this.refuse(new Http1Error(rule), "timeout");
    }
  }

  /** Ends it now; an exchange under way is told so. */
  abort(reason: AbortReason): void {
    this.destroy(reason);
  }

  /** Finishes what is under way, announces the end, then closes. Idle connections go at the next ticks. */
  drain(): void {
    this.draining = true;
  }

  // — what exchanges ask for —

  dateLine(): string {
    const { clock } = this.settings;
    // Inside the handler hardly any time has passed since the request was dispatched.
    return this.dispatching ? clock.dateLineAt(this.dispatchedAt) : clock.dateLine();
  }

  closesAfter(exchange: Http1Exchange): boolean {
    if (this.draining || this.peerEnded || this.requests >= this.limits.requests) return true;
    if (exchange.bodyRead || exchange.wanted) return exchange.awaitsContinue;
    // The body was never asked for. A small one is cheaper to read than a new connection.
    return exchange.awaitsContinue || exchange.head.bodyLength < 0 || exchange.head.bodyLength > this.limits.discard;
  }

  send(data: Uint8Array | string): boolean {
    this.timer.sent = true;
    if (!this.sink.write(data)) this.blocked = true;
    return !this.blocked;
  }

  gather(): void {
    this.sink.gather?.();
  }

  sendLarge(head: string, body: Uint8Array): void {
    const first = body.subarray(0, PART_BYTES);
    if (body.length > PART_BYTES) this.rest = body.subarray(PART_BYTES);
    this.timer.sent = true;
    if (this.sink.pair === undefined) {
      this.send(head);
      this.send(first);
    } else if (!this.sink.pair(head, first)) {
      this.blocked = true;
    }
    this.sendRest();
  }

  bodyWanted(): void {
    // Inside the handler (or an observer) the pump is running and goes on when that returns.
    this.pump();
  }

  responseWritten(exchange: Http1Exchange): void {
    if (this.pumping || this.blocked || this.rest !== undefined) return;
    try {
      this.endExchange(exchange);
    } catch (error) {
      this.report(error, exchange);
      this.destroy("reset");
    }
    this.pump();
  }

  switched(exchange: Http1Exchange): void {
    exchange.bodyRead = false;
    exchange.endDelivered = false;
    this.parser.becomeTunnel();
    this.pump();
  }

  tunnelEnded(exchange: Http1Exchange): void {
    if (this.ourHalfEnded) return;
    this.ourHalfEnded = true;
    this.sink.end();
    if (exchange.endDelivered) this.endTunnel(exchange);
  }

  abandon(exchange: Http1Exchange, reason: AbortReason, error?: Http1Error): void {
    if (error !== undefined) this.report(error, exchange);
    this.destroy(reason);
  }

  // — the machine —

  /** Hot path: goes on for as long as something can be done without waiting. Not re-entrant. */
  private pump(): void {
    if (this.pumping || this.state !== OPEN) return;
    this.pumping = true;
    try {
      while (this.state === OPEN && this.step()) {
        // Each step is one event.
      }
    } catch (error) {
      this.report(error, this.exchange);
      this.destroy("reset");
    } finally {
      this.pumping = false;
    }
    this.resumeReading();
  }

  private resumeReading(): void {
    if (!this.readingPaused || this.parser.buffered > this.limits.buffered || this.state === GONE) return;
    this.readingPaused = false;
    this.sink.resume();
  }

  /** Does one thing; false where there is nothing to do before something happens outside. */
  private step(): boolean {
    const { exchange } = this;
    if (exchange === undefined) return !this.blocked && this.stepBetween();
    if (exchange.ended) return this.stepDiscard(exchange);
    if (exchange.written && !this.blocked && this.rest === undefined) {
      if (exchange.flowing && exchange.bodyRead && !exchange.endDelivered) this.deliverEnd(exchange);
      this.endExchange(exchange);
      return true;
    }
    if (!exchange.flowing) return false;
    return this.stepBody(exchange);
  }

  private stepBetween(): boolean {
    const event = this.parser.next();
    if (event === HEAD) {
      this.dispatch();
      return true;
    }
    if (event === FAILED) {
      this.refuse(this.parser.error as Http1Error, "protocol-error");
      return false;
    }
    if (this.parser.inMessage) this.timer.headBegun(this.requests === 0);
    if (this.peerEnded) this.linger();
    return false;
  }

  private dispatch(): void {
    const { parser } = this;
    if (parser.targetScheme !== "" && this.trust === undefined && parser.targetScheme !== this.facts.scheme) {
      this.refuse(new Http1Error("rfc9110-7.4-misdirected-scheme"), "protocol-error");
      return;
    }
    this.requests++;
    this.dispatchedAt = this.settings.clock.now();
    const exchange = new Http1Exchange(parser, this, this.dispatchedAt);
    this.exchange = exchange;
    this.discarded = 0;
    if (parser.bodyLength === 0) {
      parser.next();
      exchange.bodyRead = true;
      if (parser.buffered > 0) this.gather();
    } else {
      this.timer.bodyBegun();
    }
    this.dispatching = true;
    try {
      this.handler(exchange);
    } catch (error) {
      this.handlerFailed(exchange, error);
    } finally {
      this.dispatching = false;
    }
  }

  private handlerFailed(exchange: Http1Exchange, error: unknown): void {
    this.report(error, exchange);
    if (exchange.started) this.destroy("reset");
    else exchange.respond(500, PLAIN_TEXT, plainBody(500, exchange.facts.id));
  }

  private stepBody(exchange: Http1Exchange): boolean {
    if (exchange.bodyRead) {
      if (exchange.endDelivered) return false;
      this.deliverEnd(exchange);
      return true;
    }
    const event = this.parser.next();
    if (event === DATA) {
      this.timer.bodyBytes(this.parser.data.length);
      exchange.awaitsContinue = false;
      exchange.observer?.onData(this.parser.data);
      return true;
    }
    if (event === END) {
      exchange.bodyRead = true;
      this.deliverEnd(exchange);
      return true;
    }
    if (event === FAILED) {
      this.refuse(this.parser.error as Http1Error, "protocol-error");
      return false;
    }
    if (!this.peerEnded) return false;
    return this.bodyCutShort(exchange);
  }

  private deliverEnd(exchange: Http1Exchange): void {
    exchange.endDelivered = true;
    exchange.observer?.onEnd(this.parser.trailers);
  }

  /** The client ended its half inside a body, or inside a tunnel, where that is how it ends. */
  private bodyCutShort(exchange: Http1Exchange): boolean {
    if (!exchange.tunnelling) {
      this.destroy("client-disconnected");
      return false;
    }
    exchange.bodyRead = true;
    exchange.endDelivered = true;
    exchange.observer?.onEnd([]);
    if (this.ourHalfEnded && !exchange.ended) this.endTunnel(exchange);
    return false;
  }

  private endTunnel(exchange: Http1Exchange): void {
    this.timer.lingerBegun();
    this.state = LINGERING;
    this.exchange = undefined;
    exchange.finish();
  }

  /** The response is out. The request's body may not be in yet. */
  private endExchange(exchange: Http1Exchange): void {
    if (!exchange.keepAlive) {
      this.exchange = undefined;
      this.linger();
    } else if (exchange.bodyRead) {
      this.exchange = undefined;
      this.idleBegun();
    }
    // Last: an observer may throw.
    exchange.finish();
  }

  private idleBegun(): void {
    this.timer.idleBegun();
    this.parser.release();
  }

  /** Reads the rest of a body that nobody wants, up to a bound. */
  private stepDiscard(exchange: Http1Exchange): boolean {
    const event = this.parser.next();
    if (event === END) {
      exchange.bodyRead = true;
      this.exchange = undefined;
      this.idleBegun();
      return true;
    }
    if (event === DATA) {
      this.timer.bodyBytes(this.parser.data.length);
      this.discarded += this.parser.data.length;
      if (this.discarded <= this.limits.discard) return true;
    } else if (event === FAILED) {
      this.report(this.parser.error, exchange);
    } else if (!this.peerEnded) {
      return false;
    }
    this.exchange = undefined;
    this.linger();
    return false;
  }

  /** Closes our half and lets the client read what we sent, instead of resetting it away (RFC 9112 §9.6). */
  private linger(): void {
    this.ourHalfEnded = true;
    this.timer.lingerBegun();
    this.parser.takeBuffered();
    this.sink.end();
    this.resumeReading();
    this.state = LINGERING;
  }

  /** Refuses the message that is being read: an answer where none was begun, and the end of the connection. */
  private refuse(error: Http1Error, reason: AbortReason): void {
    const { exchange } = this;
    const facts = this.report(error, exchange);
    if (exchange !== undefined && exchange.started) {
      this.destroy(reason);
      return;
    }
    const answer = this.settings.options.onProtocolError?.(error, facts);
    const headers = answer?.headers ?? PLAIN_TEXT;
    const body = answer === undefined ? plainBody(error.status, facts.id) : answer.body;
    const bytes = Buffer.from(body ?? "");
    const head = responseHead(
      error.status,
      readFields(headers),
      bytes.length,
      this.dateLine(),
      "Connection: close\r\n",
    );
    this.send(this.parser.method === "HEAD" ? head : Buffer.concat([Buffer.from(head, "latin1"), bytes]));
    this.exchange = undefined;
    this.linger();
    exchange?.break(reason);
  }

  private report(error: unknown, exchange: Http1Exchange | undefined): ErrorFacts {
    const facts = { id: exchange === undefined ? this.nextId() : exchange.facts.id, connection: this.facts, exchange };
    this.settings.options.onError?.(error, facts);
    return facts;
  }

  private destroy(reason: AbortReason): void {
    if (this.state === GONE) return;
    this.state = GONE;
    this.rest = undefined;
    this.sink.destroy();
    this.breakExchange(reason);
  }

  private breakExchange(reason: AbortReason): void {
    const { exchange } = this;
    this.exchange = undefined;
    if (exchange !== undefined && !exchange.ended) this.guard(() => exchange.break(reason));
  }

  /** False while parts are left that the sink has no room for. */
  private sendRest(): boolean {
    while (this.rest !== undefined && !this.blocked) {
      const part = this.rest.subarray(0, PART_BYTES);
      this.rest = this.rest.length > PART_BYTES ? this.rest.subarray(PART_BYTES) : undefined;
      this.send(part);
    }
    return this.rest === undefined && !this.blocked;
  }

  /** Errors of observers end their exchange, not the process. */
  private guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.report(error, this.exchange);
      this.destroy("reset");
    }
  }

  /** The last bytes have the time that any bytes have; the wait for the client's end begins when they are gone. */
  private tickLingering(now: number): void {
    const { timer } = this;
    const pending = this.sink.pending?.() ?? 0;
    if (pending > 0) {
      if (timer.stalled(now, pending)) this.destroy("timeout");
      else timer.lingerLater();
    } else if (timer.lingered(now)) {
      this.destroy("timeout");
    }
  }

  private tickBetween(now: number): void {
    const { timer } = this;
    if (this.parser.inMessage) {
      if (timer.headLate(now)) this.refuse(new Http1Error("timeout-head"), "timeout");
    } else if (this.requests === 0 ? timer.headLate(now) : timer.idleLong(now)) {
      this.linger();
    } else if (this.draining && timer.drainable(now)) {
      this.linger();
    }
  }
}

const PLAIN_TEXT: HeaderList = ["Content-Type", "text/plain; charset=utf-8"];

function plainBody(status: number, id: string): string {
  // RFC 9110 §15.6.6: a client that is refused for its version should hear which would do.
  const hint = status === 505 ? "This server speaks HTTP/1.1 and HTTP/1.0.\n" : "";
  return `${status} ${reasonOf(status)}\n${hint}Request id: ${id}\n`;
}
