/** The numbers of a link: what each end accepts, and how long it waits. */

import { LinkError } from "./error.ts";

/** Bytes before every payload: length (3), type (1), flags (1), stream (4). */
export const FRAME_HEADER_BYTES = 9;

/** Highest stream id; a client that used it opens no more streams and lets the link drain. */
export const MAX_STREAM_ID = 0xffff_ffff;

/** STATUS: in flight, delay, workers; a later version may add to it. */
export const STATUS_BYTES = 12;

/** Before the peer's HELLO nothing longer is accepted: a stranger may not make us remember more. */
export const HANDSHAKE_FRAME_BYTES = 4096;

export interface LinkLimits {
  /** Longest frame payload accepted, bytes. A request or response head must fit in one frame. */
  readonly maxFrame: number;
  /** Body bytes a peer may send on one stream before we consumed any. */
  readonly window: number;
  /** What the window of a stream grows to while its body is consumed. */
  readonly maxWindow: number;
  /** Bytes by which the windows of all streams of the link may grow together. */
  readonly growth: number;
  /** Strings in one head or trailer block (two per field). */
  readonly maxStrings: number;
  /** Milliseconds from the connection to the end of the handshake. */
  readonly handshakeTimeout: number;
  /** Milliseconds without a byte from the peer until a PING is sent; 0: never. */
  readonly pingInterval: number;
  /** Milliseconds without a byte after that PING until the link is given up. */
  readonly pingTimeout: number;
  /** Bytes of PONG, RESET and WINDOW kept for a peer that does not read, before the link is given up. */
  readonly maxControlBacklog: number;
}

export const DEFAULT_LIMITS: LinkLimits = {
  maxFrame: 65_536, // a header block is at most 32 KiB by default; small bodies fit beside it
  window: 65_536, // most bodies flow without waiting
  maxWindow: 262_144, // a body that is read is not held up by the way there and back (docs/adr/link-memory.md)
  growth: 33_554_432, // 170 streams fully grown; with `window` × concurrency it bounds the memory of a link
  maxStrings: 2_064, // 1,000 fields (nginx) and the strings of a REQUEST
  handshakeTimeout: 5_000, // as connect in reliability.md
  pingInterval: 15_000, // finds a vanished peer well within the 60 s of a first byte
  pingTimeout: 30_000, // a worker may block its loop for 30 s before its master replaces it
  maxControlBacklog: 1_048_576, // 50,000 answers that nobody read
};

const RANGES: Record<keyof LinkLimits, readonly [number, number]> = {
  maxFrame: [16_384, 0xff_ffff],
  window: [16_384, 0x7fff_ffff],
  maxWindow: [16_384, 0x7fff_ffff],
  growth: [0, Number.MAX_SAFE_INTEGER],
  maxStrings: [64, 65_535],
  handshakeTimeout: [1, 3_600_000],
  pingInterval: [0, 3_600_000],
  pingTimeout: [1, 3_600_000],
  maxControlBacklog: [4_096, 0x7fff_ffff],
};

/** Defaults filled in; throws LinkError `option` for a number out of its range. */
export function resolveLimits(given: Partial<LinkLimits> | undefined): LinkLimits {
  const limits = { ...DEFAULT_LIMITS, ...given };
  for (const name of Object.keys(RANGES) as (keyof LinkLimits)[]) {
    const [low, high] = RANGES[name];
    const value = limits[name];
    if (!Number.isInteger(value) || value < low || value > high) {
      throw new LinkError("option", `link limit ${name} must be an integer from ${low} to ${high}, not ${value}`);
    }
  }
  return limits;
}
