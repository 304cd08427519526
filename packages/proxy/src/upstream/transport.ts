/**
 * What a transport to a server is: the shape that the link and HTTP share, so that nothing above knows which it is.
 *
 * A transport belongs to one thread and one server. It opens streams; a stream is one request and its response.
 *
 * Order of a stream's events, which every transport keeps: `onInform` any number of times, `onResponse` once, then,
 * unless it was complete or the response is a tunnel's 101, `onData` any number of times and `onEnd` once. `onReset`
 * may come instead of any of them, and is then the last. After `reset` was called no event comes. No event comes from
 * inside `open`.
 */
import type { ExchangeFacts, HeaderList, RequestHead } from "@portico/gateway/exchange";

/** Where in a request's life something failed; `request`: sent, and no response yet. */
export type UpstreamPhase = "connect" | "request" | "response" | "tunnel";

/** Why a stream ended early. The link's own codes, and those of connecting. */
export interface UpstreamReset {
  readonly code: /* not connected */
    | "connect"
    | "connect-timeout"
    /* this request cannot be put into the transport's form */
    | "unsupported"
    /* the connection ended */
    | "lost"
    /* the server says so */
    | "refused"
    | "cancelled"
    | "timeout"
    | "overload"
    | "shutdown"
    | "internal"
    /* the server broke the protocol */
    | "protocol";
  /** The request was certainly not processed: any method may be sent again. */
  readonly refused: boolean;
  readonly phase: UpstreamPhase;
  /** For the log, never for the client. */
  readonly message: string;
}

/** Who receives what a stream brings. */
export interface UpstreamObserver {
  /** An interim response, 100 to 199 except 101. */
  onInform(status: number, headers: HeaderList): void;
  /** `headers` is to be read only. `body` is what came with the head (may be null); `complete`: nothing more follows, `onEnd` is not called then. */
  onResponse(status: number, headers: HeaderList, body: Uint8Array | null, complete: boolean): void;
  onData(chunk: Uint8Array): void;
  onEnd(trailers: HeaderList): void;
  /** The stream takes bytes again, after `write` returned false. */
  onDrain(): void;
  onReset(error: UpstreamReset): void;
  /** The server seems to hang: whoever still waits for the response may give it up and ask another. */
  onSuspect?(): void;
}

/** One request under way, as the one who sent it sees it. */
export interface UpstreamStream {
  /** The response has made a tunnel of it. */
  readonly tunnelling: boolean;
  /** A part of the request's body, or of the tunnel. False: wait for `onDrain`. */
  write(chunk: Uint8Array): boolean;
  /** Ends the request's body, or our half of the tunnel. */
  end(trailers?: HeaderList): void;
  /** So many bytes of the response went on: the server may send as many again. */
  consume(bytes: number): void;
  /** Gives the request up; the server hears of it. No event comes after it. */
  reset(code: "cancelled" | "timeout"): void;
}

/** What the link tells a worker of a request besides its head. */
type ForwardedFacts = Pick<
  ExchangeFacts,
  "id" | "traceparent" | "tracestate" | "client" | "tls" | "receivedAt" | "queuedMs" | "deadline"
>;

/** A request as it goes to a server: fields are filtered, the body's length is as it will be sent. */
export interface UpstreamRequest extends RequestHead, ForwardedFacts {
  /** Over the link: fields that the facts say already are left to the worker (docs/spec/link.md, 6.1). */
  readonly derived?: boolean;
}

/** A server's transport. `closed` only after `close` and the last stream's end. */
export interface ServerTransport {
  readonly kind: "link" | "http";
  /** Streams under way. */
  readonly inFlight: number;
  /**
   * How busy the server is for the next request: requests under way where it would go, per request it takes at once.
   * Infinity: it takes none now (all busy, not connected, draining).
   * HOT: called for every request and server; must not allocate.
   */
  load(): number;
  /** True while waiting may help: a connection is being made, or every worker is busy. False: it is down. */
  readonly hopeful: boolean;
  /** False: it has given no sign of life for longer than it should. HTTP servers give none by themselves: true. */
  readonly responsive: boolean;
  /** It seems to hang: tells the observers of all streams that wait for their response. */
  suspect(): void;
  /** Somebody would like to use it: if it rests after a failure, it tries again now. */
  wake(): void;
  /** Longest body that may be given whole with the head. */
  readonly inlineLimit: number;
  /**
   * Only after `load` was finite. `complete`: `body` is all of it. A request for an upgrade is complete; the tunnel
   * begins with the response. Throws where the request cannot be sent; nothing was sent then.
   */
  open(
    request: UpstreamRequest,
    body: Uint8Array | null,
    complete: boolean,
    observer: UpstreamObserver,
  ): UpstreamStream;
  /** No new streams; those under way finish. Resolves when none is left; `destroy` cuts them. */
  close(): Promise<void>;
  destroy(): void;
}

/** What a transport tells the upstream it belongs to. */
export interface TransportEvents {
  /** It may take requests again: connected, a stream ended, a worker is less busy. */
  onAvailable(): void;
  /** A connection was made: the server is there. */
  onConnected(): void;
  /** A connection could not be made. */
  onConnectFailed(reason: string, timedOut: boolean): void;
}
