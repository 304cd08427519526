/** The proxy end of a link: opens streams, takes responses (docs/spec/link.md, sections 6 to 8). */

import type { HeaderList } from "@portico/gateway/exchange";
import { LinkError, type ResetCode, resetName } from "./error.ts";
import { checkNames, isMethod } from "./fields.ts";
import { FLAG, FRAME, type FastBuffer, readU16, readU32 } from "./frame.ts";
import { type LinkRequest, endFlag, readFields, readResponse, requestHeadBytes, writeRequest } from "./head.ts";
import { HeadMemory } from "./head-memory.ts";
import { LINK_VERSION, type PeerHello } from "./hello.ts";
import { MAX_STREAM_ID, STATUS_BYTES } from "./limits.ts";
import type { LinkSink } from "./outbox.ts";
import { LinkSession, type SessionOptions } from "./session.ts";
import { LinkStream } from "./stream.ts";

/** Where a stream was when it ended early. */
export type UpstreamPhase = "request" | "response" | "tunnel";

/** Why a stream ended early. */
export interface UpstreamReset {
  /** The peer's RESET code, or `lost`: the link went away. */
  readonly code: ResetCode | "lost";
  /** Certainly not processed: safe to retry, whatever the method. */
  readonly refused: boolean;
  readonly phase: UpstreamPhase;
  readonly message: string;
}

/** What an upstream stream reports to the proxy; its HTTP transport reports the same. */
export interface UpstreamObserver {
  onInform(status: number, headers: HeaderList): void;
  /** `headers` is to be read only: responses that say the same may share a list. `body` is what came with the head (may be null). `complete`: nothing more follows, and `onEnd` is not called. After 101, or 2xx to CONNECT, the stream is a tunnel. */
  onResponse(status: number, headers: HeaderList, body: Uint8Array | null, complete: boolean): void;
  onData(chunk: Uint8Array): void;
  /** The peer's half is over. Unless the stream is a tunnel, the stream is over with it. */
  onEnd(trailers: HeaderList): void;
  /** The stream takes bytes again, after `write` returned false. */
  onDrain(): void;
  /** The stream is over; no further event comes. Not called after {@link UpstreamStream.reset}. */
  onReset(error: UpstreamReset): void;
}

/** The proxy's hold on a stream. After the stream is over, no call has any effect. */
export interface UpstreamStream {
  /** The response has made a tunnel of it. */
  readonly tunnelling: boolean;
  /** A part of the request body, or of the tunnel. False: wait for `onDrain`. The chunk must not change any more. */
  write(chunk: Uint8Array): boolean;
  end(trailers?: HeaderList): void;
  /** Says that so many body bytes, inline ones included, were passed on: the worker may send as many again. */
  consume(bytes: number): void;
  /** Nobody waits for the answer any more. `onReset` is not called. */
  reset(code: ResetCode): void;
}

/** A worker's last word on how it is. */
export interface WorkerStatus {
  readonly inFlight: number;
  /** Mean event-loop delay, milliseconds. */
  readonly loopDelayMs: number;
  /** Workers its server has now. */
  readonly workers: number;
}

export interface ClientOptions extends SessionOptions {
  /** The worker takes no new streams. */
  readonly onDrain?: () => void;
  readonly onStatus?: (status: WorkerStatus) => void;
  /** What the proxy does for responses besides `tunnel` and `trailers`, in the words of docs/spec/link.md, 4.2: `accel`, `cache`. */
  readonly serves?: readonly string[];
}

const EMPTY: HeaderList = [];

export class ClientSession extends LinkSession<ClientStream> {
  declare protected readonly options: ClientOptions;
  /** The last response head of the link. */
  readonly heads: HeadMemory = new HeadMemory();
  /** What the worker last said; undefined before its first STATUS. */
  status: WorkerStatus | undefined;

  // oxlint-disable-next-line no-useless-constructor -- makes the protected one of the base public, with its role
  constructor(sink: LinkSink, options: ClientOptions) {
    super("proxy", sink, options);
  }

  /** Worker id, generation, worker count, concurrency; undefined before `onReady`. */
  get hello(): PeerHello | undefined {
    return this.peer;
  }

  /** Streams the worker would take now; 0 before `onReady` and while draining. */
  get available(): number {
    return this.ready && !this.draining ? Math.max(0, this.peer!.concurrency - this.streams.size) : 0;
  }

  protected describe(): PeerHello {
    return {
      version: LINK_VERSION,
      role: "proxy",
      worker: 0,
      generation: 0,
      workers: 0,
      concurrency: 0,
      maxFrame: this.limits.maxFrame,
      window: this.limits.window,
      capabilities: ["tunnel", "trailers", ...(this.options.serves ?? [])],
      nonce: "",
    };
  }

  /**
   * Opens a stream. `body` is the whole body or its beginning, `complete` says that nothing more follows. Header
   * fields of the connection must be gone already; an upgrade travels in `request.upgrade`. No observer is called
   * before this returns. Throws LinkError `not-ready`, `draining`, `busy`, `field`, `connection-field`,
   * `content-length` or `head-too-large`; nothing was sent then. Hot path.
   */
  open(request: LinkRequest, body: Uint8Array | null, complete: boolean, observer: UpstreamObserver): UpstreamStream {
    if (!this.ready) throw new LinkError("not-ready", "the link is not ready");
    if (this.draining) throw new LinkError("draining", "the link is draining");
    if (this.streams.size >= this.peer!.concurrency) throw new LinkError("busy", "the worker takes no more streams");
    if (!isMethod(request.method)) throw new LinkError("field", "the method is not a token");
    if (request.target === "") throw new LinkError("field", "the target is empty");
    checkNames(request.headers);
    const id = this.lastStream + 1;
    const size = body === null ? 0 : body.length;
    // A request with a body asks for no tunnel: the two would share the same half of the stream.
    const upgrade = complete && size === 0 ? (request.upgrade ?? "") : "";
    const stream = new ClientStream(id, this, observer, request.method === "CONNECT" ? "connect" : upgrade);
    const timeoutMs = request.deadline === undefined ? 0 : Math.max(1, request.deadline - this.options.now());
    stream.position = this.out.position;
    const room = size === 0 ? 0 : this.sendFrame - requestHeadBytes(request, upgrade);
    if (size <= room && size <= stream.sendWindow) {
      writeRequest(
        this.out,
        id,
        request,
        timeoutMs,
        upgrade,
        size === 0 ? null : body,
        endFlag(complete),
        this.sendFrame,
      );
      stream.sendWindow -= size;
      stream.localEnded = complete;
      if (complete) this.out.seal();
      this.#add(stream);
    } else {
      writeRequest(this.out, id, request, timeoutMs, upgrade, null, 0, this.sendFrame);
      this.#add(stream);
      stream.write(body!);
      if (complete) stream.end();
    }
    return stream;
  }

  #add(stream: ClientStream): void {
    this.lastStream = stream.id;
    this.counters.streams++;
    this.streams.add(stream);
    // Ids are not used twice: a link that ran out of them makes room for a new one.
    if (stream.id === MAX_STREAM_ID) this.drain();
  }

  /** Opens no more streams, and closes the link when those under way are over. */
  drain(): void {
    if (this.draining) return;
    this.beginDrain();
    this.tell(() => this.options.onDrain?.());
    if (this.ready) this.out.request();
  }

  override forget(stream: LinkStream): void {
    super.forget(stream);
    if (this.draining) this.out.request();
  }

  /** Closes behind the last stream, in a turn of its own: its observer is told first. */
  override flush(): void {
    super.flush();
    if (this.draining && this.ready && this.streams.size === 0) this.close("none", "drained");
  }

  protected onControlFrame(type: number, bytes: FastBuffer, start: number, end: number): boolean {
    if (type === FRAME.DRAIN) {
      this.drain();
      return !this.isClosed;
    }
    if (end - start < STATUS_BYTES) return this.fail("protocol", "malformed STATUS");
    this.status = {
      inFlight: readU32(bytes, start),
      loopDelayMs: readU32(bytes, start + 4) / 1000,
      workers: readU32(bytes, start + 8),
    };
    const { status } = this;
    this.tell(() => this.options.onStatus?.(status));
    return !this.isClosed;
  }

  protected onStreamFrame(
    type: number,
    flags: number,
    id: number,
    bytes: FastBuffer,
    start: number,
    end: number,
  ): boolean {
    if (id > this.lastStream) return this.fail("protocol", `stream ${id} was never opened`);
    if (type === FRAME.REQUEST) return this.fail("protocol", "a REQUEST from a worker");
    const stream = this.streams.get(id);
    // Its last frames crossed our RESET, or its end.
    if (stream === undefined) return true;
    try {
      return stream.onFrame(type, flags, bytes, start, end) && !this.isClosed;
    } catch (error) {
      this.observerThrew(stream, error);
      return !this.isClosed;
    }
  }

  protected abandon(error: LinkError, accepted: number, sent: number): void {
    const streams = this.streams.list();
    this.streams.clear();
    for (const stream of streams) stream.closed = true;
    for (const stream of streams) {
      stream.lost(error, stream.id > accepted || stream.position >= sent);
    }
  }
}

/** A stream as the proxy holds it. */
export class ClientStream extends LinkStream implements UpstreamStream {
  readonly #client: ClientSession;
  readonly #observer: UpstreamObserver;
  /** What the request asks to become: `connect`, a protocol, or nothing. */
  readonly #tunnel: string;
  #phase: UpstreamPhase = "request";
  /** Where its REQUEST stands in all the bytes of the link. */
  position = 0;

  constructor(id: number, session: ClientSession, observer: UpstreamObserver, tunnel: string) {
    super(id, session);
    this.#client = session;
    this.#observer = observer;
    this.#tunnel = tunnel;
  }

  get tunnelling(): boolean {
    return this.#phase === "tunnel";
  }

  write(chunk: Uint8Array): boolean {
    if (this.closed || this.localEnded) return true;
    return this.send(chunk);
  }

  end(trailers?: HeaderList): void {
    if (this.closed || this.localEnded) return;
    if (trailers !== undefined) checkNames(trailers);
    this.sendEnd(trailers);
  }

  consume(bytes: number): void {
    this.credit(bytes);
  }

  reset(code: ResetCode): void {
    if (this.closed) return;
    this.sendReset(code);
  }

  fault(): void {
    this.reset("internal");
  }

  protected onWritable(): void {
    this.#observer.onDrain();
  }

  protected onLocalEnd(): void {
    if (this.#phase === "tunnel" && this.remoteEnded) this.release();
  }

  /** The link is over. */
  lost(error: LinkError, refused: boolean): void {
    this.closed = true;
    const { message } = error;
    try {
      this.#observer.onReset({ code: refused ? "refused" : "lost", refused, phase: this.#phase, message });
    } catch (thrown) {
      this.session.observerThrew(this, thrown);
    }
  }

  /** One frame of this stream. False: the link was closed. */
  onFrame(type: number, flags: number, bytes: FastBuffer, start: number, end: number): boolean {
    switch (type) {
      case FRAME.RESPONSE:
        return this.#onResponse(flags, bytes, start, end);
      case FRAME.DATA:
        return this.#onData(flags, bytes, start, end);
      case FRAME.END:
        return this.#onEnd(bytes, start, end);
      case FRAME.WINDOW:
        return this.widen(readU32(bytes, start)) || this.session.fail("flow-control", "a WINDOW beyond its bounds");
      case FRAME.INFO:
        return this.#onInfo(bytes, start, end);
      default:
        this.#onReset(readU16(bytes, start));
        return true;
    }
  }

  #onResponse(flags: number, bytes: FastBuffer, start: number, end: number): boolean {
    const { session } = this;
    if (this.#phase !== "request") return session.fail("protocol", "a second RESPONSE");
    const { heads } = this.#client;
    const known = heads.find(bytes, start, end);
    const response = known ?? readResponse(bytes, start, end, session.limits.maxStrings);
    if (response === undefined) return session.fail("protocol", "malformed RESPONSE");
    if (known === undefined) heads.keep(bytes, start, response);
    const { status, headers } = response;
    const bodyStart = start + response.length;
    const tunnel = (flags & FLAG.TUNNEL) !== 0;
    const size = end - bodyStart;
    if (tunnel) return this.#onTunnel(status, headers, size, flags);
    if (status < 200) return session.fail("protocol", `RESPONSE with status ${status}`);
    if (!this.admit(size)) return session.fail("flow-control", "a body beyond its window");
    this.#phase = "response";
    const complete = (flags & FLAG.END) !== 0;
    if (complete) this.#over();
    this.#observer.onResponse(status, headers, size === 0 ? null : session.own(bytes, bodyStart, end), complete);
    return true;
  }

  #onTunnel(status: number, headers: HeaderList, size: number, flags: number): boolean {
    const fits = this.#tunnel === "connect" ? status >= 200 && status < 300 : this.#tunnel !== "" && status === 101;
    if (!fits || size > 0 || (flags & FLAG.END) !== 0 || !this.localEnded) {
      return this.session.fail("protocol", "a tunnel that was not asked for");
    }
    this.#phase = "tunnel";
    this.localEnded = false;
    this.#observer.onResponse(status, headers, null, false);
    return true;
  }

  #onInfo(bytes: FastBuffer, start: number, end: number): boolean {
    const { session } = this;
    const info = readResponse(bytes, start, end, session.limits.maxStrings);
    const fits = info !== undefined && start + info.length === end && info.status < 200 && info.status !== 101;
    if (!fits || this.#phase !== "request") return session.fail("protocol", "malformed or late INFO");
    this.#observer.onInform(info.status, info.headers);
    return true;
  }

  #onData(flags: number, bytes: FastBuffer, start: number, end: number): boolean {
    if (this.#phase === "request" || this.remoteEnded) return this.session.fail("protocol", "DATA out of order");
    if (!this.admit(end - start)) return this.session.fail("flow-control", "DATA beyond its window");
    if (end > start) this.#observer.onData(this.session.own(bytes, start, end));
    if ((flags & FLAG.END) !== 0 && !this.closed) this.#ended(EMPTY.slice());
    return true;
  }

  #onEnd(bytes: FastBuffer, start: number, end: number): boolean {
    if (this.#phase === "request" || this.remoteEnded) return this.session.fail("protocol", "END out of order");
    const trailers = readFields(bytes, start, end, this.session.limits.maxStrings);
    if (trailers === undefined) return this.session.fail("protocol", "malformed END");
    this.#ended(trailers);
    return true;
  }

  #ended(trailers: HeaderList): void {
    if (this.#phase === "tunnel" && !this.localEnded) this.remoteEnded = true;
    else this.#over();
    this.#observer.onEnd(trailers);
  }

  #over(): void {
    this.remoteEnded = true;
    this.release();
  }

  #onReset(number: number): void {
    const code = resetName(number);
    const { counters } = this.session;
    counters.resetReceived++;
    if (code === "refused") counters.refused++;
    this.release();
    const message = `the worker reset the stream: ${code}`;
    this.#observer.onReset({
      code,
      refused: code === "refused" && this.#phase === "request",
      phase: this.#phase,
      message,
    });
  }
}
