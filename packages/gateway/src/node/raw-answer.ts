import type { HeaderList } from "../exchange.ts";
import { NodeStreamError } from "./internals.ts";
import { type RawHead, readHead } from "./raw-head.ts";

/** What a response that was written by hand turns into; the methods are those of an exchange. */
export interface AnswerSink {
  inform(status: number, headers: HeaderList): void;
  upgrade(status: number, headers: HeaderList): void;
  respond(status: number, headers: HeaderList, body: Uint8Array | null): void;
  start(status: number, headers: HeaderList): void;
  write(chunk: Uint8Array): void;
  end(): void;
}

/** Longest head that is accepted, in bytes; Node writes at most 16 KiB on a client's behalf. */
const MAX_HEAD_BYTES = 32 * 1024;
/** Longest line with a chunk size: 16 hexadecimal digits would exceed what a number can hold. */
const MAX_CHUNK_LINE_BYTES = 16;

const CRLF2 = Buffer.from("\r\n\r\n");
const CHUNK_SIZE = /^[0-9a-fA-F]{1,12}$/;

type State = "head" | "tunnel" | "sized" | "until-end" | "chunk-size" | "chunk" | "chunk-crlf" | "trailer" | "done";

/**
 * Reads a response that somebody writes onto a socket by hand (RFC 9112, strictly), and hands it to a sink as it comes.
 * Interim heads are passed on; 101, or a 2xx to CONNECT, opens the tunnel, and every later byte belongs to it.
 *
 * No I/O. `receive` and `receiveEnd` throw {@link NodeStreamError} with code `ERR_HTTP_INVALID_MESSAGE` for what is not
 * a response; nothing more may be given then.
 */
export class RawAnswer {
  readonly #sink: AnswerSink;
  readonly #connect: boolean;
  #state: State = "head";
  #held: Buffer = Buffer.alloc(0);
  #head: RawHead | undefined = undefined;
  #begun = false;
  #left = 0;

  constructor(sink: AnswerSink, connect: boolean) {
    this.#sink = sink;
    this.#connect = connect;
  }

  receive(chunk: Buffer): void {
    if (this.#state === "tunnel") {
      this.#sink.write(chunk);
      return;
    }
    let rest = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = Buffer.alloc(0);
    while (rest.length > 0) {
      const next = this.#step(rest);
      if (next === undefined) {
        this.#held = rest;
        return;
      }
      rest = next;
    }
  }

  receiveEnd(): void {
    switch (this.#state) {
      case "tunnel":
        this.#sink.end();
        return;
      case "until-end":
        this.#complete();
        return;
      case "done":
        return;
      default:
        throw invalid("it ended before it was complete");
    }
  }

  /** Takes what it can; returns the rest, or undefined where more is needed. */
  #step(bytes: Buffer): Buffer | undefined {
    switch (this.#state) {
      case "head":
        return this.#readHead(bytes);
      case "tunnel":
        this.#sink.write(bytes);
        return Buffer.alloc(0);
      case "sized":
        return this.#sized(bytes, () => this.#complete());
      case "until-end":
        this.#pass(bytes);
        return Buffer.alloc(0);
      case "chunk-size":
        return this.#chunkSize(bytes);
      case "chunk":
        return this.#sized(bytes, () => {
          this.#state = "chunk-crlf";
        });
      case "chunk-crlf":
        return this.#chunkEnd(bytes);
      case "trailer":
        return this.#trailer(bytes);
      case "done":
        throw invalid("bytes follow it");
      default:
        return undefined;
    }
  }

  #readHead(bytes: Buffer): Buffer | undefined {
    const end = bytes.indexOf(CRLF2);
    if (end > MAX_HEAD_BYTES || (end < 0 && bytes.length > MAX_HEAD_BYTES)) {
      throw invalid("its head is too long");
    }
    if (end < 0) {
      return undefined;
    }
    const head = readHead(bytes.toString("latin1", 0, end));
    if (head === undefined) {
      throw invalid("its head is malformed");
    }
    this.#begin(head, bytes.subarray(end + CRLF2.length));
    return bytes.subarray(end + CRLF2.length);
  }

  #begin(head: RawHead, body: Buffer): void {
    const { status, headers } = head;
    if (this.#connect ? status >= 200 && status <= 299 : status === 101) {
      this.#state = "tunnel";
      this.#sink.upgrade(status, headers);
      return;
    }
    if (status < 200) {
      if (status === 101) {
        throw invalid("101 does not answer CONNECT");
      }
      this.#sink.inform(status, headers);
      return;
    }
    this.#head = head;
    if (status === 204 || status === 304 || head.length === 0) {
      this.#complete();
    } else if (head.length === undefined) {
      this.#state = "until-end";
    } else if (head.length === -1) {
      this.#state = "chunk-size";
    } else {
      this.#left = head.length;
      this.#state = "sized";
      if (body.length === head.length) {
        this.#sink.respond(status, headers, body);
        this.#begun = true;
        this.#head = undefined;
      }
    }
  }

  /** A piece of body; the head goes before the first. */
  #pass(bytes: Buffer): void {
    const head = this.#head;
    if (!this.#begun && head !== undefined) {
      this.#begun = true;
      this.#sink.start(head.status, head.headers);
    }
    if (head !== undefined) {
      this.#sink.write(bytes);
    }
  }

  #complete(): void {
    this.#state = "done";
    const head = this.#head;
    if (head === undefined) {
      return; // it was whole
    }
    if (this.#begun) {
      this.#sink.end();
    } else {
      this.#sink.respond(head.status, head.headers, null);
    }
  }

  #sized(bytes: Buffer, then: () => void): Buffer {
    const part = bytes.subarray(0, this.#left);
    this.#left -= part.length;
    this.#pass(part);
    if (this.#left === 0) {
      then();
    }
    return bytes.subarray(part.length);
  }

  #chunkSize(bytes: Buffer): Buffer | undefined {
    const line = lineOf(bytes);
    if (line === undefined) {
      return undefined;
    }
    if (!CHUNK_SIZE.test(line)) {
      throw invalid("a chunk size is malformed");
    }
    this.#left = Number.parseInt(line, 16);
    this.#state = this.#left === 0 ? "trailer" : "chunk";
    return bytes.subarray(line.length + 2);
  }

  #chunkEnd(bytes: Buffer): Buffer | undefined {
    if (bytes.length < 2) {
      return undefined;
    }
    if (bytes[0] !== 0x0d || bytes[1] !== 0x0a) {
      throw invalid("a chunk is longer than its size");
    }
    this.#state = "chunk-size";
    return bytes.subarray(2);
  }

  /** Trailers of a refusal are read over. */
  #trailer(bytes: Buffer): Buffer | undefined {
    const end = bytes.indexOf("\r\n");
    if (end < 0) {
      if (bytes.length > MAX_HEAD_BYTES) {
        throw invalid("a trailer is too long");
      }
      return undefined;
    }
    if (end === 0) {
      this.#complete();
    }
    return bytes.subarray(end + 2);
  }
}

function lineOf(bytes: Buffer): string | undefined {
  const end = bytes.indexOf("\r\n");
  if (end > MAX_CHUNK_LINE_BYTES || (end < 0 && bytes.length > MAX_CHUNK_LINE_BYTES + 1)) {
    throw invalid("a chunk size is malformed");
  }
  return end < 0 ? undefined : bytes.toString("latin1", 0, end);
}

function invalid(what: string): NodeStreamError {
  return new NodeStreamError(
    "ERR_HTTP_INVALID_MESSAGE",
    `A response was written onto an upgrade's socket, and ${what}.`,
  );
}
