/** What a message may measure, to the byte, on the wire: the same promises whichever tier the client meets. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RawClient } from "../support/raw.ts";
import { type Target, targets } from "../support/targets.ts";

const REQUEST_LINE = 8192; // bytes, without CRLF
const FIELD = 8192;
const HEADER_BLOCK = 32_768; // bytes of all field lines with their CRLFs
const FIELDS = 100;
const CHUNK_EXTENSION = 256; // bytes, semicolon included
const CHUNK_EXTENSIONS = 16_384; // all of a body together
const TRAILER = 8192; // bytes of all trailer lines with their CRLFs
const TRAILERS = 32;
const SIZE_DIGITS = 16;

const HEAD = "POST /digest HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
const EMPTY = "Content-Length: 0\r\n\r\n";
const CHUNKED = "Transfer-Encoding: chunked\r\n\r\n";
/** Bytes of the field lines that a request of ours has anyway. */
const OWN_FIELDS = HEAD.length - HEAD.indexOf("Host") + EMPTY.length - 2;

interface Limit {
  readonly what: string;
  readonly most: number;
  /** The status beyond. */
  readonly beyond: number;
  readonly request: (amount: number) => string;
}

const limits: readonly Limit[] = [
  {
    what: "bytes of the request line",
    most: REQUEST_LINE,
    beyond: 414,
    request: (amount) => `GET /echo?${"x".repeat(amount - 19)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
  },
  {
    what: "bytes of a field",
    most: FIELD,
    beyond: 431,
    request: (amount) => `${HEAD}X: ${"x".repeat(amount - 3)}\r\n${EMPTY}`,
  },
  {
    what: "bytes of the header section",
    most: HEADER_BLOCK,
    beyond: 431,
    request: (amount) => {
      const line = `X: ${"x".repeat(8000)}\r\n`;
      const rest = amount - OWN_FIELDS - 4 * line.length;
      return `${HEAD}${line.repeat(4)}X: ${"x".repeat(rest - 5)}\r\n${EMPTY}`;
    },
  },
  {
    what: "fields",
    most: FIELDS,
    beyond: 431,
    request: (amount) => `${HEAD}${"X: y\r\n".repeat(amount - 3)}${EMPTY}`,
  },
  {
    what: "digits of a chunk size",
    most: SIZE_DIGITS,
    beyond: 400,
    request: (amount) => `${HEAD}${CHUNKED}${"1".padStart(amount, "0")}\r\na\r\n0\r\n\r\n`,
  },
  {
    what: "bytes of the extensions of a chunk",
    most: CHUNK_EXTENSION,
    beyond: 400,
    request: (amount) => `${HEAD}${CHUNKED}1;${"x".repeat(amount - 1)}\r\na\r\n0\r\n\r\n`,
  },
  {
    what: "bytes of all chunk extensions",
    most: CHUNK_EXTENSIONS,
    beyond: 400,
    request: (amount) =>
      `${HEAD}${CHUNKED}${`1;${"x".repeat(127)}\r\na\r\n`.repeat(127)}1;${"x".repeat(amount - 127 * 128 - 1)}\r\na\r\n0\r\n\r\n`,
  },
  {
    what: "bytes of the trailer section",
    most: TRAILER,
    beyond: 431,
    request: (amount) => `${HEAD}${CHUNKED}1\r\na\r\n0\r\nX: ${"x".repeat(amount - 5)}\r\n\r\n`,
  },
  {
    what: "trailer fields",
    most: TRAILERS,
    beyond: 431,
    request: (amount) => `${HEAD}${CHUNKED}1\r\na\r\n0\r\n${"X: y\r\n".repeat(amount)}\r\n`,
  },
];

describe.each(targets)("$name", (kind) => {
  let target: Target;
  beforeAll(async () => {
    target = await kind.start();
  });
  afterAll(() => target[Symbol.asyncDispose]());

  async function statusOf(text: string): Promise<number> {
    using client = await RawClient.open(target.url);
    client.send(text);
    const [, status] = await client.until(/^HTTP\/1\.1 (\d{3}) /);
    return Number(status);
  }

  test.each(limits)("$most $what are taken, one more is refused with $beyond", async ({ most, beyond, request }) => {
    expect(await statusOf(request(most))).toBe(200);
    expect(await statusOf(request(most + 1))).toBe(beyond);
  });
});
