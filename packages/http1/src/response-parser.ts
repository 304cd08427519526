import { CLASS, VALUE } from "./characters.ts";
import { DEFAULT_LIMITS, type MessageLimits } from "./limits.ts";
import { CHUNKED, CLOSE_DELIMITED, MessageParser, TUNNEL } from "./message-parser.ts";
import type { ParserEvent } from "./parser-event.ts";
import type { Rule } from "./rules.ts";

const OK_LINE = "HTTP/1.1 200 OK";

/** What the parser must know of a request to read its response (RFC 9112 §6.3). */
export interface ExpectedResponse {
  readonly method: string;
  /** Whether the request asked for an upgrade; 101 is refused otherwise. */
  readonly upgrade?: boolean;
}

/**
 * Reads the responses of an upstream (RFC 9112 §4 to §7). An upstream is as little trusted as a client: everything
 * that is refused in requests is refused here, with 502.
 *
 * Call `expect` for each request before its response is read. Interim responses come as `HEAD`, `END`; the final one
 * follows. After a 101 or a 2xx to CONNECT everything is `DATA`.
 */
export class ResponseParser extends MessageParser {
  status = 0;
  reason = "";
  /** True for a 1xx head other than 101. */
  interim = false;

  protected readonly startLineRule = "limit-status-line";
  private readonly expected: ExpectedResponse[] = [];
  private interims = 0;

  constructor(limits: MessageLimits = DEFAULT_LIMITS) {
    super(limits);
  }

  /** Notes a request that was sent; responses come in the order of their requests. */
  expect(request: ExpectedResponse): void {
    this.expected.push(request);
  }

  override next(): ParserEvent {
    if (this.expected.length === 0 && this.buffered > 0 && this.awaitsHead) return this.fail("rfc9112-6.3-excess-data");
    return super.next();
  }

  protected statusOf(): number {
    return 502;
  }

  protected begin(): void {
    this.framing.begin();
    this.bodyLength = 0;
  }

  protected startLine(text: string, at: number, to: number): Rule | undefined {
    // Hot path: nearly every line, without a match and its strings.
    if (to - at === OK_LINE.length && text.startsWith(OK_LINE, at)) {
      this.version = "1.1";
      this.status = 200;
      this.reason = "OK";
      return undefined;
    }
    const line = text.slice(at, to);
    // Some servers leave out the space before an empty reason; there is only one way to read that.
    const match = /^HTTP\/([0-9])\.([0-9]) ([0-9]{3})(?: (.*))?$/s.exec(line);
    if (match === null) return badStatusLine(line);
    const [, major, minor, status, reason = ""] = match;
    if (major !== "1" || (minor !== "0" && minor !== "1")) return "rfc9112-2.3-version-unsupported";
    for (let index = 0; index < reason.length; index++) {
      if (((CLASS[reason.charCodeAt(index)] as number) & VALUE) === 0) return badStatusLine(line);
    }
    this.version = minor === "1" ? "1.1" : "1.0";
    this.status = Number(status);
    this.reason = reason;
    return this.status < 100 || this.status > 599 ? "rfc9112-4-status-line" : undefined;
  }

  protected field(name: string, value: string): Rule | undefined {
    return this.framing.take(name, value);
  }

  protected headEnd(): number | Rule {
    const request = this.expected[0] as ExpectedResponse;
    this.keepAlive = this.framing.persists(this.version);
    this.interim = this.status < 200 && this.status !== 101;
    if (this.interim) {
      if (++this.interims > this.limits.interim) return "limit-interim";
    } else {
      this.expected.shift();
      this.interims = 0;
    }
    const rule = this.framing.codingRule(this.version) ?? this.switchRule(request);
    if (rule !== undefined) return rule;
    const framing = this.bodyFraming(request);
    if (typeof framing === "number") {
      this.bodyLength = framing < 0 ? -1 : framing;
      if (framing === CLOSE_DELIMITED || framing === TUNNEL) this.keepAlive = false;
    }
    return framing;
  }

  private switchRule(request: ExpectedResponse): Rule | undefined {
    return this.status === 101 && request.upgrade !== true ? "rfc9110-15.2-unexpected-101" : undefined;
  }

  /** RFC 9112 §6.3, in its order. */
  private bodyFraming(request: ExpectedResponse): number | Rule {
    const tunnel = this.status === 101 || (request.method === "CONNECT" && this.status >= 200 && this.status < 300);
    if (tunnel || this.status < 200 || this.status === 204) {
      if (this.framing.coding !== undefined) return "rfc9112-6.1-te-without-body";
      if (this.framing.length > 0) return "rfc9110-8.6-cl-without-body";
      return tunnel ? TUNNEL : 0;
    }
    if (request.method === "HEAD" || this.status === 304) return 0;
    if (this.framing.coding !== undefined) return CHUNKED;
    return this.framing.lengths > 0 ? this.framing.length : CLOSE_DELIMITED;
  }
}

function badStatusLine(line: string): Rule {
  if (line.includes("\r")) return "rfc9112-2.2-bare-cr";
  return line.includes("\0") ? "rfc9110-5.5-nul" : "rfc9112-4-status-line";
}
