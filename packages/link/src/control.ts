/** Payloads of the frames that are no message: CLOSE, PING, PONG, WINDOW, RESET and those without one (docs/spec/link.md, sections 3 and 4). */

import { CLOSE_CODES, type CloseCode, closeName } from "./error.ts";
import { FRAME, type FastBuffer, readU16, readU32, writeU16, writeU32 } from "./frame.ts";
import type { Outbox } from "./outbox.ts";

export const PING_BYTES = 8;
const CLOSE_FIXED = 6;
/** Reason text of a CLOSE, bytes. */
const MAX_REASON = 200;

/** What a CLOSE says. */
export interface Closing {
  /** Its sender took no REQUEST above this one. */
  readonly accepted: number;
  readonly code: CloseCode;
  readonly reason: string;
}

/** Undefined: malformed. */
export function readClose(bytes: FastBuffer, start: number, end: number): Closing | undefined {
  if (end - start < CLOSE_FIXED) return undefined;
  return {
    accepted: readU32(bytes, start),
    code: closeName(readU16(bytes, start + 4)),
    reason: bytes.latin1Slice(start + CLOSE_FIXED, Math.min(end, start + CLOSE_FIXED + MAX_REASON)),
  };
}

export function writeClose(out: Outbox, lastStream: number, code: CloseCode, reason: string): void {
  const text = reason.slice(0, MAX_REASON);
  const at = out.reserve(CLOSE_FIXED + text.length);
  writeU32(out.bytes, at, lastStream);
  writeU16(out.bytes, at + 4, CLOSE_CODES[code]);
  out.bytes.latin1Write(text, at + CLOSE_FIXED, text.length);
  out.commit(FRAME.CLOSE, 0, 0, CLOSE_FIXED + text.length);
}

export function writePing(out: Outbox): void {
  const at = out.reserve(PING_BYTES);
  out.bytes.fill(0, at, at + PING_BYTES);
  out.commit(FRAME.PING, 0, 0, PING_BYTES);
  out.seal();
}

/** The answer to a PING: its bytes. */
export function writePong(out: Outbox, bytes: FastBuffer, start: number, end: number): void {
  const at = out.reserve(PING_BYTES);
  bytes.copy(out.bytes, at, start, end);
  out.commit(FRAME.PONG, 0, 0, PING_BYTES);
  out.seal();
}

/** WINDOW or RESET: a number of `size` bytes on a stream. */
export function writeNumber(out: Outbox, type: number, stream: number, value: number, size: 2 | 4): void {
  const at = out.reserve(size);
  if (size === 2) writeU16(out.bytes, at, value);
  else writeU32(out.bytes, at, value);
  out.commit(type, 0, stream, size);
  out.seal();
}

/** A frame without stream and payload. */
export function writeEmpty(out: Outbox, type: number): void {
  out.reserve(0);
  out.commit(type, 0, 0, 0);
  out.seal();
}
