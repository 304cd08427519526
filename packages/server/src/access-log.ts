/** One JSON line per request, where it was asked for. Wraps the exchange to see what is answered. */
import { closeSync, openSync } from "node:fs";
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
import type { destination } from "pino";
import { PorticoServerError } from "./error.ts";
import { pino } from "./lazy-pino.ts";
import { observeEnd } from "./observed.ts";

const STDOUT_FD = 1;
/** Bytes gathered before they are written: one system call for some 30 lines. */
const GATHER_BYTES = 8_192;
/** Beyond it lines are dropped rather than memory filled: the disk or pipe has stopped taking them. */
const MOST_WAITING_BYTES = 16 * 1024 * 1024;
/** A line is on disk at most so late, milliseconds. */
const FLUSH_MS = 1_000;

/** Writes lines; `-` is standard output. */
export class AccessLog {
  readonly #sink: ReturnType<typeof destination>;
  readonly #file: string;
  readonly #worker: number;
  readonly #timer: NodeJS.Timeout;

  /** @throws PorticoServerError `config` where the file cannot be written */
  constructor(file: string, worker: number) {
    if (file !== "-") checkWritable(file);
    this.#file = file;
    this.#worker = worker;
    this.#sink = pino().destination({
      ...(file === "-" ? { fd: STDOUT_FD } : { dest: file }),
      sync: false,
      minLength: GATHER_BYTES,
      maxLength: MOST_WAITING_BYTES,
    });
    this.#sink.on("error", () => {}); // a full disk must not end the worker
    this.#timer = setInterval(() => this.#sink.flush(), FLUSH_MS).unref();
  }

  watch(handler: ExchangeHandler): ExchangeHandler {
    return (exchange) => {
      const logged = new LoggedExchange(exchange);
      observeEnd(logged, handler, (reason) => this.#write(logged, reason));
    };
  }

  reopen(): void {
    if (this.#file !== "-") this.#sink.reopen();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#sink.flushSync();
  }

  #write(exchange: LoggedExchange, reason: AbortReason | undefined): void {
    const { head, facts } = exchange;
    const now = Date.now();
    const line = {
      time: new Date(now).toISOString(),
      id: facts.id,
      client: facts.client.address,
      method: head.method,
      authority: head.authority,
      target: head.target,
      version: head.version,
      status: exchange.status,
      bytes: exchange.bytes,
      ms: now - facts.receivedAt,
      queuedMs: facts.queuedMs,
      worker: this.#worker,
      aborted: reason,
    };
    this.#sink.write(`${JSON.stringify(line)}\n`);
  }
}

/** The sink opens its file later, when nobody can be told any more. */
function checkWritable(file: string): void {
  try {
    closeSync(openSync(file, "a"));
  } catch (error) {
    throw new PorticoServerError(
      "config",
      `accessLog ${file}: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

/** Passes everything on, and remembers the status and how many body bytes were handed over. */
class LoggedExchange implements Exchange {
  /** Of the final response; 0: none was begun. */
  status = 0;
  bytes = 0;
  readonly #inner: Exchange;

  constructor(inner: Exchange) {
    this.#inner = inner;
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
  get observer(): ExchangeObserver | undefined {
    return this.#inner.observer;
  }
  set observer(observer: ExchangeObserver | undefined) {
    this.#inner.observer = observer;
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
    // Before, because the exchange may end within the call. Where it throws, another answer follows.
    this.status = status;
    this.bytes = body === null || this.head.method === "HEAD" ? 0 : Buffer.byteLength(body);
    this.#inner.respond(status, headers, body);
  }
  start(status: number, headers: HeaderList): void {
    this.status = status;
    this.#inner.start(status, headers);
  }
  write(chunk: Uint8Array | string): boolean {
    this.bytes += Buffer.byteLength(chunk);
    return this.#inner.write(chunk);
  }
  end(trailers?: HeaderList): void {
    this.#inner.end(trailers);
  }
  upgrade(status: number, headers: HeaderList): void {
    this.status = status;
    this.#inner.upgrade(status, headers);
  }
  abort(reason: AbortReason): void {
    this.#inner.abort(reason);
  }
}
