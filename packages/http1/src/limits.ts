/** Bounds of one message. Bytes and counts are exact: the value itself passes, one more does not. */
export interface MessageLimits {
  /** Bytes of the request line or status line, without its CRLF. */
  readonly startLine: number;
  /** Bytes of one field line, without its CRLF. */
  readonly field: number;
  /** Bytes of all field lines with their CRLFs, without the empty line at the end. */
  readonly header: number;
  /** Number of fields. */
  readonly fields: number;
  /** Bytes of the extensions of one chunk, from the first semicolon on. */
  readonly chunkExtension: number;
  /** Bytes of the extensions of all chunks of one body. */
  readonly chunkExtensions: number;
  /** Bytes of all trailer lines with their CRLFs. */
  readonly trailer: number;
  /** Number of trailer fields. */
  readonly trailers: number;
  /** Interim (1xx) responses before a final one. */
  readonly interim: number;
}

/** The defaults of `reliability.md`; what other servers take stands beside. */
export const DEFAULT_LIMITS: MessageLimits = {
  startLine: 8192, // nginx 8 KiB, gunicorn 4,094
  field: 8192, // nginx 8 KiB, gunicorn 8,190
  header: 32_768, // Node 16 KiB, Envoy 60 KiB
  fields: 100, // gunicorn 100, nginx 1,000
  chunkExtension: 256, // the signature that S3 clients put there takes 85
  chunkExtensions: 16_384, // no reader of ours wants them; CVE-2023-39326 was an endless stream of them
  trailer: 8192, // a checksum and a status; as much as one field
  trailers: 32, // gRPC and checksums take fewer than ten
  interim: 32, // 103 a few times, 100 and 102 now and then; more is a storm
};

/** Times and amounts of a server connection. All in milliseconds, bytes or counts. */
export interface ConnectionLimits {
  /** The whole header section, from its first byte (from the accept for the first request). */
  readonly headTimeMs: number;
  /** Silence inside a request body, while we read. */
  readonly bodyGapMs: number;
  /** Minimum rate of a request body in bytes per second… */
  readonly bodyRate: number;
  /** …demanded after this long. */
  readonly bodyRateAfterMs: number;
  /** Idle time between two requests. */
  readonly keepAliveMs: number;
  /** Requests on one connection; the last is answered with `Connection: close`. */
  readonly requests: number;
  /** The client takes no byte of a response for this long. */
  readonly writeStallMs: number;
  /**
   * A client that has closed its half and gets no byte for this long has left. A FIN does not say whether the client
   * still reads; browsers and proxies that give a request up send just that, and nginx and node:http take it for that.
   */
  readonly halfClosedMs: number;
  /** Bytes held (of the body, or of further requests) while nobody takes them; beyond that the socket is not read. */
  readonly buffered: number;
  /** Bytes of an unread request body that are read and thrown away to keep the connection. */
  readonly discard: number;
  /** After the last response, how long further bytes are read and thrown away, so that a reset does not destroy the response. */
  readonly lingerMs: number;
  /** While draining, how long a connection must have been idle before it is closed: one that was busy a moment ago probably has its next request on the way. */
  readonly drainIdleMs: number;
}

export const DEFAULT_CONNECTION_LIMITS: ConnectionLimits = {
  headTimeMs: 15_000, // slower than any real client, faster than a slowloris; nginx and Node 60 s
  bodyGapMs: 30_000, // nginx 60 s
  bodyRate: 240, // Kestrel's figure; a 2G phone gives 5,000
  bodyRateAfterMs: 5000,
  keepAliveMs: 75_000, // nginx 75 s; a server behind a front must outlast the front's 60 s
  requests: 1000, // nginx 1,000: frees what a long life gathers
  writeStallMs: 60_000, // nginx send_timeout 60 s
  halfClosedMs: 50, // long enough for a script that pipes a request into nc, short enough to free a worker at once
  buffered: 65_536, // one read of libuv
  discard: 65_536, // cheaper than a new connection up to about here
  lingerMs: 5000, // nginx lingering_timeout 5 s
  drainIdleMs: 1000,
};
