/** An exchange without a transport, for the unit tests of handlers. Not part of the package. */
import { Buffer } from "node:buffer";
import type {
  AbortReason,
  Exchange,
  ExchangeFacts,
  ExchangeObserver,
  HeaderList,
  RequestHead,
  WholeBody,
} from "@portico/gateway/exchange";
import { PorticoProxyError } from "./errors.ts";

const ENDPOINT = { address: "127.0.0.1", port: 5000 };

/** What a test says of a request; the rest is a plain `GET / HTTP/1.1`. */
export type TestRequest = Partial<RequestHead> & { readonly id?: string };

export class TestExchange implements Exchange {
  readonly head: RequestHead;
  readonly facts: ExchangeFacts;
  observer: ExchangeObserver | undefined = undefined;
  started = false;
  ended = false;
  status = 0;
  headers: HeaderList = [];
  readonly parts: Buffer[] = [];
  trailers: HeaderList = [];
  aborted: AbortReason | undefined;
  upgraded = false;
  resumed = 0;
  readonly informed: { status: number; headers: HeaderList }[] = [];
  /** What `write` returns. */
  writable = true;
  readonly done: Promise<void>;
  readonly #settle: () => void;

  constructor(request: TestRequest = {}) {
    this.head = {
      method: "GET",
      scheme: "http",
      authority: "example.com",
      target: "/",
      version: "1.1",
      headers: [],
      bodyLength: 0,
      upgrade: undefined,
      ...request,
    };
    this.facts = {
      id: request.id ?? "test-id",
      traceparent: undefined,
      tracestate: undefined,
      peer: ENDPOINT,
      local: ENDPOINT,
      client: { ...ENDPOINT, vouchedBy: "socket" },
      tls: undefined,
      receivedAt: Date.now(),
      queuedMs: 0,
      deadline: undefined,
    };
    const { promise, resolve } = Promise.withResolvers<void>();
    this.done = promise;
    this.#settle = resolve;
  }

  get body(): Buffer {
    return Buffer.concat(this.parts);
  }

  get text(): string {
    return this.body.toString();
  }

  /** Value of a field of the answer. */
  field(name: string): string | undefined {
    const index = this.headers.findIndex(
      (candidate, at) => at % 2 === 0 && candidate.toLowerCase() === name.toLowerCase(),
    );
    return index === -1 ? undefined : this.headers[index + 1];
  }

  #begin(status: number, headers: HeaderList): void {
    if (this.started || this.ended) throw new PorticoProxyError("usage", "answered twice");
    this.started = true;
    this.status = status;
    this.headers = headers;
  }

  #close(): void {
    this.ended = true;
    this.observer?.onFinish();
    this.#settle();
  }

  resume(): void {
    this.resumed++;
  }
  pause(): void {}
  inform(status: number, headers: HeaderList): void {
    this.informed.push({ status, headers });
  }
  respond(status: number, headers: HeaderList, body: WholeBody): void {
    this.#begin(status, headers);
    if (body !== null && this.head.method !== "HEAD") this.parts.push(Buffer.from(body as Uint8Array));
    this.#close();
  }
  start(status: number, headers: HeaderList): void {
    this.#begin(status, headers);
  }
  write(chunk: Uint8Array | string): boolean {
    if (!this.ended) this.parts.push(Buffer.from(chunk as Uint8Array));
    return this.writable;
  }
  end(trailers: HeaderList = []): void {
    this.trailers = trailers;
    this.#close();
  }
  upgrade(status: number, headers: HeaderList): void {
    this.#begin(status, headers);
    this.upgraded = true;
  }
  abort(reason: AbortReason): void {
    if (this.ended) return;
    this.ended = true;
    this.aborted = reason;
    this.observer?.onAbort(reason);
    this.#settle();
  }
}
