/**
 * A response that the server gives faster than the client takes it: memory, then a temporary file, then the server is
 * slowed down. Made only once a client did not take something at once. A disk that is full slows the server down too.
 *
 * Order is kept by one rule: what is in memory is older than what is in the file. Only what a full disk did not take is
 * newer.
 */
import type { HeaderList } from "@portico/gateway/exchange";
import { TemporaryFile, type TemporaryEvents } from "./temporary.ts";

export interface ResponseBufferSettings {
  /** Bytes in memory before the file is begun. */
  readonly memory: number;
  /** Bytes of the response in the file at once; beyond it the server waits. 0: no file, the server waits at once. */
  readonly disk: number;
  readonly folder: string;
}

/** Both ends of the buffer. */
export interface ResponseFlow {
  /** To the client. False: wait for `drained`. */
  deliver(chunk: Uint8Array): boolean;
  /** The server may send so many bytes more. */
  consumed(bytes: number): void;
  /** All was delivered, and the response has ended. */
  delivered(trailers: HeaderList): void;
  /** The disk takes no more; the response goes on at the client's pace. */
  slowed(error: Error): void;
  /** A part of the response is lost. */
  failed(error: Error): void;
}

/** Bytes that may wait for the disk; beyond it the server waits. */
const UNWRITTEN_LIMIT = 1024 * 1024;

export class ResponseBuffer implements TemporaryEvents {
  readonly #settings: ResponseBufferSettings;
  readonly #flow: ResponseFlow;
  #chunks: Uint8Array[] = [];
  #inMemory = 0;
  /** What a full disk did not take, and all that came after; undefined while it is not full. */
  #newest: Uint8Array[] | undefined;
  #file: TemporaryFile | undefined;
  /** Read up to here from the file. */
  #position = 0;
  #reading = false;
  /** Taken from the server, not yet given back to it. */
  #owed = 0;
  #blocked = true;
  #trailers: HeaderList | undefined;
  #destroyed = false;

  constructor(settings: ResponseBufferSettings, flow: ResponseFlow) {
    this.#settings = settings;
    this.#flow = flow;
  }

  /** Nothing is held: what comes next may go straight to the client. */
  get empty(): boolean {
    return !this.#blocked && this.#inMemory === 0 && this.#inFile === 0;
  }

  get spilled(): boolean {
    return this.#file !== undefined;
  }

  get #inFile(): number {
    return this.#file === undefined ? 0 : this.#file.size - this.#position;
  }

  /** A part of the response that the client does not take now. */
  add(chunk: Uint8Array): void {
    if (this.#destroyed) return;
    this.#owed += chunk.length;
    const { memory, disk, folder } = this.#settings;
    if (this.#newest !== undefined) {
      this.#newest.push(chunk);
      this.#inMemory += chunk.length;
    } else if (this.#inFile === 0 && (disk === 0 || this.#inMemory + chunk.length <= memory)) {
      this.#chunks.push(chunk);
      this.#inMemory += chunk.length;
    } else {
      this.#file ??= new TemporaryFile(folder, this);
      this.#file.append(chunk);
    }
    this.#settle();
  }

  /** The client did not take the last part at once: hold what follows. */
  block(): void {
    this.#blocked = true;
  }

  /** The response is complete; it is delivered when all before it was. */
  finish(trailers: HeaderList): void {
    this.#trailers = trailers;
    this.#pump();
  }

  /** The client takes bytes again. */
  drained(): void {
    this.#blocked = false;
    this.#pump();
  }

  destroy(): void {
    this.#destroyed = true;
    this.#chunks = [];
    this.#newest = undefined;
    this.#file?.destroy();
  }

  onWritten(): void {
    this.#settle();
    this.#pump();
  }

  onRead(chunk: Uint8Array): void {
    this.#reading = false;
    const file = this.#file;
    if (file === undefined) return;
    this.#position += chunk.length;
    if (this.#position === file.size) {
      file.rewind();
      this.#position = 0;
    }
    this.#blocked = !this.#flow.deliver(chunk);
    this.#settle();
    this.#pump();
  }

  onFull(error: Error, rest: Uint8Array[]): void {
    if (this.#destroyed) return;
    this.#newest = rest;
    for (const chunk of rest) this.#inMemory += chunk.length;
    this.#flow.slowed(error);
    this.#pump();
  }

  onFailed(error: Error): void {
    if (!this.#destroyed) this.#flow.failed(error);
  }

  #pump(): void {
    while (!this.#blocked && !this.#destroyed) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#inMemory -= chunk.length;
        this.#blocked = !this.#flow.deliver(chunk);
        if (this.#destroyed) return;
        this.#settle();
        continue;
      }
      const file = this.#file;
      if (file !== undefined && this.#inFile > 0) {
        if (this.#reading || file.written <= this.#position) return;
        this.#reading = true;
        file.read(this.#position);
        return;
      }
      if (this.#newest !== undefined && this.#newest.length > 0) {
        this.#chunks = this.#newest;
        this.#newest = [];
        continue;
      }
      const trailers = this.#trailers;
      if (trailers !== undefined) {
        this.destroy();
        this.#flow.delivered(trailers);
      }
      return;
    }
  }

  /** Gives back to the server what was stored or delivered. */
  #settle(): void {
    if (this.#owed === 0) return;
    const { memory, disk } = this.#settings;
    // Without a file only what was delivered counts; with one, what is stored, while there is room.
    const room =
      disk === 0 || this.#newest !== undefined
        ? this.#owed - this.#inMemory
        : this.#inFile < disk && (this.#file?.unwritten ?? 0) < UNWRITTEN_LIMIT && this.#inMemory <= memory
          ? this.#owed
          : 0;
    if (room <= 0) return;
    this.#owed -= room;
    this.#flow.consumed(room);
  }
}
