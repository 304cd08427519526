import { AsyncResource } from "node:async_hooks";
import { channel } from "node:diagnostics_channel";
import type { AbortReason, Exchange, ExchangeObserver, HeaderList, WholeBody } from "../exchange.ts";
import {
  type Callback,
  connectionReset,
  detachAbortSignal,
  type InternalRequest,
  NEED_DRAIN,
  NodeStreamError,
} from "./internals.ts";
import { ExchangeSocket, HIGH_WATER_MARK } from "./socket.ts";
import { trailerList } from "./fields.ts";

const responseFinished = channel("http.server.response.finish");
const NO_TRAILERS: HeaderList = [];

/** What is told of a response that could not be sent as the application wanted, or of a listener that threw. */
export type ReportError = (error: unknown, exchange: Exchange) => void;

/**
 * One exchange being answered by a `node:http` listener: the socket its messages see, and the observer its transport
 * tells. It gathers what the response hands over (`status`, `fields`, pieces of body) until it is known whether more
 * follows, so that a response that is whole becomes one `respond`.
 *
 * Hot path: no closure, promise or stream is made here; `nextTick` only where Node's own order of events needs it.
 */
export class Run extends ExchangeSocket implements ExchangeObserver {
  /** Set by the response when its head is complete; sent with the first piece of body, or alone when flushed. */
  status = 0;
  fields: HeaderList | undefined = undefined;
  report: ReportError | undefined = undefined;
  /** Called once when the exchange has ended. */
  onEnded: (() => void) | undefined = undefined;

  #body: string | Uint8Array | undefined = undefined;
  #more: (string | Uint8Array)[] | undefined = undefined;
  #callbacks: Callback[] | undefined = undefined;
  #blocked = false;
  #handingOver = false;
  #settled = false;
  /** Where `end` was called, for those who listen to how it goes on. */
  #scope: AsyncResource | undefined = undefined;

  // --- from the response ---

  /** Takes a piece of body. Returns false when the response should pause. */
  take(
    data: string | Uint8Array,
    encoding: BufferEncoding | null | undefined,
    callback: Callback | null | undefined,
  ): boolean {
    if (this.destroyed || this.#settled) {
      if (callback) {
        process.nextTick(callback, destroyedError());
      }
      return false;
    }
    if (callback) {
      (this.#callbacks ??= []).push(callback);
    }
    const length = data.length;
    if (length > 0) {
      const piece =
        typeof data === "string" && encoding && encoding !== "utf8" && encoding !== "utf-8"
          ? Buffer.from(data, encoding)
          : data;
      if (this.#body === undefined) {
        this.#body = piece;
      } else {
        (this.#more ??= []).push(piece);
      }
      this.unsent += length;
      this.bytesWritten += length;
      if (this.timeout > 0) {
        this.touch();
      }
    }
    if (this.corkDepth === 0 && !this.ending) {
      this.flush();
    }
    return this.unsent < HIGH_WATER_MARK && !this.#blocked;
  }

  override uncork(): void {
    if (this.corkDepth > 0 && --this.corkDepth === 0 && !this.ending) {
      this.flush();
    }
  }

  /** Sends what was taken so far; the response goes on. */
  flush(): void {
    if (this.destroyed || this.#settled || this.fields === undefined) {
      return;
    }
    try {
      this.#handOver();
    } catch (error) {
      this.#failed(error);
      return;
    }
    if (!this.#blocked) {
      if (this.#callbacks !== undefined) {
        const callbacks = this.#callbacks;
        this.#callbacks = undefined;
        process.nextTick(callAll, callbacks, null);
      }
      if (this.response?.[NEED_DRAIN] === true) {
        process.nextTick(drained, this);
      }
    }
  }

  /** The response is complete: sends the rest of it, or all of it at once. */
  finish(): void {
    this.ending = true;
    if (this.destroyed || this.#settled) {
      return;
    }
    const trailer = this.response?._trailer;
    this.#handingOver = true;
    try {
      if (!this.exchange.started && !trailer) {
        this.exchange.respond(this.status, this.fields ?? [], this.#whole());
      } else {
        this.#handOver();
        this.exchange.end(trailer ? trailerList(trailer) : NO_TRAILERS);
      }
    } catch (error) {
      this.#failed(error);
    }
    this.#handingOver = false;
    if (!this.#settled && this.#isListenedTo()) {
      this.#scope = new AsyncResource("PORTICORESPONSE");
    }
  }

  #isListenedTo(): boolean {
    const { request, response } = this;
    return (
      (request !== undefined && request._eventsCount > 0) ||
      (response !== undefined && (response.listenerCount("finish") > 0 || response.listenerCount("close") > 0))
    );
  }

  #whole(): WholeBody {
    const first = this.#body;
    if (first === undefined || this.response?._hasBody === false) {
      return null;
    }
    const more = this.#more;
    if (more === undefined) {
      return first;
    }
    if (typeof first === "string" && more.every((piece) => typeof piece === "string")) {
      return first + more.join("");
    }
    return Buffer.concat([first, ...more].map((piece) => (typeof piece === "string" ? Buffer.from(piece) : piece)));
  }

  #handOver(): void {
    const { exchange } = this;
    if (!exchange.started) {
      exchange.start(this.status, this.fields ?? []);
    }
    const first = this.#body;
    const more = this.#more;
    if (first === undefined) {
      return;
    }
    this.#body = undefined;
    this.#more = undefined;
    let flowing = exchange.write(first);
    if (more !== undefined) {
      for (const piece of more) {
        flowing = exchange.write(piece);
      }
    }
    this.#blocked = !flowing;
    if (flowing) {
      this.unsent = 0;
    }
  }

  /** The listener threw: 500 where nothing was sent, else a broken response. */
  failed(): void {
    if (!this.destroyed && !this.#settled && !this.ending) {
      this.#breakOff(new NodeStreamError("ERR_HTTP_LISTENER_THREW", "The request listener threw."));
    }
  }

  /** The transport refused what the application wanted to send: it is reported, and the client gets no half message. */
  #failed(error: unknown): void {
    if (this.report === undefined) {
      process.emitWarning(error instanceof Error ? error : String(error));
    } else {
      this.report(error, this.exchange);
    }
    this.#breakOff(error instanceof Error ? error : new NodeStreamError("ERR_HTTP_INVALID_MESSAGE", String(error)));
  }

  #breakOff(reason: Error): void {
    if (this.exchange.started || this.exchange.ended) {
      this.destroy(reason);
      return;
    }
    this.exchange.respond(500, ["Content-Type", "text/plain; charset=utf-8"], "Internal Server Error");
    this.#close(reason);
  }

  // --- from the transport ---

  onData(chunk: Uint8Array): void {
    const request = this.request;
    if (request === undefined || request._dumped || request.destroyed) {
      return;
    }
    this.bytesRead += chunk.length;
    if (this.timeout > 0) {
      this.touch();
    }
    if (!request.push(chunk)) {
      this.exchange.pause();
    }
  }

  onEnd(trailers: HeaderList): void {
    const request = this.request;
    if (request === undefined || request.complete) {
      return;
    }
    request.complete = true;
    if (trailers.length > 0) {
      request._addHeaderLines(trailers, trailers.length);
    }
    if (!request.destroyed) {
      request.push(null);
    }
  }

  onDrain(): void {
    this.#blocked = false;
    this.unsent = 0;
    if (this.timeout > 0) {
      this.touch();
    }
    const callbacks = this.#callbacks;
    if (callbacks !== undefined && !this.ending) {
      this.#callbacks = undefined;
      callAll(callbacks, null);
    }
    drained(this);
  }

  onFinish(): void {
    this.#settled = true;
    // Node never calls back from inside `end`.
    if (this.#handingOver) {
      process.nextTick(completed, this);
    } else if (this.#scope !== undefined) {
      this.#scope.runInAsyncScope(completed, undefined, this);
    } else {
      this.complete();
    }
  }

  onAbort(_reason: AbortReason): void {
    this.#settled = true;
    this.#close(connectionReset());
  }

  // --- the end ---

  /** What `resOnFinish` does in `node:http`, for a connection that has this one exchange. */
  complete(): void {
    const { request, response } = this;
    if (this.destroyed || response === undefined || request === undefined) {
      return;
    }
    if (this.timeout > 0) {
      this.stopTimer();
    }
    if (responseFinished.hasSubscribers) {
      responseFinished.publish({ request, response, socket: this, server: this.server });
    }
    detachAbortSignal(request);
    this.#letGo(request);
    this._httpMessage = null;
    response.socket = null;
    this.unsent = 0;
    const callbacks = this.#callbacks;
    if (callbacks !== undefined) {
      this.#callbacks = undefined;
      callAll(callbacks, null);
    }
    process.nextTick(closeResponse, response);
    if (this.listenerCount("close") > 0) {
      process.nextTick(emitClose, this);
    }
    this.onEnded?.();
  }

  /** The response is out: what is left of the request is of no use to anybody who is not reading it. */
  #letGo(request: InternalRequest): void {
    if (request.complete) {
      if (request._eventsCount === 0 && !request._consuming && request._dumpAndCloseReadable !== undefined) {
        request._dumpAndCloseReadable();
      } else if (!request._consuming && !request._readableState.resumeScheduled) {
        request._dump();
      }
      return;
    }
    if (request.destroyed) {
      return;
    }
    if (request.listenerCount("data") > 0 || request.listenerCount("readable") > 0) {
      // Somebody still reads a body of which nothing more will come: an end would pass for a whole one.
      request.destroy(connectionReset());
      return;
    }
    request.complete = true;
    request._dumped = true;
    request.push(null);
    request.resume();
  }

  override destroy(error?: Error): this {
    if (this.destroyed) {
      return this;
    }
    if (this.#settled) {
      // The exchange is over; the connection it came on is the transport's and may carry others.
      this.stopTimer();
      return this;
    }
    this.#close(error ?? connectionReset());
    if (!this.exchange.ended) {
      this.exchange.abort("reset");
    }
    return this;
  }

  /** The connection is gone as far as the messages are concerned. Events come in the order of `node:http`. */
  #close(error: Error): void {
    if (this.destroyed) {
      return;
    }
    this.destroyed = true;
    this._hadError = true;
    this.errored = error;
    this.stopTimer();
    this.#body = undefined;
    this.#more = undefined;
    process.nextTick(broken, this);
  }

  /** Second half of `#close`, in a turn of its own. */
  break(): void {
    const { request, response } = this;
    const callbacks = this.#callbacks;
    this.#callbacks = undefined;
    if (request !== undefined && !request.destroyed) {
      request.destroy(connectionReset());
    }
    if (callbacks !== undefined) {
      callAll(callbacks, this.errored ?? destroyedError());
    }
    if (response !== undefined) {
      closeResponse(response);
      this._httpMessage = null;
    }
    this.emit("close", true);
    this.onEnded?.();
  }

  // --- the request's side of the socket ---

  override resume(): this {
    if (!this.#settled) {
      this.exchange.resume();
    }
    return this;
  }

  override pause(): this {
    if (!this.#settled) {
      this.exchange.pause();
    }
    return this;
  }
}

function destroyedError(): NodeStreamError {
  return new NodeStreamError("ERR_STREAM_DESTROYED", "Cannot call write after a stream was destroyed");
}

function callAll(callbacks: readonly Callback[], error: Error | null): void {
  for (const callback of callbacks) {
    if (error === null) {
      callback();
    } else {
      callback(error);
    }
  }
}

function drained(run: Run): void {
  const response = run.response;
  if (
    response !== undefined &&
    response[NEED_DRAIN] &&
    !response.finished &&
    !run.destroyed &&
    run.writableLength === 0
  ) {
    response[NEED_DRAIN] = false;
    response.emit("drain");
  }
}

function completed(run: Run): void {
  run.complete();
}

function broken(run: Run): void {
  run.break();
}

function emitClose(run: Run): void {
  run.emit("close", false);
}

function closeResponse(response: NonNullable<Run["response"]>): void {
  if (!response._closed) {
    response.destroyed = true;
    response._closed = true;
    response.emit("close");
  }
}
