import { RULES, type Rule } from "./rules.ts";

/**
 * What kind of failure it is.
 *
 * | code | meaning | what to do |
 * | --- | --- | --- |
 * | `HTTP1_PROTOCOL` | the peer sent a malformed message | answer with `status`, close |
 * | `HTTP1_LIMIT` | the peer went beyond a limit | answer with `status`, close |
 * | `HTTP1_TIMEOUT` | the peer was too slow | answer with `status`, close |
 * | `HTTP1_MISUSE` | our own caller asked for something that must not be sent | a bug in the caller; nothing was sent |
 */
export type Http1ErrorCode = "HTTP1_PROTOCOL" | "HTTP1_LIMIT" | "HTTP1_TIMEOUT" | "HTTP1_MISUSE";

/** The one error of this package. `message` names the rule and quotes nothing that the peer sent. */
export class Http1Error extends Error {
  override readonly name = "Http1Error";
  readonly code: Http1ErrorCode;
  /** The status to answer with: a 4xx or 5xx towards a client, 502 for a response of an upstream. */
  readonly status: number;
  readonly rule: Rule;
  /** Whose fault: the remote end's, or that of the code in this process. */
  readonly side: "peer" | "internal";
  /** Whether the same call may be tried again: never, the same bytes give the same answer. */
  readonly retryable = false;

  constructor(rule: Rule, status: number = RULES[rule][0], options?: ErrorOptions) {
    super(`${rule}: ${RULES[rule][1]}`, options);
    this.rule = rule;
    this.status = status;
    this.code = codeOf(rule);
    this.side = this.code === "HTTP1_MISUSE" ? "internal" : "peer";
  }
}

function codeOf(rule: Rule): Http1ErrorCode {
  if (rule.startsWith("misuse-")) return "HTTP1_MISUSE";
  if (rule.startsWith("limit-")) return "HTTP1_LIMIT";
  if (rule.startsWith("timeout-")) return "HTTP1_TIMEOUT";
  return "HTTP1_PROTOCOL";
}
