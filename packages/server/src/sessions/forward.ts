/** Hands an exchange over to a sibling: its request goes over a link between the two, the answer comes back on it. */
import type { AbortReason, Exchange, ExchangeObserver, HeaderList } from "@portico/gateway/exchange";
import type { ClientSession, UpstreamObserver, UpstreamReset, UpstreamStream } from "@portico/link";

/** Fields of one connection, which no link carries (docs/spec/link.md, 5.3). */
const CONNECTION_FIELDS = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** @throws LinkError where the link takes no stream; nothing was sent then, and the exchange is untouched */
export function forwardExchange(exchange: Exchange, session: ClientSession): void {
  const { head, facts } = exchange;
  const answer = new Answer(exchange);
  const stream = session.open(
    {
      method: head.method,
      scheme: head.scheme,
      authority: head.authority,
      target: head.target,
      version: head.version,
      headers: endToEnd(head.headers),
      bodyLength: head.bodyLength,
      upgrade: head.upgrade,
      id: facts.id,
      traceparent: facts.traceparent,
      tracestate: facts.tracestate,
      client: facts.client,
      tls: facts.tls,
      receivedAt: facts.receivedAt,
      queuedMs: facts.queuedMs,
      deadline: facts.deadline,
    },
    null,
    head.bodyLength === 0,
    answer,
  );
  answer.stream = stream;
  exchange.observer = new Question(exchange, stream, answer);
  if (head.bodyLength !== 0) exchange.resume();
}

/** From the client to the sibling. */
class Question implements ExchangeObserver {
  readonly #exchange: Exchange;
  readonly #stream: UpstreamStream;
  readonly #answer: Answer;

  constructor(exchange: Exchange, stream: UpstreamStream, answer: Answer) {
    this.#exchange = exchange;
    this.#stream = stream;
    this.#answer = answer;
  }

  onData(chunk: Uint8Array): void {
    if (!this.#stream.write(chunk)) this.#exchange.pause();
  }
  onEnd(trailers: HeaderList): void {
    this.#stream.end(trailers);
  }
  onDrain(): void {
    this.#answer.drained();
  }
  onFinish(): void {}
  onAbort(_reason: AbortReason): void {
    this.#stream.reset("cancelled");
  }
}

/** From the sibling to the client. */
class Answer implements UpstreamObserver {
  stream: UpstreamStream | undefined;
  readonly #exchange: Exchange;
  /** Bytes that the client has not taken yet: the sibling may send as many again when it has. */
  #owed = 0;
  #blocked = false;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  onInform(status: number, headers: HeaderList): void {
    if (status !== 100) this.#exchange.inform(status, headers.slice()); // 100 was sent when the body was asked for
  }

  onResponse(status: number, headers: HeaderList, body: Uint8Array | null, complete: boolean): void {
    const exchange = this.#exchange;
    if (complete) return exchange.respond(status, headers.slice(), body);
    if (status === 101 || (exchange.head.method === "CONNECT" && status < 300)) {
      exchange.upgrade(status, headers.slice());
      exchange.resume();
      return;
    }
    exchange.start(status, headers.slice());
    if (body !== null) this.onData(body);
  }

  onData(chunk: Uint8Array): void {
    const flowing = this.#exchange.write(chunk);
    if (flowing && !this.#blocked) return this.stream?.consume(chunk.length);
    this.#blocked = true;
    this.#owed += chunk.length;
  }

  onEnd(trailers: HeaderList): void {
    this.#exchange.end(trailers);
  }

  /** The sibling takes bytes again. */
  onDrain(): void {
    if (!this.#exchange.ended) this.#exchange.resume();
  }

  /** The client takes bytes again. */
  drained(): void {
    const owed = this.#owed;
    this.#blocked = false;
    this.#owed = 0;
    if (owed > 0) this.stream?.consume(owed);
  }

  onReset({ message }: UpstreamReset): void {
    const exchange = this.#exchange;
    if (exchange.ended) return;
    if (exchange.started) return exchange.abort("reset");
    exchange.respond(502, ["Content-Type", "text/plain; charset=utf-8"], `Bad Gateway\n${message}\n`);
  }
}

function endToEnd(headers: HeaderList): HeaderList {
  const kept: HeaderList = [];
  for (let at = 0; at < headers.length; at += 2)
    if (!CONNECTION_FIELDS.has(headers[at]!.toLowerCase())) kept.push(headers[at]!, headers[at + 1]!);
  return kept;
}
