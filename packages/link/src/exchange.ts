/** One stream of a link as an `Exchange` (packages/gateway/src/exchange.ts): what the application is answered through. */

import type {
  AbortReason,
  Exchange,
  ExchangeFacts,
  HeaderList,
  RequestHead,
  WholeBody,
} from "@portico/gateway/exchange";
import { LinkError, type ResetCode } from "./error.ts";
import { NO_CONTENT_LENGTH, checkNames, withoutContentLength } from "./fields.ts";
import { FLAG, FRAME } from "./frame.ts";
import { beginResponse, pendingSize } from "./head.ts";
import type { ReceivedRequest } from "./received-request.ts";
import type { ServerSession } from "./server.ts";
import { RequestHalf } from "./request-half.ts";

/** What an application's reason is on the wire. */
const RESET_OF: Record<AbortReason, ResetCode> = {
  "client-disconnected": "cancelled",
  timeout: "timeout",
  shutdown: "shutdown",
  "protocol-error": "protocol",
  reset: "internal",
};

export class LinkExchange extends RequestHalf implements Exchange {
  readonly head: RequestHead;
  readonly #request: ReceivedRequest;
  readonly #server: ServerSession;
  readonly #deadline: number | undefined;
  #facts: ExchangeFacts | undefined;
  #tunnel = false;
  /** The response carries no body, whatever is given. */
  #bodyless = false;
  #endCalled = false;
  /** Body bytes that the response's Content-Length still promises. */
  #promised: number = NO_CONTENT_LENGTH;

  constructor(id: number, server: ServerSession, request: ReceivedRequest, now: number) {
    super(id, server, request.bodyLength);
    this.#server = server;
    this.#request = request;
    this.head = request;
    this.#deadline = request.timeoutMs === 0 ? undefined : now + request.timeoutMs;
  }

  get facts(): ExchangeFacts {
    return (this.#facts ??= this.#makeFacts());
  }

  #makeFacts(): ExchangeFacts {
    const { id, traceparent, tracestate, clientAddress, clientPort, tls, receivedAt, queuedMs } = this.#request;
    return {
      id,
      traceparent,
      tracestate,
      peer: this.#server.peerEndpoint,
      local: this.#server.localEndpoint,
      client: { address: clientAddress, port: clientPort, vouchedBy: "link" },
      tls,
      receivedAt,
      queuedMs,
      deadline: this.#deadline,
      front: this.#server.frontAbilities,
    };
  }

  protected onWanted(): void {
    const { headers } = this.head;
    for (let index = 0; index < headers.length; index += 2) {
      if (headers[index]!.length === 6 && headers[index]!.toLowerCase() === "expect") {
        if (headers[index + 1]!.toLowerCase() === "100-continue") this.inform(100, []);
        return;
      }
    }
  }

  protected answerFault(): void {
    if (this.ended || this.localEnded) return;
    if (this.started) this.abort("reset");
    else this.respond(500, ["Content-Type", "text/plain"], "Internal Server Error\n");
  }

  inform(status: number, headers: HeaderList): void {
    if (this.ended) return;
    if (this.started) throw outOfOrder("an interim response after the final one");
    if (!Number.isInteger(status) || status < 100 || status > 199 || status === 101)
      throw badStatus(status, "an interim response");
    checkNames(headers);
    if (this.closed || this.head.version === "1.0") return;
    const { out, sendFrame } = this.session;
    beginResponse(out, status, headers, NO_CONTENT_LENGTH, 0, sendFrame);
    out.commit(FRAME.INFO, 0, this.id, pendingSize);
    out.seal();
  }

  /** Hot path: a small response is one frame, written in place. */
  respond(status: number, headers: HeaderList, body: WholeBody): void {
    if (this.ended) return;
    const declared = this.#check(status, headers);
    if (this.closed) return;
    const size = body === null ? 0 : typeof body === "string" ? Buffer.byteLength(body) : body.length;
    let list = headers;
    let added = NO_CONTENT_LENGTH;
    if (this.#bodyless) {
      if (status === 204) list = declared === NO_CONTENT_LENGTH ? headers : withoutContentLength(headers);
      else if (declared === NO_CONTENT_LENGTH && status !== 304 && body !== null) added = size;
    } else if (declared === NO_CONTENT_LENGTH) {
      added = size;
    } else if (declared !== size) {
      throw new LinkError("content-length", `Content-Length says ${declared}, the body has ${size} bytes`);
    }
    this.#sendWhole(status, list, added, body, this.#bodyless ? 0 : size);
  }

  #sendWhole(status: number, headers: HeaderList, contentLength: number, body: WholeBody, size: number): void {
    const { out, sendFrame } = this.session;
    const at = size <= this.sendWindow ? beginResponse(out, status, headers, contentLength, size, sendFrame) : -1;
    if (at < 0) {
      beginResponse(out, status, headers, contentLength, 0, sendFrame);
      out.commit(FRAME.RESPONSE, 0, this.id, pendingSize);
      this.started = true;
      this.#endCalled = true;
      this.send(typeof body === "string" ? Buffer.from(body) : body!);
      this.sendEnd(undefined);
      return;
    }
    if (size > 0) {
      if (typeof body === "string") out.bytes.utf8Write(body, at, size);
      else out.bytes.set(body!, at);
    }
    out.commit(FRAME.RESPONSE, FLAG.END, this.id, pendingSize);
    out.seal();
    this.sendWindow -= size;
    this.started = true;
    this.#endCalled = true;
    this.localEnded = true;
    this.onLocalEnd();
  }

  start(status: number, headers: HeaderList): void {
    if (this.ended) return;
    const declared = this.#check(status, headers);
    if (this.closed) return;
    const list = status === 204 && declared !== NO_CONTENT_LENGTH ? withoutContentLength(headers) : headers;
    const { out, sendFrame } = this.session;
    beginResponse(out, status, list, NO_CONTENT_LENGTH, 0, sendFrame);
    out.commit(FRAME.RESPONSE, 0, this.id, pendingSize);
    this.started = true;
    if (!this.#bodyless) this.#promised = declared;
  }

  /** What `respond` and `start` have in common; Content-Length of the list. */
  #check(status: number, headers: HeaderList): number {
    if (this.started) throw outOfOrder("a second response");
    if (!Number.isInteger(status) || status < 200 || status > 999) throw badStatus(status, "a final response");
    const declared = checkNames(headers);
    this.#bodyless = status === 204 || status === 304 || this.head.method === "HEAD";
    return declared;
  }

  write(chunk: Uint8Array | string): boolean {
    if (this.ended) return true;
    if (!this.started || this.#endCalled)
      throw outOfOrder(this.started ? "a write after the end" : "a write before the head");
    if (this.closed || this.#bodyless) return true;
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
    if (this.#promised !== NO_CONTENT_LENGTH) {
      if (bytes.length > this.#promised) {
        throw new LinkError(
          "content-length",
          `the body is longer than its Content-Length, by ${bytes.length - this.#promised} bytes or more`,
        );
      }
      this.#promised -= bytes.length;
    }
    return this.send(bytes);
  }

  end(trailers?: HeaderList): void {
    if (this.ended) return;
    if (!this.started || this.#endCalled) throw outOfOrder(this.started ? "a second end" : "an end before the head");
    if (trailers !== undefined && checkNames(trailers) !== NO_CONTENT_LENGTH) {
      throw new LinkError("content-length", "Content-Length is not a trailer");
    }
    if (this.#promised > 0)
      throw new LinkError("content-length", `the body is ${this.#promised} bytes shorter than its Content-Length`);
    if (this.closed) return;
    this.sendEnd(this.#bodyless || this.#tunnel ? undefined : trailers);
    this.#endCalled = true;
  }

  upgrade(status: number, headers: HeaderList): void {
    if (this.ended) return;
    if (this.started) throw outOfOrder("an upgrade after the response");
    const connect = this.head.method === "CONNECT";
    if (!connect && this.head.upgrade === undefined) throw outOfOrder("an upgrade that was not asked for");
    if (connect ? !(status >= 200 && status <= 299) : status !== 101) throw badStatus(status, "an upgrade");
    if (checkNames(headers) !== NO_CONTENT_LENGTH)
      throw new LinkError("content-length", "a tunnel has no Content-Length");
    if (!this.remoteEnded) throw outOfOrder("an upgrade before the end of the request");
    if (this.closed) return;
    const { out, sendFrame } = this.session;
    beginResponse(out, status, headers, NO_CONTENT_LENGTH, 0, sendFrame);
    out.commit(FRAME.RESPONSE, FLAG.TUNNEL, this.id, pendingSize);
    out.seal();
    this.started = true;
    this.#tunnel = true;
    this.reopen();
  }

  abort(reason: AbortReason): void {
    if (this.ended || this.closed) return;
    this.sendReset(RESET_OF[reason]);
    this.#abandon(reason);
  }

  /** The proxy or the link gave up. */
  cancelled(reason: AbortReason): void {
    if (this.ended) return;
    if (!this.closed) this.release();
    this.#abandon(reason);
  }

  #abandon(reason: AbortReason): void {
    this.ended = true;
    this.discard();
    this.observer?.onAbort(reason);
  }

  fault(): void {
    if (this.ended) return;
    if (!this.closed) this.sendReset("internal");
    try {
      this.#abandon("reset");
    } catch (error) {
      this.#server.report(error);
    }
  }

  /** Nobody waits for the answer any more, and none was begun. */
  overdue(now: number): boolean {
    return this.#deadline !== undefined && now >= this.#deadline && !this.started;
  }

  protected onWritable(): void {
    this.observer?.onDrain();
  }

  protected onBodyReported(): void {
    if (this.#tunnel && this.localEnded) this.#complete();
  }

  protected onLocalEnd(): void {
    if (!this.#tunnel || this.endReported) this.#complete();
  }

  #complete(): void {
    if (this.closed) return;
    this.release();
    this.discard();
    this.#server.finishing(this);
  }

  /** The last frame was handed over. */
  finished(): void {
    if (this.ended) return;
    this.ended = true;
    this.observer?.onFinish();
  }
}

function outOfOrder(what: string): LinkError {
  return new LinkError("out-of-order", `${what} was attempted`);
}

function badStatus(status: number, what: string): LinkError {
  return new LinkError("status", `${status} is not a status of ${what}`);
}
