/**
 * The one error class of the package, and the tables of its codes.
 *
 * `LINK_CODES` closes a link or refuses a call; `RESET_CODES` ends one stream. Both travel as numbers
 * (docs/spec/link.md, section 9) and are named here.
 */

/** Codes carried by CLOSE: why a link ended. */
export const CLOSE_CODES = {
  none: 0, // orderly
  protocol: 1, // malformed or out-of-order frame
  oversized: 2, // a frame longer than the receiver announced
  "unknown-frame": 3, // a type that is neither known nor optional
  "flow-control": 4, // more bytes than the window allowed
  version: 5, // no common major version
  authentication: 6, // missing or wrong proof
  timeout: 7, // handshake or ping
  overload: 8, // the peer does not read what it asked for
  internal: 9, // a fault of ours
  shutdown: 10, // the process ends now
} as const;

export type CloseCode = keyof typeof CLOSE_CODES;

/** Codes carried by RESET: why a stream ended early. */
export const RESET_CODES = {
  cancelled: 1, // nobody waits for the answer
  timeout: 2, // a deadline passed
  refused: 3, // certainly not processed: safe to retry, whatever the method
  protocol: 4, // this stream's messages contradict each other
  internal: 5, // the handler failed
  overload: 6, // given up under load, perhaps after processing began
  shutdown: 7, // the process ends before the answer
} as const;

export type ResetCode = keyof typeof RESET_CODES;

const closeNames = new Map<number, CloseCode>(
  Object.entries(CLOSE_CODES).map(([name, code]) => [code, name as CloseCode]),
);
const resetNames = new Map<number, ResetCode>(
  Object.entries(RESET_CODES).map(([name, code]) => [code, name as ResetCode]),
);

/** Name of a CLOSE code; a code of a later version reads as `internal`. */
export function closeName(code: number): CloseCode {
  return closeNames.get(code) ?? "internal";
}

/** Name of a RESET code; a code of a later version reads as `internal`. */
export function resetName(code: number): ResetCode {
  return resetNames.get(code) ?? "internal";
}

/** Codes of calls that cannot be carried out; nothing was sent. */
export type CallCode =
  | "not-ready" // open() before the handshake is complete
  | "draining" // open() after a drain began
  | "busy" // open() beyond the concurrency the worker announced
  | "out-of-order" // a second response, a body before its head, …
  | "status" // not a status for this call
  | "field" // a name that is no token, or a value with a control character
  | "connection-field" // Connection, Transfer-Encoding, … belong to the transport
  | "content-length" // malformed, repeated, or not what was sent
  | "head-too-large" // longer than the peer takes in one frame
  | "option"; // a session option out of range

export type LinkErrorCode = CloseCode | CallCode | "lost";

/** Every error this package makes. `code` is stable; `retryable` says that nothing reached the peer. */
export class LinkError extends Error {
  override readonly name = "LinkError";
  readonly code: LinkErrorCode;
  readonly retryable: boolean;

  constructor(code: LinkErrorCode, message: string, options?: { cause?: unknown; retryable?: boolean }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options?.retryable ?? (code === "not-ready" || code === "draining" || code === "busy");
  }
}
