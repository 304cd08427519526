/** A request as its server sees it, and its places in the queue of the upstream and in the wheel of the thread. */
import type { ClientFacts, Exchange, HeaderList, TlsFacts } from "@portico/gateway/exchange";
import type { Member } from "../upstream/member.ts";
import type { Waiter } from "../upstream/queue.ts";
import type { UpstreamRequest } from "../upstream/transport.ts";
import type { WheelEntry } from "../upstream/wheel.ts";
import { upgradeOf } from "./semantics.ts";

const NO_FIELDS: HeaderList = [];

/** Part of {@link Forward}, so that one object is all a plain request needs. Everything is read from the exchange, nothing copied. */
export abstract class ForwardedRequest implements UpstreamRequest, Waiter, WheelEntry {
  readonly exchange: Exchange;
  /** As they go to the server; made for each attempt. */
  headers: HeaderList = NO_FIELDS;
  /** The server writes the fields that say what the facts say. */
  derived = false;
  /** As it will be sent: counted, once a body of unknown length was read. */
  bodyLength: number;
  readonly upgrade: string | undefined;
  /** Milliseconds in the queue, all attempts together. */
  queuedMs = 0;

  /** Servers that have failed this request. */
  avoid: Member[] | null = null;
  waitNext: Waiter | null = null;
  waitPrevious: Waiter | null = null;
  waiting = false;
  dueAt = 0;
  wheelSlot = 0;
  wheelNext: WheelEntry | null = null;
  wheelPrevious: WheelEntry | null = null;

  protected constructor(exchange: Exchange) {
    const { head } = exchange;
    this.exchange = exchange;
    this.bodyLength = head.bodyLength;
    // A request with a body asks for no tunnel: both would need the same half of the stream.
    this.upgrade = head.bodyLength === 0 ? upgradeOf(head) : undefined;
  }

  abstract onDeadline(): void;

  get method(): string {
    return this.exchange.head.method;
  }
  get scheme(): "http" | "https" {
    return this.exchange.head.scheme;
  }
  get authority(): string {
    return this.exchange.head.authority;
  }
  get target(): string {
    return this.exchange.head.target;
  }
  get version(): "1.0" | "1.1" | "2" {
    return this.exchange.head.version;
  }
  get id(): string {
    return this.exchange.facts.id;
  }
  get traceparent(): string | undefined {
    return this.exchange.facts.traceparent;
  }
  get tracestate(): string | undefined {
    return this.exchange.facts.tracestate;
  }
  get client(): ClientFacts {
    return this.exchange.facts.client;
  }
  get tls(): TlsFacts | undefined {
    return this.exchange.facts.tls;
  }
  get receivedAt(): number {
    return this.exchange.facts.receivedAt;
  }
  /** The client's, where it has one; the wheel's own time is `dueAt`. */
  get deadline(): number | undefined {
    return this.exchange.facts.deadline;
  }
}
