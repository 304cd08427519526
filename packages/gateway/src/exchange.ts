/**
 * The seam of the house: one request and its response, between a transport and whoever answers.
 *
 * A transport (the HTTP/1.1 connection of `@portico/http1`, a stream of `@portico/link`, the reference server's
 * `node:http` pair) makes an {@link Exchange} and hands it to an {@link ExchangeHandler}. The proxy's route chain and
 * the server's gateway host are such handlers. Neither knows the transport; a transport knows neither.
 *
 * Everything here is made for the plain path: no promise, no closure, no stream and no event emitter per request.
 * Bytes are pushed to an {@link ExchangeObserver}, and back-pressure is a boolean and a call.
 *
 * Order of an exchange's life, which every transport keeps and every observer may rely on:
 *
 * 1. `handler(exchange)` is called once, synchronously. The request body is paused.
 * 2. After {@link Exchange.resume}: `onData` any number of times, then `onEnd` exactly once (also where there is no
 *    body), never re-entrantly from inside `resume` of a handler that has not returned yet.
 * 3. The handler answers: either `respond` once, or `start`, `write`…, `end`, or `upgrade`, `write`…, `end`.
 *    `inform` any number of times before.
 * 4. Exactly one of `onFinish` (the whole response went to the operating system) and `onAbort` ends the exchange.
 *    After it no method has any effect and no further event comes.
 */

/** Header fields as received or to be sent: a flat list `[name, value, name, value, …]`, order, case and duplicates kept. Values are latin1 strings without surrounding white space. */
export type HeaderList = string[];

/** The head of a request, exactly as received; nothing is normalised. */
export interface RequestHead {
  /** Case-sensitive, RFC 9110 §9.1. */
  readonly method: string;
  /** `https` only where this hop, or the trusted front that speaks for it, terminated TLS. */
  readonly scheme: "http" | "https";
  /** Host field or `:authority`, as received; empty where an HTTP/1.0 request had none. For absolute-form, the target's authority (RFC 9112 §3.2.2). */
  readonly authority: string;
  /** Request target as received, never decoded or normalised: origin-form, or `*`, or authority-form for CONNECT. Absolute-form is reduced to origin-form, byte for byte after the authority. */
  readonly target: string;
  readonly version: "1.0" | "1.1" | "2";
  /** All fields as received, Host included (connection-level fields too: whoever forwards removes them). */
  readonly headers: HeaderList;
  /** Body length in bytes: 0 none, -1 unknown until it ends (chunked), else Content-Length. */
  readonly bodyLength: number;
  /** Lower-case protocol the client asks to upgrade to (`websocket`), when it asked in a valid way; else undefined. */
  readonly upgrade: string | undefined;
}

/** One end of a connection. Unix sockets have the path as address and port 0. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** What is known of a TLS connection to the client. */
export interface TlsFacts {
  readonly protocol: string;
  readonly cipher: string;
  readonly alpn: string | undefined;
  readonly serverName: string | undefined;
  /** PEM of the verified client certificate. */
  readonly clientCertificate: string | undefined;
}

/** Who the client is, and who says so. */
export interface ClientFacts extends Endpoint {
  /** `socket`: the peer itself; `proxy-protocol`, `forwarded`, `link`: vouched for by a trusted hop. */
  readonly vouchedBy: "socket" | "proxy-protocol" | "forwarded" | "link";
}

/** Facts about the request that are not in its head. Implementations may compute each lazily. */
export interface ExchangeFacts {
  /** Request id: from a trusted front, else generated here. 1 to 128 visible ASCII characters. */
  readonly id: string;
  /** W3C Trace Context, as received; undefined where absent or malformed. */
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
  readonly peer: Endpoint;
  readonly local: Endpoint;
  readonly client: ClientFacts;
  readonly tls: TlsFacts | undefined;
  /** When the first tier received the head, milliseconds since the epoch. */
  readonly receivedAt: number;
  /** Milliseconds the request waited in the front's queue for a free worker. */
  readonly queuedMs: number;
  /** Milliseconds since the epoch after which nobody waits for the answer any more; undefined: no deadline. */
  readonly deadline: number | undefined;
  /** What the front on the other end of this transport does for responses, in its own words (docs/spec/link.md, 4.2). Absent where it cannot say. */
  readonly front?: readonly string[] | undefined;
}

/** Why an exchange ended before its response was complete. `completed` is not among them: completion is `onFinish`. */
export type AbortReason = "client-disconnected" | "timeout" | "shutdown" | "protocol-error" | "reset";

/** Whoever answers an exchange, as the transport sees it. Assign once, before the handler returns. */
export interface ExchangeObserver {
  /** A part of the request body (or of the tunnel after `upgrade`). The receiver owns the bytes. */
  onData(chunk: Uint8Array): void;
  /** The request body (or the peer's half of the tunnel) is complete. Trailers are a flat list, empty where none came. */
  onEnd(trailers: HeaderList): void;
  /** The transport takes bytes again, after `write` returned false. */
  onDrain(): void;
  /** The response is complete and handed over. */
  onFinish(): void;
  /** The exchange ended early: the client left, or a limit was met. Nothing more can be sent. */
  onAbort(reason: AbortReason): void;
}

/** Response body that is whole in memory. A string is sent as UTF-8. `null`: no body. */
export type WholeBody = Uint8Array | string | null;

/**
 * One request and the ability to answer it.
 *
 * Framing belongs to the transport. Header lists given here MUST NOT contain Connection, Keep-Alive,
 * Transfer-Encoding, Upgrade or any other connection-level field; Content-Length may be given, and then the body
 * must match it. A method that is called with a list that breaks these rules, with a control character in a field,
 * or out of order throws a typed error and sends nothing. Responses to HEAD, and 204 and 304, carry no body whatever is
 * given; a Content-Length that describes what GET would have sent is kept for HEAD and 304.
 */
export interface Exchange {
  readonly head: RequestHead;
  readonly facts: ExchangeFacts;
  /** Receives the events of this exchange. Undefined: the request body is discarded, other events are lost. */
  observer: ExchangeObserver | undefined;
  /** True once a final response was begun by `respond`, `start` or `upgrade`. */
  readonly started: boolean;
  /** True after `onFinish` or `onAbort`. */
  readonly ended: boolean;

  /** Lets the request body flow. The first call sends 100 Continue where the client waits for it. */
  resume(): void;
  /** Stops the request body; at most what is already in memory still arrives on the next `resume`. */
  pause(): void;

  /** An interim response, 100 to 199 except 101. Ignored towards HTTP/1.0 clients. */
  inform(status: number, headers: HeaderList): void;
  /**
   * The whole response at once, in one write where it fits. Content-Length is added.
   *
   * A frozen list (`Object.freeze`) is a promise: when it comes again with the same body, the body's bytes are the same
   * too. A transport may then keep what it made of both. Give lists that are not frozen where that does not hold.
   */
  respond(status: number, headers: HeaderList, body: WholeBody): void;
  /** Begins a response whose body follows by `write` and `end`. Without Content-Length in the list, its length is unknown. */
  start(status: number, headers: HeaderList): void;
  /** A part of the response body (or of the tunnel). False: wait for `onDrain` before the next. */
  write(chunk: Uint8Array | string): boolean;
  /** Ends the response body (or our half of the tunnel). Trailers are sent where the transport and the client allow, else dropped. */
  end(trailers?: HeaderList): void;
  /** Accepts the upgrade that `head.upgrade` asks for (101), or CONNECT (2xx). From here on `write`, `end`, `onData`, `onEnd` carry the tunnel's raw bytes, both ways. */
  upgrade(status: number, headers: HeaderList): void;
  /** Gives up on a response that was begun or cannot be: the client sees a broken connection or stream, never a complete message. */
  abort(reason: AbortReason): void;
}

/** Answers exchanges. Called synchronously once for each; must not throw (a transport answers 500 if it does, and reports it). */
export type ExchangeHandler = (exchange: Exchange) => void;
