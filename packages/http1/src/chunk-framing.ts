import { CLASS, VALUE } from "./characters.ts";
import { DEFAULT_LIMITS, type MessageLimits } from "./limits.ts";
import type { Rule } from "./rules.ts";

const SIZE = 0;
const EXTENSION = 1;
const SIZE_LF = 2;
const COMPLETE = 3;
const DATA_CR = 4;
const DATA_LF = 5;

/** 16^16 would overflow 64 bits; more digits than this are padding that only hides something. */
const MOST_SIZE_DIGITS = 16;
const EXTENSIONS =
  /^(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"))?)+$/;

/**
 * What stands before and between the data of chunks (RFC 9112 §7.1): `1A;name=value CRLF`, and the CRLF after data.
 *
 * Stricter than the RFC: no white space around the size or inside extensions, because readers differ on it.
 */
export class ChunkFraming {
  /** Size of the chunk that follows in bytes, once `complete`; 0 for the last one. */
  size = 0;
  private limits: MessageLimits = DEFAULT_LIMITS;
  private state = SIZE;
  private digits = 0;
  private extension = "";
  private extensionBytes = 0;

  /** Whether the size line was read to its end. */
  get complete(): boolean {
    return this.state === COMPLETE;
  }

  /** A body begins, for which these limits hold. */
  begin(limits: MessageLimits): void {
    this.limits = limits;
    this.extensionBytes = 0;
    this.beginSize();
  }

  /** The data of a chunk was read: its CRLF and the next size line follow. */
  endData(): void {
    this.state = DATA_CR;
  }

  /** Reads one byte; the rule that it breaks, or undefined. */
  take(byte: number): Rule | undefined {
    switch (this.state) {
      case SIZE:
        return this.takeSize(byte);
      case EXTENSION:
        return this.takeExtension(byte);
      case SIZE_LF:
        if (byte !== 10) return "rfc9112-2.2-bare-cr";
        this.state = COMPLETE;
        return undefined;
      case DATA_CR:
        if (byte !== 13) return "rfc9112-7.1-chunk-data-end";
        this.state = DATA_LF;
        return undefined;
      default:
        if (byte !== 10) return "rfc9112-7.1-chunk-data-end";
        this.beginSize();
        return undefined;
    }
  }

  private beginSize(): void {
    this.size = 0;
    this.digits = 0;
    this.state = SIZE;
  }

  private takeSize(byte: number): Rule | undefined {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      this.size = this.size * 16 + digit;
      this.digits++;
      if (this.size > Number.MAX_SAFE_INTEGER) return "rfc9112-7.1-chunk-size-overflow";
      return this.digits > MOST_SIZE_DIGITS ? "rfc9112-7.1-chunk-size" : undefined;
    }
    if (byte === 10) return "rfc9112-2.2-bare-lf";
    if (this.digits === 0) return "rfc9112-7.1-chunk-size";
    if (byte === 13) {
      this.state = SIZE_LF;
      return undefined;
    }
    if (byte !== 59) return "rfc9112-7.1-chunk-size";
    this.extension = "";
    this.state = EXTENSION;
    return this.takeExtension(byte);
  }

  private takeExtension(byte: number): Rule | undefined {
    if (byte === 10) return "rfc9112-2.2-bare-lf";
    if (byte === 13) {
      if (!EXTENSIONS.test(this.extension)) return "rfc9112-7.1.1-chunk-extension";
      this.state = SIZE_LF;
      return undefined;
    }
    if (((CLASS[byte] as number) & VALUE) === 0) return "rfc9112-7.1.1-chunk-extension";
    this.extension += String.fromCharCode(byte);
    this.extensionBytes++;
    const { chunkExtension, chunkExtensions } = this.limits;
    const tooLong = this.extension.length > chunkExtension || this.extensionBytes > chunkExtensions;
    return tooLong ? "limit-chunk-extension" : undefined;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
