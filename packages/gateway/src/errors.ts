/** Whose doing an error is: decides what is logged, and that a client is never told of our own faults. */
export type ErrorSide = "client" | "application" | "host";

interface ErrorTraits {
  /** Status that a host answers with when the error reaches it unhandled and no response was begun. */
  readonly status: number;
  readonly side: ErrorSide;
}

/**
 * Every code of {@link PorticoGatewayError}, with the status a host answers with and whose fault it is.
 *
 * The first three are the reasons of `ctx.signal`.
 */
export const GATEWAY_ERROR_CODES = {
  /** The client closed or reset the connection or stream before the response was complete. Nobody waits for the answer. */
  CLIENT_DISCONNECTED: { status: 499, side: "client" },
  /** The deadline, or a time limit that the application set, has passed. */
  TIMEOUT: { status: 503, side: "host" },
  /** The worker is going away and will not wait any longer. */
  SHUTDOWN: { status: 503, side: "host" },
  /** The request body is larger than `ctx.limits.bodySize`. */
  BODY_TOO_LARGE: { status: 413, side: "client" },
  /** The target and authority of the request do not make a URL. */
  BAD_TARGET: { status: 400, side: "client" },
  /** The request body was read, or handed out as a stream, before. */
  BODY_USED: { status: 500, side: "application" },
  /** The host lacks the capability; `ctx.spec.capabilities` says so beforehand. */
  CAPABILITY_ABSENT: { status: 500, side: "application" },
  /** `ctx.upgrade` without a request to upgrade. */
  UPGRADE_NOT_REQUESTED: { status: 426, side: "client" },
  /** A method of the context was called after the moment when it can have an effect. */
  TOO_LATE: { status: 500, side: "application" },
  /** A limit was to be raised by a host that only lowers, or is not a non-negative number. */
  BAD_LIMIT: { status: 500, side: "application" },
  /** What the application returned is neither a Response, nor a response record, nor an accepted upgrade. */
  BAD_RESPONSE: { status: 500, side: "application" },
  /** Status outside 200 to 599. */
  BAD_STATUS: { status: 500, side: "application" },
  /** A field name that is not a token, or a value with control characters or characters beyond latin1. */
  BAD_FIELD: { status: 500, side: "application" },
  /** A connection-level field, which belongs to the transport. */
  HOP_BY_HOP_FIELD: { status: 500, side: "application" },
  /** Content-Length is malformed, repeated, or is not the length of the body. */
  BAD_CONTENT_LENGTH: { status: 500, side: "application" },
  /** The body is not of a kind that can be sent, or a stream of it gave something else than bytes or text. */
  BAD_BODY: { status: 500, side: "application" },
  /** The export is not an application. */
  BAD_APPLICATION: { status: 500, side: "application" },
  /** `lifespan.startup` failed, or was called twice, or requests came before it was done. */
  STARTUP: { status: 503, side: "host" },
  /** The lint found a breach of the specification; `rule` is its number. */
  LINT: { status: 500, side: "application" },
  /** A case of the conformance kit failed. */
  NOT_CONFORMING: { status: 500, side: "host" },
} as const;

export type GatewayErrorCode = keyof typeof GATEWAY_ERROR_CODES;

const TRAITS: Readonly<Record<GatewayErrorCode, ErrorTraits>> = GATEWAY_ERROR_CODES;

/**
 * The one error of this package. `code` says which, `status` what a host answers with when nobody handles it,
 * `side` whose fault it is, `rule` which sentence of docs/spec/tsgi.md it is about, where there is one.
 *
 * As reason of an aborted signal its `name` is `ClientDisconnected`, `Timeout` or `Shutdown`.
 */
export class PorticoGatewayError extends Error {
  readonly code: GatewayErrorCode;
  readonly status: number;
  readonly side: ErrorSide;
  readonly rule: string | undefined;

  constructor(code: GatewayErrorCode, message: string, options: { cause?: unknown; rule?: string } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    const traits = TRAITS[code];
    this.name = REASON_NAMES[code] ?? "PorticoGatewayError";
    this.code = code;
    this.status = traits.status;
    this.side = traits.side;
    this.rule = options.rule;
  }
}

const REASON_NAMES: Partial<Record<GatewayErrorCode, string>> = {
  CLIENT_DISCONNECTED: "ClientDisconnected",
  TIMEOUT: "Timeout",
  SHUTDOWN: "Shutdown",
};
