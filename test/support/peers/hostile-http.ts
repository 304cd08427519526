/**
 * Servers that break HTTP/1.1: what they do with a request, and what the client of a front must get for it.
 *
 * A behaviour writes what it likes on the connection; the request was read up to the end of its head, and no further.
 */
import type { Socket } from "node:net";
import { setTimeout } from "node:timers/promises";

/** What the client gets: a status (and body), or a response that is visibly cut. */
export interface Outcome {
  readonly status: number | "cut";
  readonly body?: string;
  /** In the log's line: the code of the failure, and what its reason names. None: nothing failed as far as one can tell. */
  readonly code?: string;
  readonly reason?: RegExp;
}

export interface Behaviour extends Outcome {
  readonly what: string;
  readonly method?: string;
  /** Further fields of the client's request, and its body. */
  readonly fields?: string;
  readonly content?: string;
  answer(socket: Socket): unknown;
}

/** Just these bytes. */
function bytes(text: string, end = false): (socket: Socket) => void {
  return (socket) => {
    socket.write(text, "latin1");
    if (end) socket.end();
  };
}

/** The same for as long as somebody takes it; the bound is what a front may swallow of it. */
function endless(head: string, part: string): (socket: Socket) => Promise<void> {
  return async (socket) => {
    socket.write(head, "latin1");
    const piece = Buffer.from(part.repeat(Math.ceil(65_536 / part.length)), "latin1");
    while (!socket.destroyed) {
      if (socket.bytesWritten > MOST_SWALLOWED) throw new RangeError("the front took all of it");
      if (socket.write(piece)) await setTimeout(0);
      else await new Promise((resolve) => socket.once("drain", resolve).once("close", resolve));
    }
  };
}

/** What the kernel's buffers and one read of the front may hold, generously. */
const MOST_SWALLOWED = 32 * 1024 * 1024;

/** One byte every few milliseconds, for as long as the connection stands. */
function drip(text: string, everyMs: number): (socket: Socket) => Promise<void> {
  return async (socket) => {
    for (const character of text) {
      if (socket.destroyed) return;
      socket.write(character, "latin1");
      await setTimeout(everyMs);
    }
  };
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const EVIL = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
const CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const WEBSOCKET = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

const bad = (what: string, text: string, reason: RegExp, more: Partial<Behaviour> = {}): Behaviour => ({
  what,
  answer: bytes(text),
  status: 502,
  code: "bad-response",
  reason,
  ...more,
});
const cut = (what: string, text: string, reason?: RegExp, more: Partial<Behaviour> = {}): Behaviour => ({
  what,
  answer: bytes(text),
  status: "cut",
  ...(reason === undefined ? {} : { code: "bad-response", reason }),
  ...more,
});
const fine = (what: string, text: string, body: string, more: Partial<Behaviour> = {}): Behaviour => ({
  what,
  answer: bytes(text),
  status: 200,
  body,
  ...more,
});

const head = (fields: string, rest = ""): string => `HTTP/1.1 200 OK\r\n${fields}\r\n${rest}`;

export const httpBehaviours: readonly Behaviour[] = [
  // Response splitting
  fine("a second response behind the first", OK + EVIL, "ok"),
  fine("half a second response behind the first", `${OK}HTTP/1.1 200 OK\r\nContent-Le`, "ok"),
  fine("garbage behind the end", `${OK}\0\x01garbage\r\n\r\n`, "ok"),
  fine("an empty line behind the end", `${OK}\r\n`, "ok"),
  fine("more bytes than were promised", head("Content-Length: 2\r\n", "ok and more"), "ok"),
  fine("bytes behind the last chunk", `${CHUNKED}2\r\nok\r\n0\r\n\r\n${EVIL}`, "ok"),
  {
    ...fine("garbage a moment after the end", OK, "ok"),
    answer: async (socket) => {
      socket.write(OK);
      await setTimeout(30);
      socket.write(EVIL);
    },
  },
  bad("a bare CR in a value", head("X: a\rSet-Cookie: b\r\nContent-Length: 2\r\n", "ok"), /rfc9112-2.2-bare-cr/),
  bad("a bare LF in a value", head("X: a\nSet-Cookie: b\r\nContent-Length: 2\r\n", "ok"), /rfc9112-2.2-bare-lf/),
  bad("a NUL in a value", head("X: a\0b\r\nContent-Length: 2\r\n", "ok"), /rfc9110-5.5-nul/),
  bad("a folded value", head("X: a\r\n b\r\nContent-Length: 2\r\n", "ok"), /rfc9112-5.2-obs-fold/),
  bad("white space before a colon", head("Content-Length : 2\r\n", "ok"), /rfc9112-5.1-space-before-colon/),
  bad("a bare CR in the reason", "HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok", /rfc9112-2.2-bare-cr/),
  bad("a line without a colon", head("garbage\r\nContent-Length: 2\r\n", "ok"), /rfc9112-5-no-colon/),
  // Framing that contradicts itself
  bad("two lengths", head("Content-Length: 2\r\nContent-Length: 9\r\n", "ok"), /rfc9112-6.3-cl-repeated/),
  bad("two equal lengths", head("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"), /rfc9112-6.3-cl-repeated/),
  bad("a list of lengths", head("Content-Length: 2, 2\r\n", "ok"), /rfc9112-6.3-cl-repeated/),
  bad("a negative length", head("Content-Length: -2\r\n", "ok"), /rfc9110-8.6-cl-malformed/),
  bad("a hexadecimal length", head("Content-Length: 0x2\r\n", "ok"), /rfc9110-8.6-cl-malformed/),
  bad("a length beyond all", head("Content-Length: 99999999999999999999\r\n", "ok"), /rfc9110-8.6-cl-overflow/),
  bad("length and coding", `${CHUNKED.slice(0, -2)}Content-Length: 2\r\n\r\n0\r\n\r\n`, /rfc9112-6.1-te-and-cl/),
  bad("an unknown coding", head("Transfer-Encoding: gzip\r\n", "ok"), /rfc9112-6.1-te/),
  bad("a coding in HTTP/1.0", `${CHUNKED.replace("1.1", "1.0")}2\r\nok\r\n0\r\n\r\n`, /rfc9112-6.1-te-in-1.0/),
  // Chunks
  cut("a chunk size that is none", `${CHUNKED}2\r\nok\r\nzz\r\n`, /rfc9112-7.1-chunk-size/),
  cut("a chunk size beyond all", `${CHUNKED}2\r\nok\r\nfffffffffffffff\r\n`, /rfc9112-7.1-chunk-size-overflow/),
  cut("a chunk longer than it says", `${CHUNKED}2\r\nokay\r\n0\r\n\r\n`, /rfc9112-7.1-chunk-data-end/),
  cut("a chunk size that ends in LF", `${CHUNKED}2\r\nok\r\n2\nok\r\n0\r\n\r\n`, /rfc9112-2.2-bare-lf/),
  cut("an extension with an LF", `${CHUNKED}2\r\nok\r\n2;a\nb\r\nok\r\n0\r\n\r\n`, /rfc9112-2.2-bare-lf/),
  cut("a length among the trailers", `${CHUNKED}2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n`, /trailer-forbidden/),
  cut("a folded trailer", `${CHUNKED}2\r\nok\r\n0\r\nX: a\r\n b\r\n\r\n`, /rfc9112-5.2-obs-fold/),
  { ...cut("an end in the middle of a chunk", ""), answer: bytes(`${CHUNKED}5\r\nhel`, true), code: "closed" },
  { ...cut("an end before the last chunk", ""), answer: bytes(`${CHUNKED}2\r\nok\r\n`, true), code: "closed" },
  // Early ends
  { ...cut("fewer bytes than were promised", ""), answer: bytes(head("Content-Length: 9\r\n", "ok"), true), code: "closed" },
  { what: "an end before the head", answer: (socket) => socket.end(), status: 502, code: "closed" },
  { what: "a reset before the head", answer: (socket) => socket.resetAndDestroy(), status: 502, code: "closed" },
  { what: "an end in the middle of the head", answer: bytes("HTTP/1.1 200 OK\r\nX: a", true), status: 502, code: "closed" },
  {
    ...cut("a reset in the middle of the body", "", undefined, { code: "closed" }),
    answer: async (socket) => {
      socket.write(head("Content-Length: 9\r\n", "ok"));
      await setTimeout(30);
      socket.resetAndDestroy();
    },
  },
  // Without end
  { ...bad("an endless status line", "", /limit-status-line/), answer: endless("HTTP/1.1 200 ", "O") },
  { ...bad("an endless field", "", /limit-(field|header)/), answer: endless(`${OK.slice(0, 17)}X: `, "a") },
  { ...bad("endless fields", "", /limit-/), answer: endless(OK.slice(0, 17), "X: a\r\n") },
  { ...bad("endless empty lines", "", /rfc9112-2.2-empty-lines/), answer: endless("", "\r\n") },
  { ...bad("a storm of hints", "", /limit-interim/, { method: "POST" }), answer: endless("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") },
  { ...bad("a storm of 100", "", /limit-interim/, { method: "POST" }), answer: endless("", "HTTP/1.1 100 Continue\r\n\r\n") },
  { ...cut("an endless extension", "", /limit-chunk-extension/), answer: endless(`${CHUNKED}2\r\nok\r\n2;`, "a") },
  { ...cut("endless extensions", "", /limit-chunk-extension/), answer: endless(CHUNKED, `2;${"a".repeat(200)}\r\nok\r\n`) },
  { ...cut("endless trailers", "", /limit-trailer/), answer: endless(`${CHUNKED}2\r\nok\r\n0\r\n`, "X: a\r\n") },
  // Bodies where none may be
  { ...fine("a body in answer to HEAD", OK, "", { method: "HEAD" }) },
  { ...fine("a chunked body in answer to HEAD", `${CHUNKED}2\r\nok\r\n0\r\n\r\n`, "", { method: "HEAD" }) },
  fine("a body behind 204", "HTTP/1.1 204 No Content\r\n\r\nevil", "", { status: 204 }),
  fine("a body behind 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil", "", { status: 304 }),
  bad("204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil", /cl-without-body/),
  bad("204 with a coding", CHUNKED.replace("200 OK", "204 No"), /te-without-body/),
  bad("103 with a length", "HTTP/1.1 103 E\r\nContent-Length: 4\r\n\r\nevil", /cl-without-body/),
  // Versions, statuses, other protocols
  bad("HTTP/2.0", OK.replace("1.1", "2.0"), /version-unsupported/),
  bad("HTTP/1.2", OK.replace("1.1", "1.2"), /version-unsupported/),
  bad("no version (HTTP/0.9)", "hello, this is a file\r\n", /rfc9112-4-status-line/),
  bad("another protocol's name", OK.replace("HTTP/1.1", "ICY"), /rfc9112-4-status-line/),
  bad("a greeting of SSH", "SSH-2.0-OpenSSH_9.2\r\n", /rfc9112-4-status-line/),
  bad("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", /rfc9112-4-status-line/),
  bad("a TLS alert", "\x15\x03\x01\x00\x02\x02\x28\r\n", /rfc9110-5.5-nul/),
  bad("a status of two digits", OK.replace("200", "20"), /rfc9112-4-status-line/),
  bad("a status of four digits", OK.replace("200", "2000"), /rfc9112-4-status-line/),
  bad("status 099", OK.replace("200", "099"), /rfc9112-4-status-line/),
  bad("status 600", OK.replace("200", "600"), /rfc9112-4-status-line/),
  bad("a status with a sign", OK.replace("200", "+20"), /rfc9112-4-status-line/),
  bad("white space in front", ` ${OK}`, /rfc9112-4-status-line/),
  bad("a request instead of a response", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", /rfc9112-4-status-line/),
  // Switching
  bad("101 that nobody asked for", `HTTP/1.1 101 S\r\n${WEBSOCKET}\r\n`, /unexpected-101/),
  bad("101 to another protocol", "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n", /101/, {
    fields: WEBSOCKET,
  }),
  bad("101 without a protocol", "HTTP/1.1 101 S\r\n\r\n", /101/, { fields: WEBSOCKET }),
  bad("101 with a length", `HTTP/1.1 101 S\r\n${WEBSOCKET}Content-Length: 4\r\n\r\nevil`, /cl-without-body/, {
    fields: WEBSOCKET,
  }),
  fine("an upgrade declined", OK, "ok", { fields: WEBSOCKET }),
  // Before its time
  { ...fine("an answer before the body is read", OK, "ok", { method: "POST" }), content: "x".repeat(200_000) },
  fine("hints, then an answer", `HTTP/1.1 103 E\r\nLink: </a>\r\n\r\n${OK}`, "ok"),
  fine("100 that nobody asked for", `HTTP/1.1 100 Continue\r\n\r\n${OK}`, "ok"),
  // Slow
  { ...fine("a head and a body byte by byte", "", "ok"), answer: drip(OK, 1) },
  { what: "silence", answer: () => {}, status: 504, code: "head-timeout" },
  { what: "a head that never ends, drop by drop", answer: drip(head(`X: ${"a".repeat(5000)}`), 20), status: 504, code: "head-timeout" },
  { ...cut("silence in the middle of the body", head("Content-Length: 9\r\n", "ok")), code: "body-timeout" },
  { ...cut("silence in the middle of a chunk", `${CHUNKED}9\r\nok`), code: "body-timeout" },
]; // prettier-ignore
