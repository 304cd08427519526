/**
 * Properties of both parsers and of the writer, over bytes that nobody thought of. `PORTICO_SEED=…` repeats a run,
 * `PORTICO_LONG=1` makes it a million cases for each property. Every finding becomes a file of `test/corpus/http1`.
 */
import { readFileSync, readdirSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CONNECTION_FIELDS } from "./fields.ts";
import { type Message, type Outcome, pieces, replay } from "./fixtures/replay.ts";
import { FAILED, NEED_MORE } from "./parser-event.ts";
import { RequestParser } from "./request-parser.ts";
import { type ExpectedResponse, ResponseParser } from "./response-parser.ts";
import {
  CHUNKED_FRAMING,
  NO_FRAMING,
  chunkSize,
  interimHead,
  lastChunk,
  readFields,
  requestHead,
  responseHead,
} from "./writer.ts";

const LONG = process.env["PORTICO_LONG"] === "1";
const RUNS = LONG ? 1_000_000 : 4000;
const TIMEOUT_MS = LONG ? 3_600_000 : 20_000;
const seed = Number(process.env["PORTICO_SEED"] ?? Date.now() % 1_000_000);
console.log(`http1 parsers: PORTICO_SEED=${seed}, ${RUNS} cases for each property`);

type Kind = "request" | "response";
const KINDS: readonly Kind[] = ["request", "response"];

/** What was asked for, in order; for requests it means nothing. */
type Asked = readonly ExpectedResponse[];

const asked: fc.Arbitrary<Asked> = fc.oneof(
  { weight: 4, arbitrary: fc.constant([{ method: "GET" }, { method: "GET" }]) },
  {
    weight: 1,
    arbitrary: fc.array(
      fc.constantFrom({ method: "HEAD" }, { method: "CONNECT" }, { method: "GET" }, { method: "GET", upgrade: true }),
      { minLength: 1, maxLength: 3 },
    ),
  },
);

/** Reads; responses are those to the requests given. */
function read(kind: Kind, chunks: Iterable<Buffer>, requests: Asked, lent = false): Outcome {
  if (kind === "request") return replay(new RequestParser(), chunks, lent);
  const parser = new ResponseParser();
  for (const request of requests) parser.expect(request);
  return replay(parser, chunks, lent);
}

// — bytes —

const CORPUS = new URL("../../../test/corpus/http1/", import.meta.url);
/** Larger files measure limits, as those do that say so: changes do not make them more interesting, and rewriting adds a field. */
const LARGEST_SEED_BYTES = 1500;

function corpus(folder: string): string[] {
  return readdirSync(new URL(folder, CORPUS))
    .filter((file) => file.endsWith(".http") && !file.startsWith("limit-"))
    .map((file) => readFileSync(new URL(`${folder}/${file}`, CORPUS), "latin1"))
    .filter((text) => text.length <= LARGEST_SEED_BYTES);
}

const SEEDS: Record<Kind, { readonly valid: string[]; readonly invalid: string[] }> = {
  request: { valid: corpus("valid"), invalid: corpus("invalid") },
  response: { valid: corpus("response-valid"), invalid: corpus("response-invalid") },
};

/** What separates, measures, ends or hides something. */
const SPLINTERS = [
  ...'\r \n \t : , ; = " \\ / ? # * + - . _ 0 1 9 a f x \0 \x01 \x0b \x0c \x1f \x7f \x80 \x85 \xa0 \xff'.split(" "),
  " ",
  "\r\n",
  "\n\r",
  "\r\n\r\n",
  "\n\n",
  "\r\r\n",
  "\r\n ",
  "\r\n\t",
  " :",
  "\t:",
  "Content-Length: 0\r\n",
  "Content-Length: 5\r\n",
  "Content-Length : 5\r\n",
  "content_length: 5\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding: identity\r\n",
  "Transfer-Encoding:\x0bchunked\r\n",
  "Transfer-Encoding: chunked, chunked\r\n",
  "Host: b\r\n",
  "Connection: close\r\n",
  "Connection: Content-Length\r\n",
  "Expect: 100-continue\r\n",
  "Upgrade: x\r\nConnection: upgrade\r\n",
  "0\r\n\r\n",
  "5;a=b\r\nhello\r\n",
  "5;a\nb\r\n",
  "0x5\r\n",
  "-1\r\n",
  "+5",
  "5, 5",
  "HTTP/1.1",
  "HTTP/1.0",
  " HTTP/1.1\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
  "HTTP/1.1 100 Continue\r\n\r\n",
  "http://b/",
  "%00",
  "[::1]",
];

const splinter = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...SPLINTERS) },
  { weight: 1, arbitrary: fc.nat(255).map((code) => String.fromCharCode(code)) },
);

/** One change of a text, at places given as fractions of its length. */
type Change = (text: string) => string;

function place(text: string, fraction: number): number {
  return Math.floor(fraction * (text.length + 1));
}

// Without fast-check's preference for the ends: a message whose first byte is wrong tells little.
const fraction = fc.noBias(fc.nat(999)).map((thousandths) => thousandths / 1000);
const span = fc.nat(12);
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.tuple(fraction, splinter).map(([where, what]) => (text: string) => {
    const at = place(text, where);
    return text.slice(0, at) + what + text.slice(at);
  }),
  fc.tuple(fraction, span).map(([where, length]) => (text: string) => {
    const at = place(text, where);
    return text.slice(0, at) + text.slice(at + 1 + length);
  }),
  fc.tuple(fraction, splinter).map(([where, what]) => (text: string) => {
    const at = place(text, where);
    return text.slice(0, at) + what + text.slice(at + what.length);
  }),
  // Puts something at the beginning of a line, where whole fields fit.
  fc.tuple(fraction, splinter).map(([where, what]) => (text: string) => {
    const lines = text.split("\r\n");
    const at = Math.floor(where * lines.length);
    lines[at] = what + lines[at]!;
    return lines.join("\r\n");
  }),
  // Repeats a line, or exchanges two: lengths and fields come twice, or where they do not belong.
  fc.tuple(fraction, fraction, fc.boolean()).map(([one, other, exchange]) => (text: string) => {
    const lines = text.split("\r\n");
    const [from, to] = [Math.floor(one * lines.length), Math.floor(other * lines.length)];
    const moved = lines[from]!;
    if (exchange) lines[from] = lines[to]!;
    lines.splice(to, exchange ? 1 : 0, moved);
    return lines.join("\r\n");
  }),
  // Changes the case of a stretch.
  fc.tuple(fraction, span).map(([where, length]) => (text: string) => {
    const at = place(text, where);
    const part = text.slice(at, at + 1 + length);
    const changed = part === part.toLowerCase() ? part.toUpperCase() : part.toLowerCase();
    // Letters beyond ASCII may become two.
    return text.slice(0, at) + (changed.length === part.length ? changed : part) + text.slice(at + 1 + length);
  }),
  // Changes a digit: lengths, sizes, versions, statuses.
  fc.tuple(fraction, fc.nat(9)).map(([where, digit]) => (text: string) => {
    const at = place(text, where);
    const next = text.slice(at).search(/[0-9]/);
    return next < 0 ? text : text.slice(0, at + next) + String(digit) + text.slice(at + next + 1);
  }),
);

function bytesOf(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

/** A message of the corpus that was changed a few times. */
function mutated(seeds: readonly string[]): fc.Arbitrary<Buffer> {
  return fc
    .tuple(fc.constantFrom(...seeds), fc.array(change, { minLength: 1, maxLength: 3 }))
    .map(([text, changes]) => bytesOf(changes.reduce((now, next) => next(now), text)));
}

function anyBytes(kind: Kind): fc.Arbitrary<Buffer> {
  const { valid, invalid } = SEEDS[kind];
  return fc.oneof(
    { weight: 5, arbitrary: mutated(valid) },
    { weight: 2, arbitrary: mutated(invalid) },
    { weight: 2, arbitrary: fc.array(splinter, { maxLength: 30 }).map((parts) => bytesOf(parts.join(""))) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)) },
  );
}

/** Lengths of pieces, used in turn. */
const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 300 })), {
  minLength: 1,
  maxLength: 8,
});

function cut(bytes: Buffer, lengths: readonly number[]): Iterable<Buffer> {
  let turn = 0;
  return pieces(bytes, () => lengths[turn++ % lengths.length] as number);
}

// — messages, written again —

/** Fields that the transport writes itself. */
const OURS = new Set([...CONNECTION_FIELDS, "content-length", "host", "date"]);

function endToEnd(headers: readonly string[]): string[] {
  return headers.filter((_each, at) => !OURS.has(headers[at - (at % 2)]!.toLowerCase()));
}

/** What must be the same on the next hop. */
function meaning(message: Message): Record<string, unknown> {
  const { method, target, authority, status, headers, body, trailers } = message;
  return { method, target, authority, status, headers: endToEnd(headers), body, trailers };
}

function chunked(message: Message): string {
  const data = message.body === "" ? "" : `${chunkSize(message.body.length)}${message.body}\r\n`;
  return data + lastChunk(message.trailers);
}

/** A request as the next hop gets it. An HTTP/1.0 request without authority gets the one that is given. */
function rewriteRequest(message: Message, fallback: string): string {
  const { method = "", target = "", authority = "", body } = message;
  const length = message.bodyLength < 0 ? -1 : body.length;
  const headers = ["Host", authority === "" ? fallback : authority, ...endToEnd(message.headers)];
  const head = requestHead({ method, target, headers, bodyLength: length });
  return length < 0 ? head + chunked(message) : head + body;
}

/** A response as the next hop gets it; the end of the connection ends one of unknown length no more. */
function rewriteResponse(message: Message, method: string): string {
  const { status = 0, bodyLength, headers, body } = message;
  if (status < 200) return interimHead(status, endToEnd(headers));
  const bodiless = method === "HEAD" || status === 204 || status === 304;
  let framing = bodyLength < 0 ? CHUNKED_FRAMING : bodyLength;
  if (bodiless) framing = NO_FRAMING;
  const head = responseHead(status, readFields(endToEnd(headers)), framing, "", "");
  if (bodiless) return head;
  return framing === CHUNKED_FRAMING ? head + chunked(message) : head + body;
}

/** The method whose response this is: interim responses belong to the request of the next final one. */
function methodOf(messages: readonly Message[], index: number, requests: Asked): string {
  const before = messages.slice(0, index).filter(({ status = 0 }) => status >= 200);
  return requests[before.length]!.method;
}

const isTunnel = (message: Message, method: string): boolean =>
  message.status === 101 || (method === "CONNECT" && message.status! >= 200 && message.status! < 300);

describe.each(KINDS)("%s", (kind) => {
  test("any bytes are read the same however they are cut, kept or lent", { timeout: TIMEOUT_MS }, () => {
    const outcomes = { messages: 0, failures: 0 };
    const property = fc.property(anyBytes(kind), asked, cuts, fc.boolean(), (bytes, requests, lengths, lent) => {
      const whole = read(kind, [Buffer.from(bytes)], requests);
      expect(read(kind, cut(bytes, lengths), requests, lent)).toEqual(whole);
      outcomes.messages += whole.messages.length;
      if (whole.failure !== undefined) outcomes.failures++;
    });
    fc.assert(property, { numRuns: RUNS, seed });
    expect(outcomes.messages).toBeGreaterThan(RUNS / 20);
    expect(outcomes.failures).toBeGreaterThan(RUNS / 20);
  });

  test("a changed message is refused, or is the same message when it is written again", { timeout: TIMEOUT_MS }, () => {
    let rewritten = 0;
    const { valid, invalid } = SEEDS[kind];
    const changed = fc.oneof({ weight: 3, arbitrary: mutated(valid) }, { weight: 1, arbitrary: mutated(invalid) });
    const property = fc.property(changed, asked, (bytes, requests) => {
      const { messages } = read(kind, [bytes], requests);
      for (const [index, message] of messages.entries()) {
        const method = kind === "request" ? "" : methodOf(messages, index, requests);
        if (kind === "response" && isTunnel(message, method)) break;
        const text = kind === "request" ? rewriteRequest(message, "a") : rewriteResponse(message, method);
        const again = read(kind, [bytesOf(text)], [{ method }]);
        expect([again.messages.length, again.failure, again.partial.body], text).toEqual([1, undefined, ""]);
        const meant = meaning(message);
        if (meant["authority"] === "") meant["authority"] = "a";
        expect(meaning(again.messages[0]!), text).toEqual(meant);
        rewritten++;
      }
    });
    fc.assert(property, { numRuns: RUNS, seed });
    expect(rewritten).toBeGreaterThan(RUNS / 20);
  });

  test("nothing is held beyond what the limits allow", { timeout: TIMEOUT_MS }, () => {
    // A parser that waits for more must have a reason: what it holds is an incomplete line, never a whole one.
    const property = fc.property(anyBytes(kind), asked, (bytes, requests) => {
      const parser = kind === "request" ? new RequestParser() : new ResponseParser();
      if (parser instanceof ResponseParser) for (const request of requests) parser.expect(request);
      parser.feed(Buffer.from(bytes));
      let steps = 0;
      let event = parser.next();
      while (event !== NEED_MORE && event !== FAILED) {
        event = parser.next();
        steps++;
      }
      expect(steps).toBeLessThanOrEqual(2 * bytes.length + 2);
      if (event === NEED_MORE) expect(parser.takeBuffered().includes("\r\n")).toBe(false);
    });
    fc.assert(property, { numRuns: RUNS, seed });
  });
});

// — parse(write(message)) = message —

const token = fc.stringMatching(/^[!#$%&'*+\-.^`|~0-9A-Za-z]{1,12}$/);
const ordinaryName = token.map((name) => `Q${name}`);
const fieldValue = fc.stringMatching(/^[\t -~\x80-\xff]{0,20}$/).map((text) => text.replace(/^[\t ]+|[\t ]+$/g, ""));
const fields = fc.array(fc.tuple(ordinaryName, fieldValue), { maxLength: 6 }).map((pairs) => pairs.flat());
const authority = fc.oneof(
  fc.stringMatching(/^[a-z0-9.-]{1,20}$/),
  fc.tuple(fc.ipV6(), fc.nat(65_535)).map(([address, port]) => `[${address}]:${port}`),
  fc.tuple(fc.ipV4(), fc.nat(65_535)).map(([address, port]) => `${address}:${port}`),
);
const target = fc.stringMatching(/^\/[!"$-[\]-~]{0,30}$/);
const content = fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes).toString("latin1"));
const framing = fc.constantFrom("length", "chunked");

describe("what is written is read as it was meant", () => {
  test("requests", { timeout: TIMEOUT_MS }, () => {
    const method = token.filter((name) => name !== "CONNECT" && name !== "TRACE");
    const property = fc.property(
      method,
      target,
      authority,
      fields,
      content,
      framing,
      fields,
      cuts,
      (verb, path, host, list, body, how, trailers, lengths) => {
        const length = how === "chunked" ? -1 : body.length;
        const head = requestHead({ method: verb, target: path, headers: ["Host", host, ...list], bodyLength: length });
        const halves = [body.slice(0, body.length >> 1), body.slice(body.length >> 1)].filter((half) => half !== "");
        const wire =
          length >= 0
            ? head + body
            : head + halves.map((half) => `${chunkSize(half.length)}${half}\r\n`).join("") + lastChunk(trailers);
        const { messages, failure } = read("request", cut(bytesOf(wire + wire), lengths), []);
        expect(failure, wire).toBeUndefined();
        const expected = {
          method: verb,
          target: path,
          authority: host,
          status: undefined,
          headers: list,
          body,
          trailers: length >= 0 ? [] : trailers,
        };
        expect(messages.map(meaning), wire).toEqual([expected, expected]);
      },
    );
    fc.assert(property, { numRuns: RUNS, seed });
  });

  test("responses", { timeout: TIMEOUT_MS }, () => {
    const status = fc.integer({ min: 200, max: 599 });
    const property = fc.property(
      fc.constantFrom("GET", "HEAD", "POST"),
      status,
      fields,
      content,
      framing,
      fields,
      cuts,
      (method, code, list, body, how, trailers, lengths) => {
        const bodiless = method === "HEAD" || code === 204 || code === 304;
        const measured = how === "length";
        const frame = code === 204 ? NO_FRAMING : measured ? body.length : CHUNKED_FRAMING;
        const chunks = (body === "" ? "" : `${chunkSize(body.length)}${body}\r\n`) + lastChunk(trailers);
        let wire = responseHead(code, readFields(list), frame, "", "");
        if (!bodiless) wire += measured ? body : chunks;
        const { messages, failure } = read("response", cut(bytesOf(wire + wire), lengths), [{ method }, { method }]);
        expect(failure, wire).toBeUndefined();
        const expected = {
          method: undefined,
          target: undefined,
          authority: undefined,
          status: code,
          headers: list,
          body: bodiless ? "" : body,
          trailers: bodiless || measured ? [] : trailers,
        };
        expect(messages.map(meaning), wire).toEqual([expected, expected]);
      },
    );
    fc.assert(property, { numRuns: RUNS, seed });
  });
});
