/**
 * What can go wrong between a client and an application, and what the client is told.
 *
 * | code | status | what happened | where to look |
 * | --- | --- | --- | --- |
 * | `connect-failed` | 502 | the server could not be connected to | is it running, is the address right |
 * | `connect-timeout` | 504 | it did not answer the connection in time | network, firewall, overload |
 * | `no-server` | 503 | there is no server at all now: none is connected, or its name does not resolve | the server's own log; DNS |
 * | `queue-full` | 503 | all are busy and enough requests wait already | capacity |
 * | `queue-timeout` | 503 | no server became free in time | capacity |
 * | `refused` | 503 | every server said that it takes no more | capacity |
 * | `closed` | 502 | the server closed the connection instead of answering | its log: a crash |
 * | `bad-response` | 502 | what the server sent is not a valid response | its code |
 * | `head-timeout` | 504 | no response within the time | slow application |
 * | `body-timeout` | 504 | the response stopped in the middle | slow application |
 * | `request-timeout` | 504 | the server stopped taking the request's body | slow application |
 * | `body-too-large` | 413 | the request's body is beyond the limit | `limits.bodySize` |
 * | `unsupported` | 501 | the request has a form that this server cannot be sent, or that servers read differently | CONNECT without `connect`, a method in lower case |
 * | `loop` | 508 | the request has passed more intermediaries than any real one: it comes back to us | an upstream that is this proxy |
 * | `repeated-field` | 400 | Content-Type or Authorization stands more than once: servers differ on which they believe | the client |
 * | `spill-failed` | 500 | a temporary file could not be written or read | disk space, permissions |
 * | `client-left` | 499 | the client closed the connection; nothing is sent | |
 */
import type { UpstreamPhase, UpstreamReset } from "../upstream/transport.ts";

export type FailureCode =
  | "connect-failed"
  | "connect-timeout"
  | "no-server"
  | "queue-full"
  | "queue-timeout"
  | "refused"
  | "closed"
  | "bad-response"
  | "head-timeout"
  | "body-timeout"
  | "request-timeout"
  | "body-too-large"
  | "unsupported"
  | "loop"
  | "repeated-field"
  | "spill-failed"
  | "client-left";

/** Who is at fault: the client's side, the server's side, or we. */
export type FailureSide = "downstream" | "upstream" | "internal";

interface Failure {
  readonly status: number;
  readonly side: FailureSide;
  /** A sentence that everyone may read. */
  readonly reason: string;
}

const FAILURES: Record<FailureCode, Failure> = {
  "connect-failed": { status: 502, side: "upstream", reason: "The application cannot be reached." },
  "connect-timeout": { status: 504, side: "upstream", reason: "The application cannot be reached in time." },
  "no-server": { status: 503, side: "upstream", reason: "No server of the application is available." },
  "queue-full": { status: 503, side: "upstream", reason: "Too many requests are waiting." },
  "queue-timeout": { status: 503, side: "upstream", reason: "The application is busy." },
  refused: { status: 503, side: "upstream", reason: "The application takes no more requests at the moment." },
  closed: { status: 502, side: "upstream", reason: "The application closed the connection." },
  "bad-response": { status: 502, side: "upstream", reason: "The application sent an invalid response." },
  "head-timeout": { status: 504, side: "upstream", reason: "The application did not answer in time." },
  "body-timeout": { status: 504, side: "upstream", reason: "The application did not finish its answer in time." },
  "request-timeout": { status: 504, side: "upstream", reason: "The application did not take the request in time." },
  "body-too-large": { status: 413, side: "downstream", reason: "The body of the request is too large." },
  unsupported: { status: 501, side: "downstream", reason: "This request cannot be passed on." },
  loop: { status: 508, side: "downstream", reason: "This request goes round in a circle." },
  "repeated-field": { status: 400, side: "downstream", reason: "The request has a field twice that may stand once." },
  "spill-failed": { status: 500, side: "internal", reason: "The request could not be stored." },
  "client-left": { status: 499, side: "downstream", reason: "The client closed the connection." },
};

/** Seconds a client is told to wait after a 503: about a worker's start. */
export const RETRY_AFTER_SECONDS = 1;

export class ForwardError extends Error {
  override readonly name = "ForwardError";
  readonly code: FailureCode;
  /** Where in the request's life: our own phases besides the upstream's. */
  readonly phase: UpstreamPhase | "receive" | "queue" | "send";
  readonly status: number;
  readonly side: FailureSide;
  /** For the client. `message` is for the log. */
  readonly reason: string;
  /** The request was certainly not processed: any method may be sent again. */
  readonly refused: boolean;

  constructor(
    code: FailureCode,
    phase: ForwardError["phase"],
    message: string,
    options: { cause?: unknown; refused?: boolean } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.phase = phase;
    this.refused = options.refused ?? false;
    const failure = FAILURES[code];
    this.status = failure.status;
    this.side = failure.side;
    this.reason = failure.reason;
  }

  get retryAfter(): number | undefined {
    return this.status === 503 ? RETRY_AFTER_SECONDS : undefined;
  }
}

const RESET_CODES: Record<UpstreamReset["code"], FailureCode> = {
  connect: "connect-failed",
  "connect-timeout": "connect-timeout",
  unsupported: "unsupported",
  lost: "closed",
  refused: "refused",
  cancelled: "closed",
  timeout: "head-timeout",
  overload: "refused",
  shutdown: "closed",
  internal: "closed",
  protocol: "bad-response",
};

/** The error for a stream that a transport gave up. */
export function resetError(reset: UpstreamReset): ForwardError {
  return new ForwardError(RESET_CODES[reset.code], reset.phase, reset.message, { refused: reset.refused });
}
