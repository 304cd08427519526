/** Sends a part of a file that is not kept in memory, at the client's pace. */
import { Buffer } from "node:buffer";
import { read } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { AbortReason, Exchange, ExchangeObserver } from "@portico/gateway/exchange";

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
  #position: number;
  readonly #end: number;
  #reading = false;
  #over = false;

  /** Begins at once; the response must have been started. Closes the handle when it is done, whatever happens. */
  constructor(exchange: Exchange, handle: FileHandle, start: number, end: number) {
    this.#exchange = exchange;
    this.#handle = handle;
    this.#position = start;
    this.#end = end;
    exchange.observer = this;
    this.#next();
  }

  #next(): void {
    if (this.#reading || this.#over) return;
    const left = this.#end - this.#position;
    if (left === 0) {
      this.#exchange.end();
      this.#finish();
      return;
    }
    this.#reading = true;
    // A fresh buffer each time: the transport may still hold the one before.
    const chunk = Buffer.allocUnsafeSlow(Math.min(left, CHUNK_BYTES));
    read(this.#handle.fd, chunk, 0, chunk.length, this.#position, (error, count) => {
      this.#reading = false;
      if (this.#over) this.#finish();
      else if (error !== null || count === 0) this.#fail();
      else this.#send(count === chunk.length ? chunk : chunk.subarray(0, count));
    });
  }

  #send(chunk: Buffer): void {
    this.#position += chunk.length;
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
