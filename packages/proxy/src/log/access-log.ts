/**
 * The access log: one JSON line for each exchange, written when it ends. The fields of the line are those of
 * `@portico/gateway/access-line`, and, where an upstream was asked: `upstream`, `server`, `attempts`, `queuedMs`,
 * `headMs`, `upstreamStatus`, `failure`.
 */
import { jsonLine, quoteJson, roundMs } from "@portico/gateway/access-line";
import type { Exchange, ExchangeFacts, ExchangeHandler } from "@portico/gateway/exchange";
import { type Ending, WatchedExchange } from "@portico/gateway/watched-exchange";
import type { UpstreamFacts } from "../deps.ts";
import { ExchangeWrapper } from "../exchange-wrapper.ts";

/** An exchange that is watched for the log; between the transport and the router. */
class LoggedExchange extends WatchedExchange {
  readonly #log: AccessLog;
  /** Of the upstream that was asked last. */
  upstream: UpstreamFacts | undefined = undefined;

  constructor(inner: Exchange, log: AccessLog) {
    super(inner);
    this.#log = log;
  }

  protected over(how: Ending, durationMs: number): void {
    this.#log.write(this, how, durationMs);
  }
}

function upstreamPart(facts: UpstreamFacts): string {
  const optional = (name: string, value: string | number | undefined): string =>
    value === undefined ? "" : `,"${name}":${typeof value === "number" ? roundMs(value) : quoteJson(value)}`;
  return (
    `,"upstream":${quoteJson(facts.upstream)}${optional("server", facts.server)},"attempts":${facts.attempts},"queuedMs":${roundMs(facts.queuedMs)}` +
    `${optional("headMs", facts.headMs)}${optional("upstreamStatus", facts.status)}${optional("failure", facts.failure)}`
  );
}

export class AccessLog {
  readonly #write: (line: string) => void;
  /** By the facts of an exchange, for those that stand before ours and are no wrappers we know. */
  readonly #upstream = new WeakMap<ExchangeFacts, UpstreamFacts>();

  /** @param write takes whole lines */
  constructor(write: (line: string) => void) {
    this.#write = write;
  }

  /** Puts the log in front of a handler. */
  watch(handler: ExchangeHandler): ExchangeHandler {
    return (exchange) => new LoggedExchange(exchange, this).answer(handler);
  }

  /** HOT: an entry of a weak map for each request would cost its collection more than the line. */
  noteUpstream(exchange: Exchange, facts: UpstreamFacts): void {
    let stage = exchange;
    while (stage instanceof ExchangeWrapper) stage = stage.inner;
    if (stage instanceof LoggedExchange) stage.upstream = facts;
    else this.#upstream.set(exchange.facts, facts);
  }

  /** HOT. */
  write(exchange: LoggedExchange, ended: Ending, durationMs: number): void {
    const upstream = exchange.upstream ?? this.#upstream.get(exchange.facts);
    this.#write(jsonLine(exchange, ended, durationMs, upstream === undefined ? "" : upstreamPart(upstream)));
  }
}
