/**
 * What both ends of a link share: handshake, frames in, frames out, liveness, closing (docs/spec/link.md, sections 4, 7, 8).
 *
 * A session does no I/O. The owner gives it bytes (`receive`, `receiveEnd`, `closed`), room (`writable`), turns
 * (`flush`) and time (`tick`), and it writes to a {@link LinkSink}. None of these throws, whatever the peer sends.
 */

import { CLOSE_CODES, type CloseCode, LinkError, closeName } from "./error.ts";
import {
  FLAG,
  FRAME,
  type FastBuffer,
  FrameReader,
  type FrameReceiver,
  readU16,
  readU32,
  writeU16,
  writeU32,
} from "./frame.ts";
import { readFields, writeFields } from "./head.ts";
import {
  type LinkRole,
  type PeerHello,
  helloFields,
  makeNonce,
  parseHello,
  proof,
  sameProof,
  secretBytes,
} from "./hello.ts";
import { HANDSHAKE_FRAME_BYTES, type LinkLimits, resolveLimits } from "./limits.ts";
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
  /** An observer or handler threw; its stream was reset. */
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

type State = "idle" | "hello" | "auth" | "ready" | "closed";

const PING_BYTES = 8;
const CLOSE_FIXED = 6;
/** Reason text of a CLOSE, bytes. */
const MAX_REASON = 200;

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
  readonly #secret: Uint8Array | undefined;
  #ownHello: Uint8Array | undefined;
  #peerHello: Uint8Array | undefined;
  /** Streams whose bodies wait for the sink. */
  readonly #waiting: Set<LinkStream> = new Set();
  #controlBacklog = 0;
  #closeError: LinkError | undefined;
  readonly #closeCallbacks: ((error: LinkError | undefined) => void)[] = [];
  readonly #startedAt: number;
  #heard = false;
  /** Parts of the chunk that is being received belong to observers now. */
  #gave = false;
  #heardAt: number;
  #pingedAt = 0;

  protected constructor(role: LinkRole, sink: LinkSink, options: SessionOptions) {
    this.limits = resolveLimits(options.limits);
    this.options = options;
    this.#role = role;
    this.#sink = sink;
    this.out = new Outbox(sink);
    this.#reader = new FrameReader(this);
    if (options.secret !== undefined) {
      this.#secret = secretBytes(options.secret);
      if (options.random === undefined)
        throw new LinkError("option", "a link with a secret needs a source of randomness");
    }
    this.#startedAt = options.now();
    this.#heardAt = this.#startedAt;
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
    this.#state = "hello";
    const nonce = this.#secret === undefined ? "" : makeNonce(this.options.random!);
    const fields = helloFields({ ...this.describe(), nonce });
    this.#ownHello = Uint8Array.from(writeFields(this.out, FRAME.HELLO, 0, 0, fields, HANDSHAKE_FRAME_BYTES));
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
    this.#heard = true;
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
    if (this.#heard) {
      this.#heard = false;
      this.#heardAt = now;
      this.#pingedAt = 0;
    }
    if (this.#state !== "ready") {
      if (now - this.#startedAt >= this.limits.handshakeTimeout) this.fail("timeout", "the handshake took too long");
      return;
    }
    if (this.#pingedAt !== 0) {
      if (now - this.#pingedAt >= this.limits.pingTimeout) {
        this.fail("timeout", "the peer did not answer a ping");
        return;
      }
    } else if (this.limits.pingInterval > 0 && now - this.#heardAt >= this.limits.pingInterval) {
      this.#pingedAt = now;
      this.#sendPing();
    }
    this.onTick(now);
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
      this.#sendClose(code, reason);
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
    this.options.onClosed?.(error);
    for (const callback of this.#closeCallbacks.splice(0)) callback(error);
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
        const at = this.out.reserve(PING_BYTES);
        bytes.copy(this.out.bytes, at, start, end);
        this.out.commit(FRAME.PONG, 0, 0, PING_BYTES);
        this.out.seal();
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
    if (type === FRAME.HELLO && this.#state === "hello" && this.#peerHello === undefined)
      return this.#onHello(bytes, start, end);
    if (type === FRAME.AUTH && this.#state === "auth") return this.#onAuth(bytes, start, end);
    return this.fail("protocol", `frame of type ${type} instead of the handshake`);
  }

  #onHello(bytes: FastBuffer, start: number, end: number): boolean {
    const fields = readFields(bytes, start, end, this.limits.maxStrings);
    if (fields === undefined) return this.fail("protocol", "malformed HELLO");
    let peer: PeerHello;
    try {
      peer = parseHello(fields, this.#role === "proxy" ? "worker" : "proxy");
    } catch (error) {
      if (!(error instanceof LinkError)) throw error;
      return this.fail(error.code === "version" ? "version" : "protocol", error.message);
    }
    if ((peer.nonce !== "") !== (this.#secret !== undefined)) {
      return this.fail(
        "authentication",
        this.#secret === undefined ? "the peer asks for a secret" : "the peer has no secret",
      );
    }
    this.peer = peer;
    if (this.#secret === undefined) return this.#becomeReady();
    this.#peerHello = Uint8Array.prototype.slice.call(bytes, start, end);
    this.#state = "auth";
    if (this.#role === "proxy") this.#sendProof();
    return true;
  }

  #onAuth(bytes: FastBuffer, start: number, end: number): boolean {
    const fields = readFields(bytes, start, end, this.limits.maxStrings);
    if (fields === undefined || fields.length < 2 || fields[0] !== "proof")
      return this.fail("protocol", "malformed AUTH");
    const role = this.#role === "proxy" ? "worker" : "proxy";
    if (!sameProof(fields[1]!, this.#proofOf(role))) return this.fail("authentication", "the proof is wrong");
    if (this.#role === "worker") this.#sendProof();
    return this.#becomeReady();
  }

  #sendProof(): void {
    writeFields(this.out, FRAME.AUTH, 0, 0, ["proof", this.#proofOf(this.#role)], HANDSHAKE_FRAME_BYTES);
  }

  #proofOf(role: LinkRole): string {
    const [proxy, worker] =
      this.#role === "proxy" ? [this.#ownHello!, this.#peerHello!] : [this.#peerHello!, this.#ownHello!];
    return proof(this.#secret!, role, proxy, worker);
  }

  #becomeReady(): boolean {
    const peer = this.peer!;
    this.#ownHello = undefined;
    this.#peerHello = undefined;
    this.sendFrame = Math.min(peer.maxFrame, this.limits.maxFrame);
    this.sendWindow = peer.window;
    this.frameLimit = this.limits.maxFrame;
    this.#state = "ready";
    this.onHandshake();
    this.options.onReady?.(peer);
    return !this.isClosed;
  }

  #onClose(bytes: FastBuffer, start: number, end: number): boolean {
    if (end - start < CLOSE_FIXED) return this.fail("protocol", "malformed CLOSE");
    const accepted = readU32(bytes, start);
    const code = closeName(readU16(bytes, start + 4));
    const reason = bytes.latin1Slice(start + CLOSE_FIXED, Math.min(end, start + CLOSE_FIXED + MAX_REASON));
    const orderly = code === "none" && this.streams.size === 0;
    const error = orderly
      ? undefined
      : new LinkError(code === "none" ? "lost" : code, `the peer closed the link: ${reason || code}`);
    this.#finish(code, error, accepted);
    this.#sink.end();
    return false;
  }

  #sendClose(code: CloseCode, reason: string): void {
    const text = reason.slice(0, MAX_REASON);
    const at = this.out.reserve(CLOSE_FIXED + text.length);
    writeU32(this.out.bytes, at, this.lastStream);
    writeU16(this.out.bytes, at + 4, CLOSE_CODES[code]);
    this.out.bytes.latin1Write(text, at + CLOSE_FIXED, text.length);
    this.out.commit(FRAME.CLOSE, 0, 0, CLOSE_FIXED + text.length);
  }

  #sendPing(): void {
    const at = this.out.reserve(PING_BYTES);
    this.out.bytes.fill(0, at, at + PING_BYTES);
    this.out.commit(FRAME.PING, 0, 0, PING_BYTES);
    this.out.seal();
  }

  /** Sends WINDOW or RESET: a number of `bytes` bytes on a stream. */
  sendNumber(type: number, stream: number, value: number, size: 2 | 4): boolean {
    const at = this.out.reserve(size);
    if (size === 2) writeU16(this.out.bytes, at, value);
    else writeU32(this.out.bytes, at, value);
    this.out.commit(type, 0, stream, size);
    this.out.seal();
    return this.countControl(size);
  }

  /** Sends a frame without stream and payload. */
  protected sendEmpty(type: number): void {
    this.out.reserve(0);
    this.out.commit(type, 0, 0, 0);
    this.out.seal();
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

  observerThrew(stream: LinkStream, error: unknown): void {
    this.options.onError?.(error);
    stream.fault();
  }
}

function pumpStream(stream: LinkStream): void {
  stream.pump();
}
