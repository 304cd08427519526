import { NO_BYTES, latin1 } from "./bytes.ts";
import { CLASS, TOKEN, UNDERSCORE, VALUE, isBlank } from "./characters.ts";
import { ChunkFraming } from "./chunk-framing.ts";
import { Http1Error } from "./error.ts";
import { type FieldLinePlace, fieldLineRule } from "./field-line.ts";
import { isForbiddenTrailer, isLookalike } from "./fields.ts";
import { FramingFields } from "./framing.ts";
import { Input } from "./input.ts";
import type { MessageLimits } from "./limits.ts";
import type { Rule } from "./rules.ts";

/**
 * What `next()` answers. A parser has three kinds of answer: an event, *need more*, or a failure.
 *
 * - `NEED_MORE`: everything fed so far is understood; feed more, or `finish()`.
 * - `HEAD`: the head stands in the parser's fields, until the next call.
 * - `DATA`: a part of the body stands in `data`. The bytes are a view of what was fed, or a copy of what was lent.
 * - `END`: the message is complete (every `HEAD` has one, bodies or not); trailers stand in `trailers`.
 * - `FAILED`: the message is refused; `error` says by which rule and with which status. Final.
 *
 * The same bytes give the same events and the same rule however they are cut into chunks (only the cuts of `DATA` differ).
 */
export const NEED_MORE = 0;
export const HEAD = 1;
export const DATA = 2;
export const END = 3;
export const FAILED = 4;
export type ParserEvent = typeof NEED_MORE | typeof HEAD | typeof DATA | typeof END | typeof FAILED;

const START = 0;
const FIELDS = 1;
const LENGTH = 2;
const CHUNK_FRAMING = 3;
const CHUNK_DATA = 4;
const TRAILERS = 5;
const UNTIL_CLOSE = 6;
const RAW = 7;
const ENDING = 8;
const BROKEN = 9;

/** No event: the data of a chunk follows. */
const CHUNK = 5;

/** Framings that a head can ask for, beside a length. */
export const CHUNKED = -1;
export const CLOSE_DELIMITED = -2;
export const TUNNEL = -3;

/** First look at a chunk; heads of browsers take 0.5 to 2 KiB, and what is behind the head need not become text. */
const WINDOW_BYTES = 4096;
/** Shared by all messages without; frozen, so that no receiver can leave something in it for others. */
const NO_FIELDS: string[] = Object.freeze([] as string[]) as string[];

/** What request and response parser share: lines, fields, framing and bodies. */
export abstract class MessageParser extends Input {
  /** The part of the body, after `DATA`. */
  data: Buffer = NO_BYTES;
  /** Trailer fields as a flat list, after `END`. */
  trailers: string[] = NO_FIELDS;
  /** Why the message was refused, after `FAILED`. */
  error: Http1Error | undefined;
  /** Fields of the head as a flat list `[name, value, …]`, after `HEAD`. A fresh array for each message. */
  headers: string[] = [];
  version: "1.0" | "1.1" = "1.1";
  /** Body length in bytes, -1 where it is not known beforehand. */
  bodyLength = 0;
  /** Whether the sender lets the connection persist after this message. */
  keepAlive = true;

  limits: MessageLimits;
  /** What this head says about its framing. */
  protected readonly framing: FramingFields = new FramingFields();
  private state = START;
  /** Bytes of field lines (or trailer lines) so far, with their CRLFs. */
  private fieldBytes = 0;
  private remaining = 0;
  private chunks: ChunkFraming | undefined = undefined;
  private emptyLines = 0;
  /** The text that lines are cut from, while they are; it covers the input up to `textEnd`. */
  private text = "";
  private textEnd = 0;
  /** The rule that the last field broke. */
  private refused: Rule | undefined = undefined;

  protected constructor(limits: MessageLimits) {
    super();
    this.limits = limits;
  }

  /** True where a message has begun and is not complete. */
  get inMessage(): boolean {
    return this.state !== START || this.emptyLines > 0 || this.end > this.pos;
  }

  /** True between two messages. */
  protected get awaitsHead(): boolean {
    return this.state === START;
  }

  /** The next event. Call until it answers `NEED_MORE` or `FAILED`, or stop where you like to exert back-pressure. */
  next(): ParserEvent {
    switch (this.state) {
      case START:
      case FIELDS:
      case TRAILERS:
        return this.nextLines();
      case ENDING:
        this.state = START;
        return END;
      case BROKEN:
        return FAILED;
      default:
        return this.nextBody();
    }
  }

  /** The peer will send no more. `END` where that completes the message, `NEED_MORE` where none was under way, else `FAILED`. */
  finish(): ParserEvent {
    if (this.state === UNTIL_CLOSE || this.state === RAW) {
      this.trailers = NO_FIELDS;
      this.state = START;
      return END;
    }
    if (this.state === BROKEN) return FAILED;
    if (this.state === ENDING) return this.next();
    return this.inMessage ? this.fail("rfc9112-8-incomplete") : NEED_MORE;
  }

  /** From here on everything is `DATA`: the connection became a tunnel. */
  becomeTunnel(): void {
    this.state = RAW;
  }

  /** Lets go of what the last message left behind, so that an idle connection holds nothing. */
  override release(): void {
    this.headers = NO_FIELDS;
    this.data = NO_BYTES;
    this.trailers = NO_FIELDS;
    super.release();
  }

  /** Reads the start line; undefined where it is well-formed. The line is `text` from `at` to `to`, without CRLF; the same as bytes begins `base` further on in `bytes`. */
  protected abstract startLine(text: string, at: number, to: number, bytes: Buffer, base: number): Rule | undefined;
  /** Notes a field that matters to the engine. */
  protected abstract field(name: string, value: string): Rule | undefined;
  /** The head is complete: decides the framing (a length, CHUNKED, CLOSE_DELIMITED, TUNNEL) or fails by returning a rule. */
  protected abstract headEnd(): number | Rule;
  /** The status for a rule of this direction. */
  protected abstract statusOf(rule: Rule): number | undefined;
  protected abstract readonly startLineRule: Rule;
  /** Resets what belongs to one message. */
  protected abstract begin(): void;

  /** Ends in failure. */
  protected fail(rule: Rule): typeof FAILED {
    this.error = new Http1Error(rule, this.statusOf(rule));
    this.state = BROKEN;
    return FAILED;
  }

  // Hot path. One latin1 slice for the chunk, one look at each byte; allocates the strings it hands on, nothing else.
  private nextLines(): ParserEvent {
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
    this.framing.begin();
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

  private endLines(): ParserEvent {
    if (this.state === TRAILERS) {
      this.state = START;
      return END;
    }
    const framing = this.headEnd();
    if (typeof framing === "string") return this.fail(framing);
    this.trailers = NO_FIELDS;
    if (framing > 0) {
      this.remaining = framing;
      this.state = LENGTH;
    } else if (framing === 0) {
      this.state = ENDING;
    } else if (framing === CHUNKED) {
      this.chunks ??= new ChunkFraming(this.limits);
      this.chunks.begin();
      this.state = CHUNK_FRAMING;
    } else {
      this.state = framing === CLOSE_DELIMITED ? UNTIL_CLOSE : RAW;
    }
    return HEAD;
  }

  private nextBody(): ParserEvent {
    while (this.pos < this.end) {
      switch (this.state) {
        case LENGTH: {
          this.takeData(Math.min(this.remaining, this.end - this.pos));
          if (this.remaining === 0) this.state = ENDING;
          return DATA;
        }
        case CHUNK_DATA: {
          this.takeData(Math.min(this.remaining, this.end - this.pos));
          if (this.remaining === 0) {
            (this.chunks as ChunkFraming).endData();
            this.state = CHUNK_FRAMING;
          }
          return DATA;
        }
        case UNTIL_CLOSE:
        case RAW:
          this.remaining = this.end - this.pos;
          this.takeData(this.remaining);
          return DATA;
        default: {
          const event = this.nextChunk(this.chunks as ChunkFraming);
          if (event !== CHUNK) return event;
        }
      }
    }
    return NEED_MORE;
  }

  /** Reads what stands before the data of a chunk; CHUNK where that follows. */
  private nextChunk(chunks: ChunkFraming): ParserEvent | typeof CHUNK {
    while (!chunks.complete) {
      if (this.pos === this.end) return NEED_MORE;
      const rule = chunks.take(this.input[this.pos] as number);
      if (rule !== undefined) return this.fail(rule);
      this.pos++;
    }
    this.remaining = chunks.size;
    if (chunks.size > 0) {
      this.state = CHUNK_DATA;
      return CHUNK;
    }
    this.state = TRAILERS;
    this.trailers = [];
    this.fieldBytes = 0;
    this.scan = this.pos;
    return this.nextLines();
  }

  private takeData(length: number): void {
    const whole = this.pos === 0 && length === this.input.length;
    const part = whole ? this.input : this.input.subarray(this.pos, this.pos + length);
    this.data = this.borrowed ? Buffer.from(part) : part;
    this.pos += length;
    this.scan = this.pos;
    this.remaining -= length;
  }
}
