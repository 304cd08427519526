/** Several ranges in one response: `multipart/byteranges` (RFC 9110 §14.6). */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import type { HeaderList } from "@portico/gateway/exchange";
import type { ByteRange } from "./ranges.ts";

/** A piece of a response body: bytes that are here, or a part of the file. */
export type Segment = Uint8Array | ByteRange;

export interface Multipart {
  readonly contentType: string;
  /** Bytes. */
  readonly length: number;
  readonly segments: readonly Segment[];
}

/** Puts the parts of a file of `size` bytes and a media type together. */
export function multipart(ranges: readonly ByteRange[], type: string, size: number): Multipart {
  // Nobody can have put it into the file: it is drawn for this answer.
  const boundary = randomBytes(15).toString("base64url");
  const segments: Segment[] = [];
  let length = 0;
  const add = (text: string): void => {
    segments.push(Buffer.from(text, "latin1"));
    length += text.length;
  };
  for (const range of ranges) {
    add(
      `${segments.length === 0 ? "" : "\r\n"}--${boundary}\r\nContent-Type: ${type}\r\nContent-Range: ${contentRange(range, size)}\r\n\r\n`,
    );
    segments.push(range);
    length += range.end - range.start;
  }
  add(`\r\n--${boundary}--\r\n`);
  return { contentType: `multipart/byteranges; boundary=${boundary}`, length, segments };
}

/** `bytes 0-499/1234`, RFC 9110 §14.4. */
export function contentRange(range: ByteRange, size: number): string {
  return `bytes ${range.start}-${range.end - 1}/${size}`;
}

/** All segments as one body, from a file that is in memory. */
export function joinSegments(segments: readonly Segment[], body: Buffer): Buffer {
  return Buffer.concat(
    segments.map((segment) => (segment instanceof Uint8Array ? segment : body.subarray(segment.start, segment.end))),
  );
}

/** Replaces Content-Type, which belongs to each part. */
export function withType(headers: HeaderList, contentType: string): HeaderList {
  return headers.map((text, at) => (at % 2 === 1 && headers[at - 1] === "Content-Type" ? contentType : text));
}
