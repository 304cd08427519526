/** Outgoing frames of a link, gathered in one buffer and handed to the sink once per turn of the event loop. */

import { type FastBuffer, writeU24, writeU32 } from "./frame.ts";
import { FRAME_HEADER_BYTES } from "./limits.ts";

/** Where a session's bytes go. The session never calls it from inside its constructor. */
export interface LinkSink {
  /** Takes bytes. True: they are gone, the buffer may be used again. False: the sink keeps the buffer, and calls `session.writable()` when it wants more. */
  write(bytes: Uint8Array): boolean;
  /** The same for several pieces, in order. Without it they come one by one. */
  writeAll?(pieces: readonly Uint8Array[]): boolean;
  /** Asks for `session.flush()` before long, once; called when the first frame of a turn is gathered. */
  schedule(): void;
  /** Nothing more will be written. */
  end(): void;
  /** Drops the connection now. */
  destroy(): void;
}

/** Room for gathered frames, bytes; full, they are written before the turn ends. Two frames of the default limit. */
const GATHER_BYTES = 131_072;
/** From this length on a payload is written from where it is: copying it would cost more than another piece (ADR 0003). */
export const REFERENCE_BYTES = 16_384;
/** Payload bytes held by reference before an early write: enough for a system call to be worth it. */
const MAX_REFERENCED_BYTES = 524_288;

export class Outbox {
  readonly #sink: LinkSink;
  bytes: FastBuffer = Buffer.allocUnsafeSlow(GATHER_BYTES) as FastBuffer;
  /** The same memory, four bytes at a time. */
  words: Int32Array = wordsOf(this.bytes);
  #length = 0;
  /** Begin of what is not yet among the pieces. */
  #from = 0;
  /** Pieces that were closed by a payload held by reference; undefined on the plain path. */
  #pieces: Uint8Array[] | undefined;
  #referenced = 0;
  /** A buffer that the sink keeps, and one that it gave back. */
  #lent: FastBuffer | undefined;
  #spare: FastBuffer | undefined;
  #scheduled = false;
  /** True while the sink keeps what it was given: bodies wait in their streams meanwhile. */
  blocked = false;
  /** Offset of the last gathered frame, or -1: the frame that may still be extended. */
  #last = -1;
  /** Its payload is elsewhere: flags can be added, bytes cannot. */
  #lastReferenced = false;
  /** Bytes handed over so far. */
  written = 0;

  constructor(sink: LinkSink) {
    this.#sink = sink;
  }

  get empty(): boolean {
    return this.#length === 0 && this.#referenced === 0;
  }

  /** Bytes gathered so far in the life of the link: a frame that begins at or behind {@link Outbox.written} never left. */
  get position(): number {
    return this.written + this.#length + this.#referenced;
  }

  /** Room for a frame of `payload` bytes; the offset of its payload in {@link Outbox.bytes}. Nothing is sent until {@link Outbox.commit}. */
  reserve(payload: number): number {
    const need = FRAME_HEADER_BYTES + payload;
    if (this.#length + need > this.bytes.length) {
      if (!this.empty) this.#hand();
      if (need > this.bytes.length) this.#renew(need);
    }
    return this.#length + FRAME_HEADER_BYTES;
  }

  /** Completes the frame that was reserved, with `payload` bytes of payload, at most what was reserved. */
  commit(type: number, flags: number, stream: number, payload: number): void {
    const bytes = this.bytes;
    const at = this.#length;
    writeU24(bytes, at, payload);
    bytes[at + 3] = type;
    bytes[at + 4] = flags;
    writeU32(bytes, at + 5, stream);
    this.#last = at;
    this.#lastReferenced = false;
    this.#length = at + FRAME_HEADER_BYTES + payload;
    if (!this.#scheduled) this.request();
  }

  /** Asks for a flush this turn. */
  request(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#sink.schedule();
  }

  /** A whole frame whose payload stays where it is; it must not change any more. */
  commitReference(type: number, flags: number, stream: number, payload: Uint8Array): void {
    this.reserve(0);
    this.commit(type, flags, stream, payload.length);
    this.#length -= payload.length;
    this.#lastReferenced = true;
    (this.#pieces ??= []).push(this.bytes.subarray(this.#from, this.#length), payload);
    this.#from = this.#length;
    this.#referenced += payload.length;
    if (this.#referenced >= MAX_REFERENCED_BYTES && !this.blocked) this.#hand();
  }

  /** Adds a flag to the last frame, when it is the stream's and still here: `start`, `write`, `end` in one turn become one frame. */
  extendFlags(stream: number, flags: number): boolean {
    const at = this.#lastOf(stream);
    if (at < 0) return false;
    this.bytes[at + 4] = this.bytes[at + 4]! | flags;
    return true;
  }

  /** Adds bytes to the last frame under the same condition; the frame grows to `limit` at most. */
  extend(stream: number, chunk: Uint8Array, limit: number): boolean {
    const at = this.#lastOf(stream);
    if (at < 0 || this.#lastReferenced) return false;
    const payload = this.#length - at - FRAME_HEADER_BYTES + chunk.length;
    if (payload > limit || this.#length + chunk.length > this.bytes.length) return false;
    this.bytes.set(chunk, this.#length);
    this.#length += chunk.length;
    writeU24(this.bytes, at, payload);
    return true;
  }

  /** Forbids extending the last frame: its kind takes no body. */
  seal(): void {
    this.#last = -1;
  }

  #lastOf(stream: number): number {
    const at = this.#last;
    if (at < 0) return -1;
    const bytes = this.bytes;
    const id = ((bytes[at + 5]! << 24) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 8) | bytes[at + 8]!) >>> 0;
    return id === stream ? at : -1;
  }

  /** Hands over what was gathered, unless the sink still keeps the last. */
  flush(): void {
    this.#scheduled = false;
    if (!this.blocked && !this.empty) this.#hand();
  }

  /** Hands over what was gathered even where the sink is not ready: the link is closing. */
  flushLast(): void {
    if (!this.empty) this.#hand();
  }

  /** The sink gave back what it kept. */
  release(): void {
    this.blocked = false;
    if (this.#lent !== undefined && this.#lent.length === GATHER_BYTES) this.#spare = this.#lent;
    this.#lent = undefined;
  }

  #hand(): void {
    this.written = this.position;
    const pieces = this.#pieces;
    const from = this.#from;
    const to = this.#length;
    this.#length = 0;
    this.#from = 0;
    this.#last = -1;
    this.#pieces = undefined;
    this.#referenced = 0;
    const rest = from === 0 && to === this.bytes.length ? this.bytes : this.bytes.subarray(from, to);
    if (this.#give(pieces, rest)) return;
    this.blocked = true;
    this.#lent = this.bytes;
    this.#renew(GATHER_BYTES);
  }

  /** True: the sink kept nothing. */
  #give(pieces: Uint8Array[] | undefined, rest: Uint8Array): boolean {
    const sink = this.#sink;
    if (pieces === undefined) return sink.write(rest);
    if (rest.length > 0) pieces.push(rest);
    if (sink.writeAll !== undefined) return sink.writeAll(pieces);
    let free = true;
    for (const piece of pieces) free = sink.write(piece) && free;
    return free;
  }

  #renew(size: number): void {
    const spare = size === GATHER_BYTES ? this.#spare : undefined;
    this.#spare = undefined;
    this.bytes = spare ?? (Buffer.allocUnsafeSlow(size) as FastBuffer);
    this.words = wordsOf(this.bytes);
  }

  /** Forgets what was gathered. */
  drop(): void {
    this.#length = 0;
    this.#from = 0;
    this.#pieces = undefined;
    this.#referenced = 0;
    this.#last = -1;
    this.blocked = false;
  }
}

function wordsOf(bytes: Buffer): Int32Array {
  return new Int32Array(bytes.buffer, 0, bytes.length >> 2);
}
