import { NO_BYTES, asBuffer } from "./bytes.ts";

/** Room for the rest of a head of which a few bytes have come. */
const LEAST_BYTES = 256;

/** Bytes that were given and are not consumed yet, without copying them where that can be: what a parser reads from. */
export abstract class Input {
  protected input: Buffer = NO_BYTES;
  protected pos = 0;
  protected end = 0;
  /** Where to go on looking for the end of an incomplete line. */
  protected scan = 0;
  /** `input` is overwritten when the call that lent it returns: bodies are copied out of it. */
  protected borrowed = false;
  /** `input` is ours: it may have room behind `end`. What is before `end` is never overwritten, bodies point into it. */
  private grown = false;

  /** Bytes fed and not yet consumed. */
  get buffered(): number {
    return this.end - this.pos;
  }

  /** Gives the next bytes. The parser keeps a reference until they are consumed, and `data` points into them. */
  feed(bytes: Uint8Array): void {
    const chunk = asBuffer(bytes);
    if (this.pos === this.end) {
      this.input = chunk;
      this.pos = 0;
      this.scan = 0;
      this.end = chunk.length;
      this.grown = false;
      return;
    }
    const needed = this.end + chunk.length;
    if (this.grown && needed <= this.input.length) {
      chunk.copy(this.input, this.end);
      this.end = needed;
      return;
    }
    // Doubling keeps the copying linear for a head that comes byte by byte.
    const left = this.end - this.pos;
    const next = Buffer.allocUnsafe(Math.max(LEAST_BYTES, 2 * (left + chunk.length)));
    this.input.copy(next, 0, this.pos, this.end);
    chunk.copy(next, left);
    this.scan = Math.max(0, this.scan - this.pos);
    this.input = next;
    this.pos = 0;
    this.end = left + chunk.length;
    this.grown = true;
  }

  /**
   * Gives bytes that stay valid only until {@link keep}, which must be called before they change. Parts of a body are
   * copied out of them.
   */
  lend(bytes: Buffer, length: number): void {
    if (this.pos !== this.end) {
      this.feed(bytes.subarray(0, length));
      return;
    }
    this.input = bytes;
    this.pos = 0;
    this.scan = 0;
    this.end = length;
    this.grown = false;
    this.borrowed = true;
  }

  /** Ends the loan: copies what is not consumed yet. */
  keep(): void {
    if (!this.borrowed) return;
    this.borrowed = false;
    const left = this.end - this.pos;
    let own = NO_BYTES;
    if (left > 0) {
      // With room, as `feed` would: the rest of a head is on its way.
      own = Buffer.allocUnsafe(Math.max(LEAST_BYTES, 2 * left));
      this.input.copy(own, 0, this.pos, this.end);
    }
    this.scan = Math.max(0, this.scan - this.pos);
    this.input = own;
    this.pos = 0;
    this.end = left;
    this.grown = left > 0;
  }

  /** Hands over what is not consumed yet, and forgets it. */
  takeBuffered(): Buffer {
    this.keep();
    const rest = this.input.subarray(this.pos, this.end);
    this.pos = this.end;
    return rest;
  }

  /** Lets go of bytes that are consumed, so that an idle connection holds nothing. */
  release(): void {
    if (this.pos !== this.end) return;
    this.input = NO_BYTES;
    this.pos = 0;
    this.end = 0;
    this.scan = 0;
    this.grown = false;
  }
}
