/**
 * The access log: one JSON line for each exchange, written when it ends.
 *
 * | field | meaning |
 * | --- | --- |
 * | `log` | always `access`: tells the lines apart where both logs go to one place |
 * | `time` | when the head was there |
 * | `id` | the request's id, also in error answers |
 * | `client` | address of the client, by whoever vouched for it |
 * | `method`, `scheme`, `host`, `target`, `version` | of the request, as received |
 * | `status` | of the answer; 0 where none was begun |
 * | `bytesIn`, `bytesOut` | of the bodies |
 * | `durationMs` | from the head to the end of the answer |
 * | `ended` | `completed`, or why not: `client-disconnected`, `timeout`, `shutdown`, `protocol-error`, `reset` |
 * | `referer`, `userAgent` | as received |
 * | `upstream`, `server`, `attempts`, `queuedMs`, `headMs`, `upstreamStatus`, `failure` | what the upstream did, where one was asked |
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
} from "@portico/gateway/exchange";
import { fieldValue } from "../answer/fields.ts";
import type { UpstreamFacts } from "../deps.ts";

/** An exchange that is watched for the log; between the transport and the router. */
class WatchedExchange implements Exchange, ExchangeObserver {
  readonly #inner: Exchange;
  readonly #log: AccessLog;
  readonly #began = performance.now();
  observer: ExchangeObserver | undefined = undefined;
  #status = 0;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(inner: Exchange, log: AccessLog) {
    this.#inner = inner;
    this.#log = log;
    inner.observer = this;
  }

  get head(): RequestHead {
    return this.#inner.head;
  }
  get facts(): ExchangeFacts {
    return this.#inner.facts;
  }
  get started(): boolean {
    return this.#inner.started;
  }
  get ended(): boolean {
    return this.#inner.ended;
  }

  #sent(body: WholeBody): void {
    if (body !== null && this.#inner.head.method !== "HEAD")
      this.#bytesOut += typeof body === "string" ? Buffer.byteLength(body) : body.length;
  }

  #end(how: AbortReason | "completed"): void {
    this.#log.write(this.#inner, how, this.#status, this.#bytesIn, this.#bytesOut, performance.now() - this.#began);
  }

  onData(chunk: Uint8Array): void {
    this.#bytesIn += chunk.length;
    this.observer?.onData(chunk);
  }
  onEnd(trailers: HeaderList): void {
    this.observer?.onEnd(trailers);
  }
  onDrain(): void {
    this.observer?.onDrain();
  }
  onFinish(): void {
    this.#end("completed");
    this.observer?.onFinish();
  }
  onAbort(reason: AbortReason): void {
    this.#end(reason);
    this.observer?.onAbort(reason);
  }

  resume(): void {
    this.#inner.resume();
  }
  pause(): void {
    this.#inner.pause();
  }
  inform(status: number, headers: HeaderList): void {
    this.#inner.inform(status, headers);
  }
  respond(status: number, headers: HeaderList, body: WholeBody): void {
    this.#status = status;
    this.#sent(body);
    this.#inner.respond(status, headers, body);
  }
  start(status: number, headers: HeaderList): void {
    this.#status = status;
    this.#inner.start(status, headers);
  }
  write(chunk: Uint8Array | string): boolean {
    this.#sent(chunk);
    return this.#inner.write(chunk);
  }
  end(trailers?: HeaderList): void {
    this.#inner.end(trailers);
  }
  upgrade(status: number, headers: HeaderList): void {
    this.#status = status;
    this.#inner.upgrade(status, headers);
  }
  abort(reason: AbortReason): void {
    this.#inner.abort(reason);
  }
}

// What JSON has to escape, and what is not ASCII.
const NEEDS_ESCAPE = /[^\x20\x21\x23-\x5b\x5d-\x7e]/;

/** A text as JSON. HOT: the texts of a request are nearly always plain. */
function quote(text: string): string {
  return NEEDS_ESCAPE.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** Milliseconds with three digits at most. */
const round = (ms: number): number => Math.round(ms * 1000) / 1000;

/** ISO time; the part up to the second is made once a second. */
class IsoTime {
  #second = -1;
  #text = "";

  format(ms: number): string {
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = new Date(second * 1000).toISOString().slice(0, 20);
    }
    return `${this.#text}${String(Math.floor(ms) % 1000).padStart(3, "0")}Z`;
  }
}

function upstreamPart(facts: UpstreamFacts): string {
  const optional = (name: string, value: string | number | undefined): string =>
    value === undefined ? "" : `,"${name}":${typeof value === "number" ? round(value) : quote(value)}`;
  return (
    `,"upstream":${quote(facts.upstream)}${optional("server", facts.server)},"attempts":${facts.attempts},"queuedMs":${round(facts.queuedMs)}` +
    `${optional("headMs", facts.headMs)}${optional("upstreamStatus", facts.status)}${optional("failure", facts.failure)}`
  );
}

export class AccessLog {
  readonly #write: (line: string) => void;
  readonly #time = new IsoTime();
  /** By the facts of an exchange, which all its wrappers share. */
  readonly #upstream = new WeakMap<ExchangeFacts, UpstreamFacts>();

  /** @param write takes whole lines */
  constructor(write: (line: string) => void) {
    this.#write = write;
  }

  /** Puts the log in front of a handler. */
  watch(handler: ExchangeHandler): ExchangeHandler {
    return (exchange) => handler(new WatchedExchange(exchange, this));
  }

  noteUpstream(exchange: Exchange, facts: UpstreamFacts): void {
    this.#upstream.set(exchange.facts, facts);
  }

  /**
   * HOT. One line made in one go: the fields are always the same, so a general serialiser (pino's took three times as
   * long) has nothing to find out.
   */
  write(
    exchange: Exchange,
    ended: string,
    status: number,
    bytesIn: number,
    bytesOut: number,
    durationMs: number,
  ): void {
    const { head, facts } = exchange;
    const upstream = this.#upstream.get(facts);
    const referer = fieldValue(head.headers, "referer");
    const userAgent = fieldValue(head.headers, "user-agent");
    this.#write(
      `{"log":"access","time":"${this.#time.format(facts.receivedAt)}","id":${quote(facts.id)},"client":${quote(facts.client.address)}` +
        `,"method":${quote(head.method)},"scheme":"${head.scheme}","host":${quote(head.authority)},"target":${quote(head.target)}` +
        `,"version":"${head.version}","status":${status},"bytesIn":${bytesIn},"bytesOut":${bytesOut},"durationMs":${round(durationMs)},"ended":"${ended}"` +
        `${referer === undefined ? "" : `,"referer":${quote(referer)}`}${userAgent === undefined ? "" : `,"userAgent":${quote(userAgent)}`}` +
        `${upstream === undefined ? "" : upstreamPart(upstream)}}\n`,
    );
  }
}
