/** Frame types and flags, and the reader that cuts a byte stream into frames (docs/spec/link.md, sections 3 and 4). */

import { FRAME_HEADER_BYTES } from "./limits.ts";

export const FRAME = {
  HELLO: 0x01,
  AUTH: 0x02,
  PING: 0x03,
  PONG: 0x04,
  STATUS: 0x05,
  DRAIN: 0x06,
  CLOSE: 0x07,
  REQUEST: 0x10,
  RESPONSE: 0x11,
  INFO: 0x12,
  DATA: 0x13,
  END: 0x14,
  WINDOW: 0x15,
  RESET: 0x16,
} as const;

export const FLAG = {
  /** The sender's half of the stream ends with this frame. */
  END: 0x01,
  /** On RESPONSE: the stream becomes a tunnel. */
  TUNNEL: 0x02,
  /** A receiver that does not know the type ignores the frame. */
  OPTIONAL: 0x80,
} as const;

/** Buffer with the encoding-specific methods that Node has and its types leave out: no encoding dispatch, which is a third of a small write. */
export interface FastBuffer extends Buffer {
  latin1Slice(start: number, end: number): string;
  latin1Write(text: string, offset: number, length?: number): number;
  utf8Write(text: string, offset: number, length?: number): number;
}

export function asBuffer(bytes: Uint8Array): FastBuffer {
  return (Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)) as FastBuffer;
}

export function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function readU24(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
}

export function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function readU48(bytes: Uint8Array, at: number): number {
  return readU16(bytes, at) * 0x1_0000_0000 + readU32(bytes, at + 2);
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function writeU24(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 16;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value;
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

export function writeU48(bytes: Uint8Array, at: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000);
  writeU16(bytes, at, high & 0xffff);
  // Not `%`: on numbers beyond 31 bits it is a call.
  writeU32(bytes, at + 2, value - high * 0x1_0000_0000);
}

/** Takes one whole frame. Its payload runs from `start` to `end` in `bytes`, and is only lent. False: stop reading. */
export interface FrameReceiver {
  /** Longest payload accepted now. */
  readonly frameLimit: number;
  onFrame(type: number, flags: number, stream: number, bytes: FastBuffer, start: number, end: number): boolean;
  onOversized(type: number, length: number): void;
}

/**
 * Cuts a byte stream into frames, whatever the chunks. Remembers at most one incomplete frame, whose length was
 * checked before a byte of its payload was kept. A DATA frame is not put together: its parts are passed on as DATA
 * frames of their own, the last with its flags, so that a large body is not copied.
 */
export class FrameReader {
  readonly #receiver: FrameReceiver;
  /** The incomplete frame, header included; allocated at its full length once that is known. */
  #partial: FastBuffer | undefined;
  #filled = 0;
  /** Bytes that are missing of a DATA frame whose beginning was passed on, and what its header said. */
  #dataLeft = 0;
  #dataFlags = 0;
  #dataStream = 0;

  constructor(receiver: FrameReceiver) {
    this.#receiver = receiver;
  }

  /** True between frames. */
  get idle(): boolean {
    return this.#filled === 0 && this.#dataLeft === 0;
  }

  /** Takes the first `size` bytes of `chunk`, and keeps nothing of it. Hot path: no allocation for a chunk of whole frames. */
  receive(chunk: Uint8Array, size: number): void {
    const bytes = asBuffer(chunk);
    const receiver = this.#receiver;
    let at = 0;
    if (this.#filled > 0) {
      at = this.#fill(bytes, size);
      if (at < 0) return;
    }
    if (this.#dataLeft > 0) {
      at = this.#continueData(bytes, at, size);
      if (at < 0) return;
    }
    while (size - at >= FRAME_HEADER_BYTES) {
      const length = readU24(bytes, at);
      if (length > receiver.frameLimit) {
        receiver.onOversized(bytes[at + 3]!, length);
        return;
      }
      const start = at + FRAME_HEADER_BYTES;
      const end = start + length;
      if (end > size) {
        if (bytes[at + 3] !== FRAME.DATA) break;
        this.#beginData(length, bytes[at + 4]!, readU32(bytes, at + 5));
        this.#continueData(bytes, start, size);
        return;
      }
      if (!receiver.onFrame(bytes[at + 3]!, bytes[at + 4]!, readU32(bytes, at + 5), bytes, start, end)) return;
      at = end;
    }
    if (at < size) this.#keep(bytes, at, size);
  }

  /** Forgets an incomplete frame. */
  clear(): void {
    this.#partial = undefined;
    this.#filled = 0;
    this.#dataLeft = 0;
  }

  #beginData(length: number, flags: number, stream: number): void {
    this.#dataLeft = length;
    this.#dataFlags = flags;
    this.#dataStream = stream;
  }

  /** Passes on what has come of a DATA frame. The offset behind it, or -1: more is needed, or reading stopped. */
  #continueData(bytes: FastBuffer, at: number, size: number): number {
    const take = Math.min(this.#dataLeft, size - at);
    if (take === 0) return -1;
    this.#dataLeft -= take;
    const flags = this.#dataLeft === 0 ? this.#dataFlags : this.#dataFlags & ~FLAG.END;
    const end = at + take;
    const taken = this.#receiver.onFrame(FRAME.DATA, flags, this.#dataStream, bytes, at, end);
    return taken && this.#dataLeft === 0 ? end : -1;
  }

  #keep(bytes: FastBuffer, at: number, size: number): void {
    const rest = size - at;
    const whole = rest < FRAME_HEADER_BYTES ? FRAME_HEADER_BYTES : FRAME_HEADER_BYTES + readU24(bytes, at);
    const partial = Buffer.allocUnsafeSlow(whole) as FastBuffer;
    bytes.copy(partial, 0, at, size);
    this.#partial = partial;
    this.#filled = rest;
  }

  /** Completes the incomplete frame. The offset behind it, or -1: more is needed, or reading stopped. */
  #fill(bytes: FastBuffer, size: number): number {
    let partial = this.#partial!;
    let at = 0;
    if (this.#filled < FRAME_HEADER_BYTES) {
      const take = Math.min(FRAME_HEADER_BYTES - this.#filled, size);
      bytes.copy(partial, this.#filled, 0, take);
      this.#filled += take;
      at = take;
      if (this.#filled < FRAME_HEADER_BYTES) return -1;
    }
    const length = readU24(partial, 0);
    if (length > this.#receiver.frameLimit) {
      this.clear();
      this.#receiver.onOversized(partial[3]!, length);
      return -1;
    }
    const whole = FRAME_HEADER_BYTES + length;
    if (partial[3] === FRAME.DATA && length > 0) {
      this.clear();
      this.#beginData(length, partial[4]!, readU32(partial, 5));
      return at;
    }
    if (partial.length < whole) {
      const grown = Buffer.allocUnsafeSlow(whole) as FastBuffer;
      partial.copy(grown, 0, 0, this.#filled);
      this.#partial = partial = grown;
    }
    const take = Math.min(whole - this.#filled, size - at);
    bytes.copy(partial, this.#filled, at, at + take);
    this.#filled += take;
    if (this.#filled < whole) return -1;
    this.clear();
    const taken = this.#receiver.onFrame(
      partial[3]!,
      partial[4]!,
      readU32(partial, 5),
      partial,
      FRAME_HEADER_BYTES,
      whole,
    );
    return taken ? at + take : -1;
  }
}
