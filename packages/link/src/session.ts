/**
 * What both ends of a link share: handshake, frames in, frames out, liveness, closing (docs/spec/link.md, sections 4, 7, 8).
 *
 * A session does no I/O. The owner gives it bytes (`receive`, `receiveEnd`, `closed`), room (`writable`), turns
 * (`flush`) and time (`tick`), and it writes to a {@link LinkSink}. None of these throws, whatever the peer sends.
 */

import { GrowthBudget } from "./budget.ts";
import { PING_BYTES, readClose, writeClose, writeNumber, writePing, writePong } from "./control.ts";
import { type CloseCode, LinkError } from "./error.ts";
import { FLAG, FRAME, type FastBuffer, FrameReader, type FrameReceiver } from "./frame.ts";
import { Handshake } from "./handshake.ts";
import type { LinkRole, PeerHello } from "./hello.ts";
import { HANDSHAKE_FRAME_BYTES, type LinkLimits, resolveLimits } from "./limits.ts";
import { Liveness } from "./liveness.ts";
import { type LinkSink, Outbox, REFERENCE_BYTES } from "./outbox.ts";
import type { LinkStream, StreamHost } from "./stream.ts";
import { StreamTable } from "./table.ts";

export interface SessionOptions {
  readonly limits?: Partial<LinkLimits>;
  /** Shared secret, at least 16 bytes. Where given, the peer must prove that it has it, and so do we. */
  readonly secret?: string | Uint8Array;
  /** Unpredictable bytes for the challenge; needed with `secret`. */
  readonly random?: (size: number) => Uint8Array;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The handshake is complete. */
  readonly onReady?: (peer: PeerHello) => void;
  /** The link is over, once. Undefined: orderly. Streams were told before. */
  readonly onClosed?: (error: LinkError | undefined) => void;
  /** An observer or handler threw, and its stream was reset; or one of the other callbacks did. Must not throw. */
  readonly onError?: (error: unknown) => void;
}

/** Counters of a link; plain numbers, read at any time. */
export interface SessionCounters {
  streams: number;
  refused: number;
  resetSent: number;
  resetReceived: number;
  protocolErrors: number;
}

type State = "idle" | "handshake" | "ready" | "closed";

/** Payload length of frames that have exactly one, by type; PING and PONG, WINDOW, RESET, DRAIN. */
const FIXED_PAYLOAD = new Map<number, number>([
  [FRAME.PING, PING_BYTES],
  [FRAME.PONG, PING_BYTES],
  [FRAME.DRAIN, 0],
  [FRAME.WINDOW, 4],
  [FRAME.RESET, 2],
]);

export abstract class LinkSession<Stream extends LinkStream = LinkStream> implements FrameReceiver, StreamHost {
  readonly limits: LinkLimits;
  readonly growth: GrowthBudget;
  readonly out: Outbox;
  /** What the peer said of itself; defined from `onReady` on. */
  peer: PeerHello | undefined;
  /** Longest payload we may send. */
  sendFrame: number = HANDSHAKE_FRAME_BYTES;
  /** Window a new stream of ours starts with. */
  sendWindow = 0;
  frameLimit: number = HANDSHAKE_FRAME_BYTES;
  readonly counters: SessionCounters = { streams: 0, refused: 0, resetSent: 0, resetReceived: 0, protocolErrors: 0 };
  protected readonly streams: StreamTable<Stream> = new StreamTable();
  /** Highest stream id that exists or existed. */
  protected lastStream = 0;
  protected readonly options: SessionOptions;
  #state: State = "idle";
  #draining = false;
  readonly #sink: LinkSink;
  readonly #reader: FrameReader;
  readonly #role: LinkRole;
  readonly #handshake: Handshake;
  /** Streams whose bodies wait for the sink. */
  readonly #waiting: Set<LinkStream> = new Set();
  #controlBacklog = 0;
  #closeError: LinkError | undefined;
  readonly #closeCallbacks: ((error: LinkError | undefined) => void)[] = [];
  readonly #liveness: Liveness;
  /** Parts of the chunk that is being received belong to observers now. */
  #gave = false;

  protected constructor(role: LinkRole, sink: LinkSink, options: SessionOptions) {
    this.limits = resolveLimits(options.limits);
    this.growth = new GrowthBudget(this.limits.growth);
    this.options = options;
    this.#role = role;
    this.#sink = sink;
    this.out = new Outbox(sink);
    this.#reader = new FrameReader(this);
    this.#handshake = new Handshake(role, this.out, options.secret, options.random);
    this.#liveness = new Liveness(this.limits, options.now());
  }

  get ready(): boolean {
    return this.#state === "ready";
  }

  get isClosed(): boolean {
    return this.#state === "closed";
  }

  /** No new streams. */
  get draining(): boolean {
    return this.#draining;
  }

  /** Streams under way. */
  get inFlight(): number {
    return this.streams.size;
  }

  /** Says HELLO. Call once, when the connection is there. */
  start(): void {
    if (this.#state !== "idle") return;
    this.#state = "handshake";
    this.#handshake.begin(this.describe());
  }

  /** Our HELLO, without the challenge. */
  protected abstract describe(): PeerHello;
  /** A frame of a stream; the payload's length was checked where the type fixes it. False after {@link LinkSession.fail}. */
  protected abstract onStreamFrame(
    type: number,
    flags: number,
    stream: number,
    bytes: FastBuffer,
    start: number,
    end: number,
  ): boolean;
  /** STATUS and DRAIN, by the end that understands them. False after {@link LinkSession.fail}. */
  protected abstract onControlFrame(type: number, bytes: FastBuffer, start: number, end: number): boolean;
  /** Tells every stream that the link is over. The peer processed none above id `accepted`, and none of the bytes behind position `sent` left. */
  protected abstract abandon(error: LinkError, accepted: number, sent: number): void;
  protected onHandshake(): void {}
  protected onTick(_now: number): void {}

  /**
   * Bytes from the peer: the first `size` of `chunk`. True: an observer owns parts of `chunk` from here on, which must
   * not change any more; false: its memory is free for the next bytes. Never throws. Hot path.
   */
  receive(chunk: Uint8Array, size: number = chunk.length): boolean {
    if (this.#state === "closed") return false;
    this.#liveness.heard = true;
    this.#gave = false;
    this.#reader.receive(chunk, size);
    return this.#gave;
  }

  /** Bytes of a frame as their owner gets them: copied where that is cheaper than to give the memory away. */
  own(bytes: FastBuffer, start: number, end: number): Uint8Array {
    const size = end - start;
    if (size >= REFERENCE_BYTES) {
      this.#gave = true;
      return bytes.subarray(start, end);
    }
    const copy = Buffer.allocUnsafe(size);
    bytes.copy(copy, 0, start, end);
    return copy;
  }

  /** The peer will send nothing more. */
  receiveEnd(): void {
    if (this.#state === "closed") return;
    const where = this.#reader.idle ? "without a CLOSE" : "inside a frame";
    this.#finish("none", new LinkError("lost", `the peer ended the link ${where}`), Number.MAX_SAFE_INTEGER);
    this.#sink.end();
  }

  /** The connection is gone. */
  closed(cause?: unknown): void {
    if (this.#state === "closed") return;
    this.#finish(
      "none",
      new LinkError("lost", "the connection of the link was lost", { cause }),
      Number.MAX_SAFE_INTEGER,
    );
  }

  /** The sink takes bytes again. */
  writable(): void {
    if (this.#state === "closed") return;
    this.#controlBacklog = 0;
    this.out.release();
    this.flush();
    for (const stream of this.#waiting) {
      if (this.out.blocked) return;
      this.#waiting.delete(stream);
      this.guard(stream, pumpStream);
    }
  }

  /** Hands over what this turn gathered. */
  flush(): void {
    this.out.flush();
  }

  /** The owner's coarse clock, about once a second: handshake, ping, deadlines. */
  tick(now: number): void {
    if (this.#state === "closed" || this.#state === "idle") return;
    const verdict = this.#liveness.judge(now, this.ready);
    if (verdict === "late") this.fail("timeout", "the handshake took too long");
    else if (verdict === "dead") this.fail("timeout", "the peer did not answer a ping");
    else if (this.ready) {
      if (verdict === "ask") writePing(this.out);
      this.onTick(now);
    }
  }

  /** Ends the link now, with a reason for the peer. Streams under way are told; nothing more is received. */
  close(code: CloseCode = "none", reason = ""): void {
    if (this.#state === "closed") return;
    const orderly = code === "none" && this.streams.size === 0;
    this.#terminate(
      code,
      reason,
      orderly ? undefined : new LinkError(code === "none" ? "lost" : code, reason || "the link was closed"),
    );
  }

  /** Closes the link over a fault of the peer's. Always false: the frame was not taken. */
  fail(code: CloseCode, reason: string): false {
    if (this.#state === "closed") return false;
    if (code !== "timeout" && code !== "shutdown") this.counters.protocolErrors++;
    this.#terminate(code, reason, new LinkError(code, reason));
    return false;
  }

  #terminate(code: CloseCode, reason: string, error: LinkError | undefined): void {
    const introduced = this.#state !== "idle";
    const sent = this.out.written;
    // Requests that wait in the outbox are not sent any more: they can be called refused, soundly.
    if (this.#role === "proxy") this.discardGathered();
    this.#state = "closed";
    if (introduced) {
      writeClose(this.out, this.lastStream, code, reason);
      this.out.flushLast();
    }
    this.#finish(code, error, Number.MAX_SAFE_INTEGER, sent);
    this.#sink.end();
  }

  /** Calls back when the link is over, behind `onClosed`; at once where it is. */
  whenClosed(callback: (error: LinkError | undefined) => void): void {
    if (this.#state === "closed") callback(this.#closeError);
    else this.#closeCallbacks.push(callback);
  }

  /** What the proxy end gathered and does not send: see {@link LinkSession.abandon}. */
  protected discardGathered(): void {
    if (this.#state === "ready") this.out.drop();
  }

  #finish(code: CloseCode, error: LinkError | undefined, accepted: number, sent: number = this.out.written): void {
    this.#state = "closed";
    this.#draining = true;
    this.#reader.clear();
    this.#waiting.clear();
    this.abandon(error ?? new LinkError(code === "none" ? "lost" : code, "the link was closed"), accepted, sent);
    this.streams.clear();
    this.out.drop();
    this.#closeError = error;
    this.tell(() => this.options.onClosed?.(error));
    for (const callback of this.#closeCallbacks.splice(0)) this.tell(() => callback(error));
  }

  onOversized(type: number, length: number): void {
    this.fail("oversized", `frame of type ${type} with ${length} bytes, ${this.frameLimit} are accepted`);
  }

  /** One frame. False: the link is closed. Hot path. */
  onFrame(type: number, flags: number, stream: number, bytes: FastBuffer, start: number, end: number): boolean {
    if (this.#state !== "ready") return this.#onHandshakeFrame(type, stream, bytes, start, end);
    const fixed = FIXED_PAYLOAD.get(type);
    if (fixed !== undefined && end - start !== fixed) {
      return this.fail("protocol", `frame of type ${type} with ${end - start} bytes instead of ${fixed}`);
    }
    if (type >= FRAME.REQUEST && type <= FRAME.RESET) {
      if (stream === 0) return this.fail("protocol", `frame of type ${type} without a stream`);
      return this.onStreamFrame(type, flags, stream, bytes, start, end);
    }
    if (type >= FRAME.HELLO && type <= FRAME.CLOSE) {
      if (stream !== 0) return this.fail("protocol", `frame of type ${type} on stream ${stream}`);
      return this.#onControl(type, bytes, start, end);
    }
    if ((flags & FLAG.OPTIONAL) !== 0) return true;
    return this.fail("unknown-frame", `frame of unknown type ${type}`);
  }

  #onControl(type: number, bytes: FastBuffer, start: number, end: number): boolean {
    switch (type) {
      case FRAME.PING: {
        writePong(this.out, bytes, start, end);
        return this.countControl(PING_BYTES);
      }
      case FRAME.PONG:
        return true;
      case FRAME.CLOSE:
        return this.#onClose(bytes, start, end);
      case FRAME.STATUS:
      case FRAME.DRAIN:
        return this.onControlFrame(type, bytes, start, end);
      default:
        return this.fail("protocol", `frame of type ${type} after the handshake`);
    }
  }

  #onHandshakeFrame(type: number, stream: number, bytes: FastBuffer, start: number, end: number): boolean {
    if (stream !== 0) return this.fail("protocol", "a stream before the handshake");
    if (type === FRAME.CLOSE) return this.#onClose(bytes, start, end);
    const step = this.#handshake.take(type, bytes, start, end, this.limits.maxStrings);
    if (step === "more") return true;
    if (step !== "complete") return this.fail(step.code, step.reason);
    return this.#becomeReady(this.#handshake.peer!);
  }

  #becomeReady(peer: PeerHello): boolean {
    this.peer = peer;
    this.sendFrame = Math.min(peer.maxFrame, this.limits.maxFrame);
    this.sendWindow = peer.window;
    this.frameLimit = this.limits.maxFrame;
    this.#state = "ready";
    this.onHandshake();
    this.tell(() => this.options.onReady?.(peer));
    return !this.isClosed;
  }

  #onClose(bytes: FastBuffer, start: number, end: number): boolean {
    const close = readClose(bytes, start, end);
    if (close === undefined) return this.fail("protocol", "malformed CLOSE");
    const { accepted, code, reason } = close;
    const orderly = code === "none" && this.streams.size === 0;
    const error = orderly
      ? undefined
      : new LinkError(code === "none" ? "lost" : code, `the peer closed the link: ${reason || code}`);
    this.#finish(code, error, accepted);
    this.#sink.end();
    return false;
  }

  /** Sends WINDOW or RESET: a number of `bytes` bytes on a stream. */
  sendNumber(type: number, stream: number, value: number, size: 2 | 4): boolean {
    writeNumber(this.out, type, stream, value, size);
    return this.countControl(size);
  }

  /** Answers that a peer causes and does not read are bounded. */
  protected countControl(bytes: number): boolean {
    if (!this.out.blocked) return true;
    this.#controlBacklog += bytes + 9;
    if (this.#controlBacklog <= this.limits.maxControlBacklog) return true;
    return this.fail("overload", "the peer does not read");
  }

  protected beginDrain(): void {
    this.#draining = true;
  }

  /** A stream's body waits until the sink takes bytes. */
  awaitSink(stream: LinkStream): void {
    this.#waiting.add(stream);
  }

  /** A stream is over. */
  forget(stream: LinkStream): void {
    this.streams.delete(stream.id);
    if (this.#waiting.size > 0) this.#waiting.delete(stream);
  }

  /** Runs what may call an observer; one that throws loses its stream, not the link. */
  guard<One extends LinkStream>(stream: One, run: (stream: One) => void): void {
    try {
      run(stream);
    } catch (error) {
      this.observerThrew(stream, error);
    }
  }

  /** Calls the owner of the link: what it throws must not leave a chunk half read. */
  protected tell(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.options.onError?.(error);
    }
  }

  observerThrew(stream: LinkStream, error: unknown): void {
    this.options.onError?.(error);
    stream.fault();
  }
}

function pumpStream(stream: LinkStream): void {
  stream.pump();
}
