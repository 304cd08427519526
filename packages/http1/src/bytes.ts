/**
 * Bytes as latin1 text, the form in which heads are read and written: one character is one byte.
 */

/** The unclamped slice behind `Buffer#toString("latin1")`; every Node version has it, the type definitions do not. */
interface LatinBuffer {
  latin1Slice(from: number, to: number): string;
}

/** Bytes `from` to `to` as text. The caller guarantees the range. */
export function latin1(bytes: Buffer, from: number, to: number): string {
  return (bytes as unknown as LatinBuffer).latin1Slice(from, to);
}

/** The same bytes as a Buffer, without copying. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export const NO_BYTES: Buffer = Buffer.alloc(0);
