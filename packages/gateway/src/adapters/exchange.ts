import type { ResponseRecord } from "../application.ts";
import { PorticoGatewayError } from "../errors.ts";
import type {
  AbortReason,
  Exchange,
  ExchangeFacts,
  ExchangeObserver,
  HeaderList,
  RequestHead,
  WholeBody,
} from "../exchange.ts";

/** Parts of a streamed response kept for a reader that is slower than the writer, bytes. */
const WRITE_AHEAD_BYTES = 65_536;

const encoder = new TextEncoder();

/**
 * An exchange whose request is a fetch `Request` and whose response comes out as a record: the joint by which whatever
 * answers exchanges is turned into a fetch handler.
 */
export class FetchExchange implements Exchange {
  readonly head: RequestHead;
  readonly facts: ExchangeFacts;
  observer: ExchangeObserver | undefined;
  /** The response. Rejects when the exchange is aborted before it has one. */
  readonly reply: Promise<ResponseRecord>;
  readonly #answer: PromiseWithResolvers<ResponseRecord> = Promise.withResolvers();
  readonly #request: Request;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #reading = false;
  #paused = true;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #started = false;
  #ended = false;

  constructor(request: Request, head: RequestHead, facts: ExchangeFacts) {
    this.#request = request;
    this.head = head;
    this.facts = facts;
    this.reply = this.#answer.promise;
    request.signal.addEventListener("abort", this.#onSignal, { once: true });
  }

  get started(): boolean {
    return this.#started;
  }

  get ended(): boolean {
    return this.#ended;
  }

  resume(): void {
    this.#paused = false;
    if (!this.#reading) void this.#read();
  }

  pause(): void {
    this.#paused = true;
  }

  /** Fetch has no interim responses. */
  inform(): void {}

  respond(status: number, headers: HeaderList, body: WholeBody): void {
    if (this.#ended) return;
    this.#begin();
    this.#answer.resolve({ status, headers, body });
    // Whoever awaits the reply takes it after this; the observer may rely on hearing of it later than `respond`.
    queueMicrotask(() => this.#finish());
  }

  start(status: number, headers: HeaderList): void {
    if (this.#ended) return;
    this.#begin();
    const body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.observer?.onDrain(),
        cancel: () => this.#lose("client-disconnected"),
      },
      { highWaterMark: WRITE_AHEAD_BYTES, size: (chunk) => chunk.byteLength },
    );
    this.#answer.resolve({ status, headers, body });
  }

  write(chunk: Uint8Array | string): boolean {
    if (this.#ended || this.#controller === undefined) return false;
    this.#controller.enqueue(typeof chunk === "string" ? encoder.encode(chunk) : chunk);
    return (this.#controller.desiredSize ?? 0) > 0;
  }

  end(): void {
    if (this.#ended) return;
    this.#controller?.close();
    this.#finish();
  }

  upgrade(): void {
    throw new PorticoGatewayError("CAPABILITY_ABSENT", "An exchange over fetch cannot be upgraded");
  }

  abort(reason: AbortReason): void {
    if (this.#ended) return;
    const error = new PorticoGatewayError("CLIENT_DISCONNECTED", `The exchange was aborted: ${reason}`);
    this.#controller?.error(error);
    this.#answer.reject(error);
    this.#lose(reason);
  }

  readonly #onSignal = (): void => {
    this.#controller?.error(this.#request.signal.reason);
    this.#answer.reject(this.#request.signal.reason as Error);
    this.#lose("client-disconnected");
  };

  async #read(): Promise<void> {
    this.#reading = true;
    try {
      this.#reader ??= (this.#request.body as ReadableStream<Uint8Array> | null)?.getReader();
      while (!this.#paused && !this.#ended) {
        // An absent body is one that ends at once, but never from inside `resume`.
        const result = await (this.#reader?.read() ?? Promise.resolve({ done: true as const, value: undefined }));
        if (this.#ended) return;
        if (result.done) {
          this.#paused = true;
          return this.observer?.onEnd([]);
        }
        this.observer?.onData(result.value);
      }
    } catch {
      this.#lose("client-disconnected");
    } finally {
      this.#reading = false;
    }
  }

  #begin(): void {
    if (this.#started) throw new PorticoGatewayError("TOO_LATE", "Out of order: a second response");
    this.#started = true;
  }

  #finish(): void {
    if (!this.#over()) return;
    this.observer?.onFinish();
  }

  #lose(reason: AbortReason): void {
    if (!this.#over()) return;
    this.observer?.onAbort(reason);
  }

  #over(): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    this.#request.signal.removeEventListener("abort", this.#onSignal);
    this.#reader?.cancel().catch(() => {});
    return true;
  }
}
