/**
 * Requests and responses that are nearly right: valid ones with a few edits, cut into pieces. Arbitraries of fast-check, so that a
 * finding shrinks to the edit that matters. Text is latin1: one character for each byte.
 */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";

/** One connection's worth of bytes. */
export interface Case {
  readonly text: string;
  /** Where it is cut into pieces, ascending, each between 0 and its length. */
  readonly cuts: readonly number[];
}

/** Larger files of the corpus are about limits, and would take most of the time. */
const LONGEST_SEED = 2048;

const CORPUS = join(import.meta.dirname, "../../corpus");

/** The valid messages of the corpus, and those attacks that are known: an edit away from either is where readers differ. */
function corpus(folder: string): string[] {
  return readdirSync(join(CORPUS, folder))
    .filter((name) => name.endsWith(".http"))
    .sort()
    .map((name) => readFileSync(join(CORPUS, folder, name), "latin1"))
    .filter((text) => text.length <= LONGEST_SEED);
}

const PLAIN = [
  "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET /s/x?y=z HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\nCookie: a=b; c=d\r\nCookie: e=f\r\n\r\n",
  "HEAD /x HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n",
  "POST /form HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
  "PUT /s/file HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nX-A: 1\r\n\r\nGET / HTTP/1",
  "POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
  "POST /s/chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3;n=v\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
  "POST /s/two HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /second HTTP/1.1\r\nHost: b\r\n\r\n",
  "GET /first HTTP/1.1\r\nHost: a\r\n\r\nPOST /s/second HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /third HTTP/1.1\r\nHost: c\r\n\r\n",
  "GET http://a/abs HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET /old HTTP/1.0\r\n\r\n",
  "POST /s/old HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nokGET /n HTTP/1.0\r\n\r\n",
  "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
  "DELETE /del HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
  "POST /s/expect HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
  "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\n\r\n",
  "GET /who HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nVia: 1.1 x\r\nTE: trailers\r\n\r\n",
];

/** Mostly from what is valid: most attacks are refused already, and an edit seldom makes them better. */
const requestSeed: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...PLAIN, ...corpus("http1/valid")) },
  { weight: 1, arbitrary: fc.constantFrom(...corpus("smuggling")) },
);
const responseSeed: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...corpus("http1/response-valid")) },
  { weight: 1, arbitrary: fc.constantFrom(...corpus("http1/response-invalid")) },
);

/** What readers differ on. */
const TOKENS = [
  "\r", "\n", "\r\n", "\r\n\r\n", "\n\n", "\r\r\n", "\0", " ", "  ", "\t", "\x0b", "\x0c", "\x08", "\x1f", "\x7f", "\x85", "\xa0", "\xff",
  ":", ": ", " :", ";", ",", ", ", "=", '"', "\\", "/", "//", "/../", "?", "#", "%", "%00", "%0d%0a", "%2f", "*", "@", "_", "-", "+", ".",
  "0", "1", "00", "0x", "0X5", "-1", "+5", "1e3", "5;", "5 ", "5;a", '5;a="\r\n"', "ffffffffffffffff", "10000000000000000", "FFFFFFFFFFFFFFFFF",
  "chunked", "Chunked", "identity", "gzip", "xchunked", "chunked,", ",chunked", "close", "keep-alive", "upgrade", "100-continue",
  "HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.10", "http/1.1", "GET ", "POST ", "CONNECT ", "TRACE ", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "http://a/", "https://a", "http://b@a/", "[::1]", "a:80", "a:99999",
  "Content-Length: 0\r\n", "Content-Length: 5\r\n", "Content-Length: 5, 5\r\n", "Content_Length: 5\r\n", "content-length:\t3\r\n",
  "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: identity\r\n", "Transfer-Encoding:\x0bchunked\r\n", "transfer-encoding: CHUNKED\r\n", "Transfer_Encoding: chunked\r\n", "Transfer-Encoding : chunked\r\n", " Transfer-Encoding: chunked\r\n", "TE: chunked\r\n",
  "Host: b\r\n", "Host:\r\n", "Connection: close\r\n", "Connection: content-length\r\n", "Connection: host\r\n", "Connection: transfer-encoding\r\n", "Connection: x-a\r\n", "Expect: 100-continue\r\n", "Expect: x\r\n", "Upgrade: h2c\r\n", "X_Forwarded_For: 9.9.9.9\r\n", "X-Forwarded-For: 9.9.9.9\r\n", "X-HTTP-Method-Override: DELETE\r\n", "Proxy-Connection: keep-alive\r\n", "Keep-Alive: timeout=5\r\n", "Trailer: Content-Length\r\n", "X-A: b\r\n c\r\n", "X-A: \xe9\r\n", "X-A: \t b \t\r\n", "X!#$%&'*+.^`|~: 1\r\n",
  "0\r\n\r\n", "0\r\nX-T: 1\r\n\r\n", "0\r\nContent-Length: 5\r\n\r\n", "1\r\na\r\n", "0;x=y\r\n\r\n", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
]; // prettier-ignore

/** A place, as a fraction of the text; the lowest bit says whether it moves to the next separator. */
const place = fc.nat(65_535);

function placeIn(text: string, at: number): number {
  const exact = Math.floor((at / 65_536) * (text.length + 1));
  if ((at & 1) === 0) return exact;
  for (let index = exact; index < text.length; index++) {
    if ("\r\n :;,/0123456789".includes(text[index]!)) return index + ((at >> 1) & 1);
  }
  return exact;
}

/** Start and end of the line around a place. */
function lineIn(text: string, at: number): [number, number] {
  const middle = Math.floor((at / 65_536) * text.length);
  const end = text.indexOf("\n", middle);
  return [text.lastIndexOf("\n", middle - 1) + 1, end < 0 ? text.length : end + 1];
}

type Edit = (text: string) => string;

const edit: fc.Arbitrary<Edit> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(place, fc.constantFrom(...TOKENS)).map(([at, token]): Edit => (text) => splice(text, placeIn(text, at), 0, token)) },
  { weight: 2, arbitrary: fc.tuple(place, fc.nat(255)).map(([at, byte]): Edit => (text) => splice(text, placeIn(text, at), 0, String.fromCharCode(byte))) },
  { weight: 2, arbitrary: fc.tuple(place, fc.nat(255)).map(([at, byte]): Edit => (text) => splice(text, placeIn(text, at), 1, String.fromCharCode(byte))) },
  { weight: 2, arbitrary: fc.tuple(place, fc.constantFrom(...TOKENS)).map(([at, token]): Edit => (text) => splice(text, placeIn(text, at), token.length, token)) },
  { weight: 3, arbitrary: fc.tuple(place, fc.integer({ min: 1, max: 4 })).map(([at, length]): Edit => (text) => splice(text, placeIn(text, at), length, "")) },
  { weight: 1, arbitrary: place.map((at): Edit => (text) => splice(text, ...lineSpan(text, at), "")) },
  { weight: 2, arbitrary: fc.tuple(place, place).map(([from, to]): Edit => (text) => copyLine(text, from, to)) },
  { weight: 1, arbitrary: fc.tuple(place, fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 9 })).map(([at, length, times]): Edit => (text) => repeat(text, placeIn(text, at), length, times)) },
  { weight: 3, arbitrary: fc.tuple(place, fc.integer({ min: -2, max: 2 })).map(([at, by]): Edit => (text) => changeNumber(text, at, by)) },
  { weight: 1, arbitrary: fc.tuple(place, fc.integer({ min: 1, max: 20 })).map(([at, length]): Edit => (text) => swapCase(text, placeIn(text, at), length)) },
  { weight: 2, arbitrary: fc.tuple(place, fc.constantFrom(...SEPARATORS())).map(([at, [from, to]]): Edit => (text) => swapSeparator(text, at, from, to)) },
); // prettier-ignore

/** Pairs of separators that some readers take for each other. */
function SEPARATORS(): [string, string][] {
  return [
    ["\r\n", "\n"],
    ["\r\n", "\r"],
    ["\n", "\r\n"],
    ["\r\n\r\n", "\n\n"],
    ["\r\n\r\n", "\r\n \r\n"],
    ["\r\n\r\n", "\r\n"],
    [": ", ":"],
    [": ", " : "],
    [": ", ":\t"],
    [": ", "="],
    [":", "\r\n :"],
    [" ", "\t"],
    [" ", "  "],
    ["-", "_"],
    [",", ";"],
    ["/", "\\"],
    ["1.1", "1.0"],
    ["Content-Length", "Transfer-Encoding"],
    ["Transfer-Encoding", "Content-Length"],
    ["GET", "HEAD"],
    ["GET", "get"],
    ["POST", "GET"],
  ];
}

function splice(text: string, at: number, length: number, insert: string): string {
  return text.slice(0, at) + insert + text.slice(at + length);
}

function lineSpan(text: string, at: number): [number, number] {
  const [from, to] = lineIn(text, at);
  return [from, to - from];
}

function copyLine(text: string, from: number, to: number): string {
  const [start, end] = lineIn(text, from);
  return splice(text, lineIn(text, to)[0], 0, text.slice(start, end));
}

function repeat(text: string, at: number, length: number, times: number): string {
  return splice(text, at, 0, text.slice(at, at + length).repeat(times));
}

/** Changes the number nearest behind a place. */
function changeNumber(text: string, at: number, by: number): string {
  const from = Math.floor((at / 65_536) * text.length);
  const match = /[0-9]{1,9}/.exec(text.slice(from));
  if (match === null) return text;
  return splice(text, from + match.index, match[0].length, String(Math.max(0, Number(match[0]) + by)));
}

function swapCase(text: string, at: number, length: number): string {
  const part = text.slice(at, at + length);
  const swapped = part.replaceAll(/[A-Za-z]/g, (letter) => String.fromCharCode(letter.charCodeAt(0) ^ 0x20));
  return splice(text, at, part.length, swapped);
}

function swapSeparator(text: string, at: number, from: string, to: string): string {
  const found = text.indexOf(from, Math.floor((at / 65_536) * text.length));
  return found < 0 ? text : splice(text, found, from.length, to);
}

function casesFrom(seed: fc.Arbitrary<string>): fc.Arbitrary<Case> {
  const another = seed.map(
    (more): Edit =>
      (text) =>
        text + more,
  );
  const edits = fc.array(fc.oneof({ weight: 25, arbitrary: edit }, { weight: 1, arbitrary: another }), {
    maxLength: 4,
  });
  return fc.tuple(seed, edits, fc.array(place, { maxLength: 3 })).map(([from, changes, places]) => {
    const text = changes.reduce((so, change) => change(so), from);
    const cuts = places.map((at) => Math.floor((at / 65_536) * (text.length + 1))).sort((one, other) => one - other);
    return { text, cuts };
  });
}

/** What clients may send. */
export const cases: fc.Arbitrary<Case> = casesFrom(requestSeed);
/** What servers may answer. */
export const responseCases: fc.Arbitrary<Case> = casesFrom(responseSeed);

export function pieces({ text, cuts }: Case): Buffer[] {
  const bytes = Buffer.from(text, "latin1");
  return [0, ...cuts]
    .map((from, index) => bytes.subarray(from, cuts[index] ?? bytes.length))
    .filter((piece) => piece.length > 0);
}
