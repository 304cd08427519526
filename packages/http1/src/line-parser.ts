import { latin1 } from "./bytes.ts";
import { CLASS, TOKEN, UNDERSCORE, VALUE, isBlank } from "./characters.ts";
import { type FieldLinePlace, fieldLineRule } from "./field-line.ts";
import { isForbiddenTrailer, isLookalike } from "./fields.ts";
import { Input } from "./input.ts";
import type { MessageLimits } from "./limits.ts";
import { type FAILED, NEED_MORE, type ParserEvent } from "./parser-event.ts";
import type { Rule } from "./rules.ts";

/** States in which lines are read: a start line is next, a field of the head, a field of the trailers. */
export const START = 0;
export const FIELDS = 1;
export const TRAILERS = 2;

/** First look at a chunk; heads of browsers take 0.5 to 2 KiB, and what is behind the head need not become text. */
const WINDOW_BYTES = 4096;
/** Shared by all messages without; frozen, so that no receiver can leave something in it for others. */
export const NO_FIELDS: string[] = Object.freeze([] as string[]) as string[];

/** Start line, fields and trailers (RFC 9112 §2 to §5): what stands in lines, and how much of it there may be. */
export abstract class LineParser extends Input {
  /** Fields of the head as a flat list `[name, value, …]`, after `HEAD`. A fresh array for each message. */
  headers: string[] = [];
  /** Trailer fields as a flat list, after `END`. */
  trailers: string[] = NO_FIELDS;
  /** May be exchanged between two messages. */
  limits: MessageLimits;
  /** One of the states above, or one that a body is read in. */
  protected state: number = START;
  /** Bytes of field lines (or trailer lines) so far, with their CRLFs. */
  protected fieldBytes = 0;
  protected emptyLines = 0;
  /** The text that lines are cut from, while they are; it covers the input up to `textEnd`. */
  private text = "";
  private textEnd = 0;
  /** The rule that the last field broke. */
  private refused: Rule | undefined = undefined;

  protected constructor(limits: MessageLimits) {
    super();
    this.limits = limits;
  }

  /** Reads the start line; undefined where it is well-formed. The line is `text` from `at` to `to`, without CRLF; the same as bytes begins `base` further on in `bytes`. */
  protected abstract startLine(text: string, at: number, to: number, bytes: Buffer, base: number): Rule | undefined;
  /** Notes a field that matters to the engine. */
  protected abstract field(name: string, value: string): Rule | undefined;
  protected abstract readonly startLineRule: Rule;
  /** A message begins: resets what belongs to one. */
  protected abstract begin(): void;
  /** The empty line was read that ends a head or a trailer section. */
  protected abstract endLines(): ParserEvent;
  /** Ends in failure. */
  protected abstract fail(rule: Rule): typeof FAILED;

  // Hot path. One latin1 slice for the chunk, one look at each byte; allocates the strings it hands on, nothing else.
  protected nextLines(): ParserEvent {
    if (this.pos === this.end) return NEED_MORE;
    if (this.scan > this.pos && this.input.subarray(0, this.end).indexOf(10, this.scan) < 0)
      return this.incompleteLine();
    for (let window = WINDOW_BYTES; ; window *= 4) {
      this.textEnd = Math.min(this.end, this.pos + window);
      this.text = latin1(this.input, this.pos, this.textEnd);
      const event = this.readLines();
      this.text = ""; // a parser must not keep it alive
      if (event !== NEED_MORE) return event;
      if (this.textEnd === this.end) return this.incompleteLine();
    }
  }

  /** Reads lines for as long as they are complete within the text. */
  private readLines(): ParserEvent {
    const { input, text, textEnd } = this;
    const base = this.pos;
    for (let at = base; at < textEnd;) {
      if (this.state !== START) {
        const next = this.readField(at, base);
        if (next > 0) {
          if (this.refused !== undefined) return this.fail(this.refused);
          at = next;
          continue;
        }
        if (input[at] === 13 && at + 1 < textEnd && input[at + 1] === 10) {
          this.pos = at + 2;
          this.scan = this.pos;
          return this.endLines();
        }
      }
      const lf = text.indexOf("\n", at - base);
      this.pos = at;
      if (lf < 0) return NEED_MORE;
      const rule = this.lineRule(text, at - base, lf, base);
      if (rule !== undefined) return this.fail(rule);
      at = base + lf + 1;
    }
    this.pos = textEnd;
    return NEED_MORE;
  }

  /** Reads a line that is not a well-formed field: the start line, or one that breaks a rule. */
  private lineRule(text: string, at: number, lf: number, base: number): Rule | undefined {
    const to = lf - 1;
    if (to - at > this.lineRoom()) return this.lineRoomRule();
    if (to < at || text.charCodeAt(to) !== 13) return "rfc9112-2.2-bare-lf";
    return this.state === START ? this.readStartLine(text, at, to, base) : fieldLineRule(text, at, to, this.place);
  }

  /** Bytes that the current line may have, without CRLF. */
  private lineRoom(): number {
    if (this.state === START) return this.limits.startLine;
    const section = this.state === FIELDS ? this.limits.header : this.limits.trailer;
    return Math.max(0, Math.min(this.limits.field, section - this.fieldBytes - 2));
  }

  private lineRoomRule(): Rule {
    if (this.state === START) return this.startLineRule;
    const section = this.state === FIELDS ? this.limits.header : this.limits.trailer;
    if (this.limits.field <= section - this.fieldBytes - 2) return "limit-field";
    return this.state === FIELDS ? "limit-header" : "limit-trailer";
  }

  private incompleteLine(): ParserEvent {
    this.scan = this.end;
    // The last byte may be the CR of the line end.
    if (this.end - this.pos > this.lineRoom() + 1) return this.fail(this.lineRoomRule());
    return NEED_MORE;
  }

  private readStartLine(text: string, at: number, to: number, base: number): Rule | undefined {
    if (at === to) return this.emptyLines++ > 0 ? "rfc9112-2.2-empty-lines" : undefined;
    this.begin();
    this.headers = [];
    this.fieldBytes = 0;
    this.emptyLines = 0;
    this.state = FIELDS;
    return this.startLine(text, at, to, this.input, base);
  }

  /**
   * Hot path: a whole well-formed field line from `at`, in one pass over its bytes (reading characters of a string takes
   * three times as long). Answers where the next line begins, or -1 where this one is not complete or not well-formed.
   */
  private readField(at: number, base: number): number {
    const { input, textEnd } = this;
    let colon = at;
    let flags = 0;
    for (; colon < textEnd; colon++) {
      const kind = CLASS[input[colon] as number] as number;
      if ((kind & TOKEN) === 0) break;
      flags |= kind;
    }
    if (colon === at || colon >= textEnd || input[colon] !== 58) return -1;
    let from = colon + 1;
    while (from < textEnd && isBlank(input[from] as number)) from++;
    let to = from;
    while (to < textEnd && ((CLASS[input[to] as number] as number) & VALUE) !== 0) to++;
    if (to + 1 >= textEnd || input[to] !== 13 || input[to + 1] !== 10 || to - at > this.lineRoom()) return -1;
    this.fieldBytes += to - at + 2;
    const next = to + 2;
    while (to > from && isBlank(input[to - 1] as number)) to--;
    const name = this.text.substring(at - base, colon - base);
    this.refused = this.takeField(name, this.text.substring(from - base, to - base), flags);
    return next;
  }

  private takeField(name: string, value: string, flags: number): Rule | undefined {
    if ((flags & UNDERSCORE) !== 0 && isLookalike(name)) return "portico-underscore-lookalike";
    if (this.state === TRAILERS) return this.trailerField(name, value);
    this.headers.push(name, value);
    if (this.headers.length > 2 * this.limits.fields) return "limit-field-count";
    return this.field(name, value);
  }

  /** A folded line needs one before it; the size line of the last chunk is as good as one. */
  private get place(): FieldLinePlace {
    return this.state === FIELDS && this.headers.length === 0 ? "first" : "later";
  }

  private trailerField(name: string, value: string): Rule | undefined {
    if (isForbiddenTrailer(name.toLowerCase())) return "rfc9112-7.1.2-trailer-forbidden";
    this.trailers.push(name, value);
    return this.trailers.length > 2 * this.limits.trailers ? "limit-trailer-count" : undefined;
  }
}
