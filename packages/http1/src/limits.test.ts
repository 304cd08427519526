import { describe, expect, test } from "vitest";
import { DEFAULT_LIMITS, type MessageLimits } from "./limits.ts";
import { END, FAILED, NEED_MORE, type ParserEvent } from "./parser-event.ts";
import { RequestParser } from "./request-parser.ts";
import { ResponseParser } from "./response-parser.ts";
import type { Rule } from "./rules.ts";

/**
 * Every limit of a message, to the byte: the value passes, one more does not; for requests and responses, with the
 * defaults and with limits of another size, whole and byte by byte.
 */

/** Unlike the defaults in every figure, and in what is longest: a trailer section may be longer than a head. */
const OTHER: MessageLimits = {
  startLine: 61,
  field: 150,
  header: 300,
  fields: 7,
  chunkExtension: 11,
  chunkExtensions: 29,
  trailer: 400,
  trailers: 3,
  interim: 2,
};

interface Case {
  readonly limit: keyof MessageLimits;
  readonly rule: Rule;
  /** A message that takes exactly so much of what is limited, where the limits are these. */
  readonly message: (amount: number, limits: MessageLimits, start: string) => string;
}

const REQUEST = "POST / HTTP/1.1\r\n";
const RESPONSE = "HTTP/1.1 200 OK\r\n";
const HOST = "Host: a\r\n";
const END_OF_HEAD = "Content-Length: 0\r\n\r\n";
const CHUNKED = `${HOST}Transfer-Encoding: chunked\r\n\r\n`;

/** A line of so many bytes, without its CRLF. */
function line(bytes: number): string {
  return `X: ${"x".repeat(bytes - 3)}`;
}

/** Lines of so many bytes together, with their CRLFs, each within the limit of one. */
function lines(bytes: number, most: number): string {
  let text = "";
  for (let left = bytes; left > 0;) {
    // What is left must be a line itself, of five bytes at least.
    const length = left <= most + 2 ? left : Math.min(most + 2, left - 5);
    text += `${line(length - 2)}\r\n`;
    left -= length;
  }
  return text;
}

const CASES: readonly Case[] = [
  {
    limit: "field",
    rule: "limit-field",
    message: (amount, _limits, start) => `${start}${line(amount)}\r\n${HOST}${END_OF_HEAD}`,
  },
  {
    limit: "header",
    rule: "limit-header",
    message: (amount, limits, start) =>
      `${start}${HOST}${lines(amount - HOST.length - END_OF_HEAD.length + 2, limits.field)}${END_OF_HEAD}`,
  },
  {
    limit: "fields",
    rule: "limit-field-count",
    message: (amount, _limits, start) => `${start}${HOST}${"X:\r\n".repeat(amount - 2)}${END_OF_HEAD}`,
  },
  {
    limit: "chunkExtension",
    rule: "limit-chunk-extension",
    message: (amount, _limits, start) => `${start}${CHUNKED}1;${"x".repeat(amount - 1)}\r\na\r\n0\r\n\r\n`,
  },
  {
    limit: "chunkExtensions",
    rule: "limit-chunk-extension",
    message: (amount, limits, start) => {
      let chunks = "";
      for (let left = amount; left > 0;) {
        // An extension has two bytes at least.
        const length = left <= limits.chunkExtension ? left : Math.min(limits.chunkExtension, left - 2);
        chunks += `1;${"x".repeat(length - 1)}\r\na\r\n`;
        left -= length;
      }
      return `${start}${CHUNKED}${chunks}0\r\n\r\n`;
    },
  },
  {
    limit: "trailer",
    rule: "limit-trailer",
    message: (amount, limits, start) => `${start}${CHUNKED}0\r\n${lines(amount, limits.field)}\r\n`,
  },
  {
    limit: "trailers",
    rule: "limit-trailer-count",
    message: (amount, _limits, start) => `${start}${CHUNKED}0\r\n${"X:\r\n".repeat(amount)}\r\n`,
  },
];

/** How many messages are complete, and the rule that the next one broke. */
function read(parser: RequestParser | ResponseParser, text: string, step: number): [complete: number, rule?: Rule] {
  const bytes = Buffer.from(text, "latin1");
  let complete = 0;
  let event: ParserEvent = NEED_MORE;
  for (let at = 0; at < bytes.length; at += step) {
    parser.feed(bytes.subarray(at, at + step));
    for (event = parser.next(); event !== NEED_MORE && event !== FAILED; event = parser.next())
      if (event === END) complete++;
    if (event === FAILED) return [complete, parser.error!.rule];
  }
  return [complete];
}

function responseParser(limits: MessageLimits): ResponseParser {
  const parser = new ResponseParser(limits);
  parser.expect({ method: "GET" });
  return parser;
}

const KINDS = [
  { kind: "request", start: REQUEST, parser: (limits: MessageLimits) => new RequestParser(limits) },
  { kind: "response", start: RESPONSE, parser: responseParser },
];

describe.each([
  ["defaults", DEFAULT_LIMITS],
  ["others", OTHER],
] as const)("%s", (_name, limits) => {
  describe.each(KINDS)("$kind", ({ start, parser }) => {
    test.each(CASES)("$limit", ({ limit, rule, message }) => {
      const most = limits[limit];
      const [at, beyond] = [message(most, limits, start), message(most + 1, limits, start)];
      expect(beyond.length).toBeGreaterThan(at.length);
      for (const step of [at.length + 1, 1, 7]) {
        expect(read(parser(limits), at, step)).toEqual([1]);
        expect(read(parser(limits), beyond, step)).toEqual([0, rule]);
      }
    });

    test("a line that never ends is refused at its limit, not at its end", () => {
      const endless: [text: string, rule: Rule][] = [
        [
          start.slice(0, -2) + "x".repeat(2 * limits.startLine),
          start === REQUEST ? "limit-request-line" : "limit-status-line",
        ],
        [`${start}X: ${"x".repeat(2 * limits.header)}`, limits.field < limits.header ? "limit-field" : "limit-header"],
        [`${start}${CHUNKED}0\r\nX: ${"x".repeat(2 * limits.trailer)}`, "limit-trailer"],
        [`${start}${CHUNKED}1;${"x".repeat(2 * limits.chunkExtension)}`, "limit-chunk-extension"],
        [`${start}${CHUNKED}${"0".repeat(40)}`, "rfc9112-7.1-chunk-size"],
      ];
      for (const [text, rule] of endless) {
        // Where a field may be longer than what a trailer section has room for, it is the section that is full.
        const expected = rule === "limit-trailer" && limits.field < limits.trailer - 2 ? "limit-field" : rule;
        expect(read(parser(limits), text, 1), text.slice(0, 60)).toEqual([0, expected]);
      }
    });
  });

  test("start line", () => {
    const request = (bytes: number): string => `GET /${"x".repeat(bytes - 14)} HTTP/1.1\r\n${HOST}\r\n`;
    const response = (bytes: number): string => `HTTP/1.1 200 ${"x".repeat(bytes - 13)}\r\n${END_OF_HEAD}`;
    const most = limits.startLine;
    expect(request(most).indexOf("\r\n")).toBe(most);
    expect(response(most).indexOf("\r\n")).toBe(most);
    for (const step of [10_000, 1, 7]) {
      expect(read(new RequestParser(limits), request(most), step)).toEqual([1]);
      expect(read(new RequestParser(limits), request(most + 1), step)).toEqual([0, "limit-request-line"]);
      expect(read(responseParser(limits), response(most), step)).toEqual([1]);
      expect(read(responseParser(limits), response(most + 1), step)).toEqual([0, "limit-status-line"]);
    }
  });

  test("interim responses", () => {
    const storm = (count: number): string => "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count) + RESPONSE + END_OF_HEAD;
    for (const step of [10_000, 1, 7]) {
      expect(read(responseParser(limits), storm(limits.interim), step)).toEqual([limits.interim + 1]);
      expect(read(responseParser(limits), storm(limits.interim + 1), step)).toEqual([limits.interim, "limit-interim"]);
    }
  });
});

test("the defaults are those that are promised", () =>
  expect(DEFAULT_LIMITS).toMatchObject({ startLine: 8192, field: 8192, header: 32_768, fields: 100 }));
