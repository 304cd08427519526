/** Sends parts of a file that is not kept in memory, at the client's pace. */
import { Buffer } from "node:buffer";
import { read } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { AbortReason, Exchange, ExchangeObserver } from "@portico/gateway/exchange";
import type { Segment } from "./multipart.ts";

// Large enough that system calls do not count, small enough that ten thousand slow readers fit in memory.
const CHUNK_BYTES = 64 * 1024;

/**
 * One file on its way to one client. Holds one chunk at a time: the next is read only when the transport takes bytes
 * again. A file that turns out shorter than was promised breaks the response off: the client must not take it for
 * complete.
 */
export class FileStream implements ExchangeObserver {
  readonly #exchange: Exchange;
  readonly #handle: FileHandle;
  readonly #segments: readonly Segment[];
  /** The segment that is being sent, and how much of it was. */
  #index = 0;
  #sent = 0;
  #reading = false;
  #over = false;

  /** Begins at once; the response must have been started. Closes the handle when it is done, whatever happens. */
  constructor(exchange: Exchange, handle: FileHandle, segments: readonly Segment[]) {
    this.#exchange = exchange;
    this.#handle = handle;
    this.#segments = segments;
    exchange.observer = this;
    this.#next();
  }

  #next(): void {
    while (!this.#reading && !this.#over) {
      const segment = this.#segments[this.#index];
      if (segment === undefined) {
        this.#exchange.end();
        this.#finish();
        return;
      }
      if (!(segment instanceof Uint8Array)) {
        if (segment.start + this.#sent < segment.end) {
          this.#read(segment.start + this.#sent, segment.end);
          return;
        }
        this.#advance();
        continue;
      }
      this.#advance();
      if (!this.#exchange.write(segment)) return;
    }
  }

  #advance(): void {
    this.#index++;
    this.#sent = 0;
  }

  #read(position: number, end: number): void {
    this.#reading = true;
    // A fresh buffer each time: the transport may still hold the one before.
    const chunk = Buffer.allocUnsafeSlow(Math.min(end - position, CHUNK_BYTES));
    read(this.#handle.fd, chunk, 0, chunk.length, position, (error, count) => {
      this.#reading = false;
      if (this.#over) this.#finish();
      else if (error !== null || count === 0) this.#fail();
      else this.#send(count === chunk.length ? chunk : chunk.subarray(0, count));
    });
  }

  #send(chunk: Buffer): void {
    this.#sent += chunk.length;
    if (this.#exchange.write(chunk)) this.#next();
  }

  #fail(): void {
    this.#exchange.abort("reset");
    this.#finish();
  }

  #finish(): void {
    this.#over = true;
    // Closing while a read is under way would let that read see another file under the same number.
    if (!this.#reading) void this.#handle.close().catch(() => {});
  }

  onData(): void {
    // The body of a GET means nothing; it is dropped.
  }

  onEnd(): void {
    // Nothing waits for it.
  }

  onDrain(): void {
    this.#next();
  }

  onFinish(): void {
    this.#finish();
  }

  onAbort(_reason: AbortReason): void {
    this.#finish();
  }
}
