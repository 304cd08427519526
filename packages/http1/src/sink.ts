/** Where the bytes of a connection go, and what it may ask of its source. The engine's only door to the outside. */
export interface ByteSink {
  /** Takes bytes, strings as latin1. False: wait for `writable()` before giving more. The bytes belong to the sink. */
  write(data: Uint8Array | string): boolean;
  /** Takes a head and the first part of its body, in one call to the system where it can. Answers as `write`. */
  pair?(head: string, body: Uint8Array): boolean;
  /** Bytes that the peer has not taken yet: while it changes, a client that seems stalled is only slow. */
  pending?(): number | undefined;
  /** More writes follow within this turn of the event loop; they may be sent together. */
  gather?(): void;
  /** Stops `receive`. What is already on the way may still come. */
  pause(): void;
  resume(): void;
  /** Closes our half after what was written. */
  end(): void;
  /** Closes both halves now. */
  destroy(): void;
}
