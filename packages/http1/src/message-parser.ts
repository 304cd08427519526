import { NO_BYTES } from "./bytes.ts";
import { ChunkFraming } from "./chunk-framing.ts";
import { Http1Error } from "./error.ts";
import { FramingFields } from "./framing.ts";
import { FIELDS, LineParser, NO_FIELDS, START, TRAILERS } from "./line-parser.ts";
import { DATA, END, FAILED, HEAD, NEED_MORE, type ParserEvent } from "./parser-event.ts";
import type { Rule } from "./rules.ts";

// States beside those of `line-parser.ts`.
const LENGTH = 3;
const CHUNK_FRAMING = 4;
const CHUNK_DATA = 5;
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

/** What request and response parser share beside lines: framing and bodies, from one message to the next. */
export abstract class MessageParser extends LineParser {
  /** The part of the body, after `DATA`. */
  data: Buffer = NO_BYTES;
  /** Why the message was refused, after `FAILED`. */
  error: Http1Error | undefined;
  version: "1.0" | "1.1" = "1.1";
  /** Body length in bytes, -1 where it is not known beforehand. */
  bodyLength = 0;
  /** Whether the sender lets the connection persist after this message. */
  keepAlive = true;

  /** What this head says about its framing. */
  protected readonly framing: FramingFields = new FramingFields();
  private remaining = 0;
  private chunks: ChunkFraming | undefined = undefined;

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

  /** The head is complete: decides the framing (a length, CHUNKED, CLOSE_DELIMITED, TUNNEL) or fails by returning a rule. */
  protected abstract headEnd(): number | Rule;
  /** The status for a rule of this direction. */
  protected abstract statusOf(rule: Rule): number | undefined;
  /** Ends in failure. */
  protected fail(rule: Rule): typeof FAILED {
    this.error = new Http1Error(rule, this.statusOf(rule));
    this.state = BROKEN;
    return FAILED;
  }

  protected endLines(): ParserEvent {
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
      this.chunks ??= new ChunkFraming();
      this.chunks.begin(this.limits);
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
