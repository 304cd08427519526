import { isAuthority, isAuthorityWithPort, sameAuthority } from "./authority.ts";
import { BACKSLASH, CLASS, TARGET, TOKEN, isToken, listElements } from "./characters.ts";
import { UPGRADE } from "./framing.ts";
import { DEFAULT_LIMITS, type MessageLimits } from "./limits.ts";
import { CHUNKED, MessageParser } from "./message-parser.ts";
import type { Rule } from "./rules.ts";

/** Longer than any registered method (`BASELINE-CONTROL`, 16). */
const METHOD_LENGTH = 24;
const VERSION_LENGTH = 9; // " HTTP/1.1"

/**
 * Reads requests (RFC 9112 §3, §5 to §7), one after the other, for as long as the connection lives.
 *
 * ```ts
 * const parser = new RequestParser();
 * parser.feed(chunk);
 * for (let event = parser.next(); event !== NEED_MORE; event = parser.next()) { … }
 * ```
 *
 * After `HEAD` the fields below describe the request. Where this parser is stricter than the RFC it says so at the rule
 * (`rules.ts`): white space around chunk sizes, repeated equal Content-Length and percent-encoded hosts are refused,
 * because readers differ on them.
 */
export class RequestParser extends MessageParser {
  method = "";
  /** Origin-form, `*`, or authority-form for CONNECT; absolute-form is reduced to origin-form. */
  target = "";
  /** From the target where that is absolute, else from Host; empty for an HTTP/1.0 request without. */
  authority = "";
  /** Scheme of an absolute-form target, else empty. */
  targetScheme: "http" | "https" | "" = "";
  /** Whether the client waits for 100 Continue before it sends the body. */
  expectsContinue = false;
  /** First protocol of a valid Upgrade field that Connection names, lower-cased. Never where there is a body. */
  upgrade: string | undefined = undefined;

  protected readonly startLineRule = "limit-request-line";
  private hosts = 0;
  private host = "";
  /** The last Host that was found valid: on one connection it rarely changes. */
  private knownHost = "";
  private protocols = "";

  constructor(limits: MessageLimits = DEFAULT_LIMITS) {
    super(limits);
  }

  override release(): void {
    super.release();
    this.target = "";
    this.authority = "";
    this.host = "";
  }

  protected statusOf(): undefined {
    return undefined;
  }

  protected begin(): void {
    this.framing.begin();
    this.method = "";
    this.hosts = 0;
    this.host = "";
    this.authority = "";
    this.targetScheme = "";
    this.bodyLength = 0;
    this.protocols = "";
    this.expectsContinue = false;
    this.upgrade = undefined;
  }

  // Hot path: the request line, from first byte to last.
  protected startLine(text: string, at: number, to: number, bytes: Buffer, base: number): Rule | undefined {
    let space = at;
    while (space < to && ((CLASS[bytes[base + space] as number] as number) & TOKEN) !== 0) space++;
    if (space === at || space === to || bytes[base + space] !== 32) return badMethod(text, at, space, to);
    if (space - at > METHOD_LENGTH) return "rfc9112-3.1-method-length";
    const targetEnd = to - VERSION_LENGTH;
    if (text.startsWith(" HTTP/1.1", targetEnd)) this.version = "1.1";
    else if (text.startsWith(" HTTP/1.0", targetEnd)) this.version = "1.0";
    else return badVersion(text.slice(space + 1, to));
    const targetStart = space + 1;
    if (targetEnd <= targetStart) return "rfc9112-3-request-line";
    let query = false;
    for (let index = targetStart; index < targetEnd; index++) {
      const code = bytes[base + index] as number;
      const kind = CLASS[code] as number;
      if ((kind & TARGET) === 0) return badTarget(code);
      if (code === 63) query = true;
      else if ((kind & BACKSLASH) !== 0 && !query) return "portico-backslash-in-path";
    }
    this.method = methodOf(text, at, space);
    this.target = text.substring(targetStart, targetEnd);
    return this.targetForm(this.target);
  }

  private targetForm(target: string): Rule | undefined {
    if (this.method === "CONNECT") {
      this.authority = target;
      return isAuthorityWithPort(target) ? undefined : "rfc9112-3.2.3-authority-form";
    }
    if (target.charCodeAt(0) === 47) return undefined;
    if (target === "*") return this.method === "OPTIONS" ? undefined : "rfc9112-3.2.4-asterisk-form";
    return this.absoluteForm(target);
  }

  private absoluteForm(target: string): Rule | undefined {
    const match = /^(https?):\/\/([^/?]*)(.*)$/i.exec(target);
    if (match === null) return "rfc9112-3.2-target-form";
    const [, scheme = "", authority = "", rest = ""] = match;
    if (!isAuthority(authority)) return "rfc9112-3.2.2-absolute-form";
    this.targetScheme = scheme.toLowerCase() as "http" | "https";
    this.authority = authority;
    if (rest === "") this.target = this.method === "OPTIONS" ? "*" : "/";
    else this.target = rest.startsWith("/") ? rest : `/${rest}`;
    return undefined;
  }

  // Hot path: told apart by length first, so that most fields cost one comparison.
  protected field(name: string, value: string): Rule | undefined {
    switch (name.length) {
      case 4:
        return name === "Host" || name.toLowerCase() === "host" ? this.hostField(value) : undefined;
      case 6:
        return name.toLowerCase() === "expect" ? this.expectField(value) : undefined;
      case 7:
        if (name.toLowerCase() === "upgrade")
          this.protocols = this.protocols === "" ? value : `${this.protocols},${value}`;
        return undefined;
      case 10:
      case 14:
      case 17:
        return this.framing.take(name, value);
      default:
        return undefined;
    }
  }

  private hostField(value: string): Rule | undefined {
    if (this.hosts++ > 0) return "rfc9112-3.2-host-repeated";
    if (value !== this.knownHost || value === "") {
      this.host = value;
      if (!isAuthority(value)) return "rfc9112-3.2-host-invalid";
      this.knownHost = Buffer.from(value, "latin1").toString("latin1"); // a slice would keep the whole head alive
    }
    // The very same string each time: whoever looks it up in a map finds its hash computed.
    this.host = this.knownHost;
    return undefined;
  }

  private expectField(value: string): Rule | undefined {
    const expectations = listElements(value);
    if (expectations.some((element) => element !== "100-continue")) return "rfc9110-10.1.1-expectation";
    // An empty list expects nothing.
    if (expectations.length > 0) this.expectsContinue = true;
    return undefined;
  }

  protected headEnd(): number | Rule {
    const { framing } = this;
    const rule = this.hostRule() ?? framing.codingRule(this.version);
    if (rule !== undefined) return rule;
    this.keepAlive = framing.persists(this.version);
    this.bodyLength = framing.coding === undefined ? framing.length : -1;
    if (this.bodyLength !== 0) return this.bodyRule() ?? (this.bodyLength < 0 ? CHUNKED : this.bodyLength);
    this.expectsContinue = false;
    if ((framing.options & UPGRADE) !== 0 && this.version === "1.1" && this.protocols !== "")
      this.upgrade = firstProtocol(this.protocols);
    return 0;
  }

  private hostRule(): Rule | undefined {
    if (this.hosts === 0) return this.version === "1.1" ? "rfc9112-3.2-host-missing" : undefined;
    if (this.authority === "") {
      this.authority = this.host;
      return undefined;
    }
    // CONNECT and absolute-form carry the authority themselves; the port of CONNECT is part of it.
    const scheme = this.targetScheme === "" ? (this.authority.endsWith(":443") ? "https" : "http") : this.targetScheme;
    return sameAuthority(this.authority, this.host, scheme) ? undefined : "rfc9112-3.2.2-host-mismatch";
  }

  private bodyRule(): Rule | undefined {
    if (this.version === "1.0") this.expectsContinue = false;
    if (this.method === "CONNECT") return "rfc9110-9.3.6-connect-content";
    return this.method === "TRACE" ? "rfc9110-9.3.8-trace-content" : undefined;
  }
}

/** The usual methods as the very same strings each time, so that comparing and looking them up costs nothing. */
function methodOf(text: string, at: number, to: number): string {
  if (to - at === 3 && text.startsWith("GET", at)) return "GET";
  if (to - at === 4) {
    if (text.startsWith("POST", at)) return "POST";
    if (text.startsWith("HEAD", at)) return "HEAD";
  }
  return text.substring(at, to);
}

function badMethod(text: string, at: number, bad: number, to: number): Rule {
  if (bad === to) return "rfc9112-3-request-line";
  if (text.charCodeAt(bad) === 13) return "rfc9112-2.2-bare-cr";
  const space = text.indexOf(" ", at);
  return space < 0 || space >= to || space === at ? "rfc9112-3-request-line" : "rfc9112-3.1-method";
}

/** Why `rest`, what stands after the method, does not end in a version of ours. */
function badVersion(rest: string): Rule {
  const space = rest.lastIndexOf(" ");
  const last = rest.slice(space + 1);
  if (rest.includes("\r")) return "rfc9112-2.2-bare-cr";
  if (/^HTTP\/[0-9]\.[0-9]$/.test(last))
    return space < 0 || last === "HTTP/1.1" || last === "HTTP/1.0"
      ? "rfc9112-3-request-line"
      : "rfc9112-2.3-version-unsupported";
  if (/^HTTP\/[0-9.]*$/i.test(last)) return "rfc9112-2.3-version-malformed";
  if (space < 0) return "rfc9112-3-no-version";
  return last === "" ? "rfc9112-3-request-line" : "rfc9112-2.3-version-malformed";
}

function badTarget(code: number): Rule {
  if (code === 13) return "rfc9112-2.2-bare-cr";
  return code === 35 ? "rfc9112-3.2-target-fragment" : "rfc9112-3.2-target-character";
}

/** The first protocol of an Upgrade field (RFC 9110 §7.8), lower-cased; undefined where the field is malformed. */
function firstProtocol(value: string): string | undefined {
  const protocols = listElements(value);
  const valid = protocols.every((protocol) => {
    const [name = "", version, ...more] = protocol.split("/");
    return more.length === 0 && isToken(name) && (version === undefined || isToken(version));
  });
  return valid ? protocols[0] : undefined;
}
