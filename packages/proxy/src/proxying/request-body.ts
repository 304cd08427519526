/**
 * A request's body that is read fully before the application is bothered: memory up to a limit, then a temporary
 * file. Kept until the response has begun, so that a retry can send it again.
 */
import type { HeaderList } from "@portico/gateway/exchange";
import type { UpstreamStream } from "../upstream/transport.ts";
import { TemporaryFile, type TemporaryEvents } from "./temporary.ts";

/** While more than this waits to be written to disk, the client is paused. */
const UNWRITTEN_LIMIT = 512 * 1024;

export interface BodyEvents {
  /** The client may send again, or must wait. */
  onBodyFlow(open: boolean): void;
  /** The whole body is here. */
  onBodyStored(): void;
  onBodyFailed(error: Error): void;
}

export class RequestBody implements TemporaryEvents {
  /** Bytes received so far. */
  length = 0;
  /** Known once the body is complete. */
  trailers: HeaderList = [];
  readonly #memory: number;
  readonly #folder: string;
  readonly #events: BodyEvents;
  #chunks: Uint8Array[] = [];
  #file: TemporaryFile | undefined;
  #paused = false;
  #complete = false;
  // Sending.
  #stream: UpstreamStream | undefined;
  #position = 0;
  #reading = false;

  constructor(memory: number, folder: string, events: BodyEvents) {
    this.#memory = memory;
    this.#folder = folder;
    this.#events = events;
  }

  /** True where the body is (partly) in a file. */
  get spilled(): boolean {
    return this.#file !== undefined;
  }

  add(chunk: Uint8Array): void {
    this.length += chunk.length;
    if (this.#file === undefined) {
      if (this.length <= this.#memory) {
        this.#chunks.push(chunk);
        return;
      }
      this.#file = new TemporaryFile(this.#folder, this);
      for (const early of this.#chunks) this.#file.append(early);
      this.#chunks = [];
    }
    this.#file.append(chunk);
    if (!this.#paused && this.#file.unwritten > UNWRITTEN_LIMIT) {
      this.#paused = true;
      this.#events.onBodyFlow(false);
    }
  }

  finish(trailers: HeaderList): void {
    this.trailers = trailers;
    this.#complete = true;
    if (this.#file === undefined || this.#file.unwritten === 0) this.#events.onBodyStored();
  }

  /** The whole body in one piece, where it is in memory; undefined where it is in a file. */
  whole(): Uint8Array | null | undefined {
    if (this.#file !== undefined) return undefined;
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? null;
  }

  /** Sends the body from its beginning, at the stream's pace, and ends it. Again after `stop`, for a retry. */
  send(stream: UpstreamStream): void {
    this.#stream = stream;
    this.#position = 0;
    const whole = this.whole();
    if (whole === undefined) this.#next();
    else {
      if (whole !== null) stream.write(whole);
      this.#end(stream);
    }
  }

  /** The stream takes bytes again. */
  drained(): void {
    if (!this.#reading && this.#stream !== undefined) this.#next();
  }

  /** The stream that was sent to is gone. */
  stop(): void {
    this.#stream = undefined;
  }

  destroy(): void {
    this.#stream = undefined;
    this.#chunks = [];
    this.#file?.destroy();
  }

  onWritten(): void {
    if (this.#paused) {
      this.#paused = false;
      this.#events.onBodyFlow(true);
    }
    if (this.#complete && this.#file?.unwritten === 0 && this.#stream === undefined) this.#events.onBodyStored();
  }

  onRead(chunk: Uint8Array): void {
    this.#reading = false;
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#position += chunk.length;
    if (stream.write(chunk) || this.#position === this.length) this.#next();
  }

  onFull(error: Error): void {
    this.#events.onBodyFailed(error);
  }

  onFailed(error: Error): void {
    this.#events.onBodyFailed(error);
  }

  #next(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    if (this.#position === this.length) this.#end(stream);
    else if (!this.#reading) {
      this.#reading = true;
      this.#file?.read(this.#position);
    }
  }

  #end(stream: UpstreamStream): void {
    this.#stream = undefined;
    stream.end(this.trailers);
  }
}
