import type {
  AbortReason,
  Exchange,
  ExchangeFacts,
  ExchangeHandler,
  ExchangeObserver,
  HeaderList,
  RequestHead,
  WholeBody,
} from "../../exchange.ts";

/** An exchange without a transport: keeps what it is told, and lets a test play the client. */
export class FakeExchange implements Exchange {
  readonly head: RequestHead;
  readonly facts: ExchangeFacts;
  observer: ExchangeObserver | undefined = undefined;
  started = false;
  ended = false;
  /** Calls in order, as `["respond", 200, […], "text"]`. */
  readonly calls: unknown[][] = [];
  /** Whether `write` asks for a pause. */
  full = false;
  /** Whether `respond` and `end` finish at once, inside the call, as a transport may. */
  finishesAtOnce = true;
  /** Pieces of request body still to come; `null` is its end. */
  readonly incoming: (Uint8Array | null)[] = [];
  flowing = false;

  constructor(head: Partial<RequestHead> = {}, facts: Partial<ExchangeFacts> = {}) {
    this.head = {
      method: "GET",
      scheme: "http",
      authority: "example.test",
      target: "/",
      version: "1.1",
      headers: ["Host", "example.test"],
      bodyLength: 0,
      upgrade: undefined,
      ...head,
    };
    const endpoint = { address: "127.0.0.1", port: 1 };
    this.facts = {
      id: "test",
      traceparent: undefined,
      tracestate: undefined,
      peer: endpoint,
      local: { address: "10.0.0.1", port: 80 },
      client: { address: "192.0.2.7", port: 4711, vouchedBy: "socket" },
      tls: undefined,
      receivedAt: 0,
      queuedMs: 0,
      deadline: undefined,
      ...facts,
    };
  }

  run(handler: ExchangeHandler): this {
    handler(this);
    return this;
  }

  /** What was sent as body, as text. */
  get body(): string {
    const parts: string[] = [];
    for (const [name, ...given] of this.calls) {
      const part = name === "write" ? given[0] : name === "respond" ? given[2] : undefined;
      if (typeof part === "string") {
        parts.push(part);
      } else if (part instanceof Uint8Array) {
        parts.push(Buffer.from(part).toString());
      }
    }
    return parts.join("");
  }

  get status(): unknown {
    return this.calls.find(([name]) => name === "respond" || name === "start" || name === "upgrade")?.[1];
  }

  get headers(): HeaderList {
    return (this.calls.find(([name]) => name === "respond" || name === "start" || name === "upgrade")?.[2] ??
      []) as HeaderList;
  }

  /** Gives a piece of request body, or its end. */
  push(piece: string | null): void {
    this.incoming.push(piece === null ? null : Buffer.from(piece));
    this.#flow();
  }

  finish(): void {
    this.ended = true;
    this.observer?.onFinish();
  }

  disconnect(reason: AbortReason = "client-disconnected"): void {
    this.ended = true;
    this.observer?.onAbort(reason);
  }

  drain(): void {
    this.full = false;
    this.observer?.onDrain();
  }

  #flow(): void {
    while (this.flowing && this.incoming.length > 0 && !this.ended) {
      const piece = this.incoming.shift();
      if (piece === null || piece === undefined) {
        this.observer?.onEnd([]);
      } else {
        this.observer?.onData(piece);
      }
    }
  }

  resume(): void {
    this.calls.push(["resume"]);
    this.flowing = true;
    queueMicrotask(() => this.#flow());
  }
  pause(): void {
    this.calls.push(["pause"]);
    this.flowing = false;
  }
  inform(status: number, headers: HeaderList): void {
    this.calls.push(["inform", status, headers]);
  }
  respond(status: number, headers: HeaderList, body: WholeBody): void {
    this.started = true;
    this.calls.push(["respond", status, headers, body]);
    this.#done();
  }
  start(status: number, headers: HeaderList): void {
    this.started = true;
    this.calls.push(["start", status, headers]);
  }
  write(chunk: Uint8Array | string): boolean {
    this.calls.push(["write", chunk]);
    return !this.full;
  }
  end(trailers: HeaderList = []): void {
    this.calls.push(["end", trailers]);
    this.#done();
  }
  upgrade(status: number, headers: HeaderList): void {
    this.started = true;
    this.calls.push(["upgrade", status, headers]);
  }
  abort(reason: AbortReason): void {
    this.calls.push(["abort", reason]);
    if (!this.ended) {
      this.disconnect(reason);
    }
  }

  #done(): void {
    if (this.finishesAtOnce && !this.calls.some(([name]) => name === "upgrade")) {
      this.finish();
    }
  }
}
