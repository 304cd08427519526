import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Clock } from "./clock.ts";
import { ServerConnection } from "./connection.ts";
import { Http1Error } from "./error.ts";
import { DATA, END, HEAD, NEED_MORE } from "./parser-event.ts";
import { RequestParser } from "./request-parser.ts";
import { ResponseParser } from "./response-parser.ts";
import { chunkSize, lastChunk, requestHead } from "./writer.ts";

const seed = Number(process.env["PORTICO_SEED"] ?? Date.now() % 1_000_000);
const runs = { numRuns: 500, seed };
console.log(`http1 writer: PORTICO_SEED=${seed}`);

/** Text as a hostile caller would give it: mostly harmless, with what splits messages strewn in. */
const hostile = fc.oneof(
  { weight: 6, arbitrary: fc.string({ maxLength: 12 }) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 6 }) },
  {
    weight: 2,
    arbitrary: fc
      .array(fc.constantFrom("\r\n", "\n", "\r", "\0", "\t", " ", ":", "a", "é", "\u{1F600}", "Content-Length: 1"), {
        maxLength: 5,
      })
      .map((parts) => parts.join("")),
  },
);
const name = fc.oneof(
  { weight: 6, arbitrary: fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,10}$/) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      "Content-Length",
      "content-length",
      "Transfer-Encoding",
      "Connection",
      "Host",
      "Date",
      "Upgrade",
      "Keep-Alive",
      "Trailer",
      "TE",
    ),
  },
  { weight: 1, arbitrary: hostile },
);
const value = fc.oneof(fc.stringMatching(/^[!-~]{0,12}$/), fc.constantFrom("0", "3", "5", "+5", "a, b"), hostile);
const headers = fc.array(fc.tuple(name, value), { maxLength: 6 }).map((pairs) => pairs.flat());
const body = fc.oneof(
  fc.constant(null),
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.uint8Array({ maxLength: 30 }),
);

function trimmed(list: readonly string[]): string[] {
  return list.map((text, index) => (index % 2 === 0 ? text : text.replace(/^[\t ]+|[\t ]+$/g, "")));
}

/** The fields that were given, without those that the engine writes itself. */
function own(list: readonly string[], written: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < list.length; at += 2) {
    if (!written.includes((list[at] as string).toLowerCase())) kept.push(list[at] as string, list[at + 1] as string);
  }
  return kept;
}

interface Read {
  readonly parser: ResponseParser;
  readonly headers: string[];
  readonly body: Buffer;
  readonly trailers: string[];
}

/** Reads exactly one final response; anything else fails the test. */
function readResponse(text: string, method: string): Read {
  const parser = new ResponseParser();
  parser.expect({ method });
  parser.feed(Buffer.from(text, "latin1"));
  const parts: Buffer[] = [];
  expect(parser.next(), text).toBe(HEAD);
  const { headers } = parser;
  let event = parser.next();
  for (; event === DATA; event = parser.next()) parts.push(parser.data);
  if (event === NEED_MORE) event = parser.finish();
  expect(event, `${text}\n${parser.error?.message}`).toBe(END);
  const { trailers } = parser;
  expect(parser.next(), `${text}\n${parser.error?.message}`).toBe(NEED_MORE);
  return { parser, headers, body: Buffer.concat(parts), trailers };
}

type Steps = (exchange: Parameters<ConstructorParameters<typeof ServerConnection>[1]>[0]) => void;

/** What a connection emits when its handler does the steps; a misuse error counts as nothing more done. */
function emitted(method: string, version: string, steps: Steps): { text: string; misuse: boolean; broken: boolean } {
  let text = "";
  let misuse = false;
  let broken = false;
  const endpoint = { address: "192.0.2.1", port: 1 };
  const connection = new ServerConnection(
    {
      write(data) {
        text += typeof data === "string" ? data : Buffer.from(data).toString("latin1");
        return true;
      },
      pause() {},
      resume() {},
      end() {},
      destroy() {
        broken = true;
      },
    },
    (exchange) => {
      try {
        steps(exchange);
      } catch (error) {
        if (!(error instanceof Http1Error) || error.code !== "HTTP1_MISUSE") throw error;
        misuse = true;
      }
    },
    { clock: new Clock(() => 0) },
    { peer: endpoint, local: endpoint, client: { ...endpoint, vouchedBy: "socket" }, tls: undefined, scheme: "http" },
  );
  connection.receive(Buffer.from(`${method} / HTTP/${version}\r\nHost: a\r\nTE: trailers\r\n\r\n`));
  return { text, misuse, broken };
}

const statuses = fc.oneof(fc.constantFrom(200, 204, 205, 304, 404, 500), fc.integer({ min: 90, max: 610 }));
const methods = fc.constantFrom("GET", "HEAD", "POST", "OPTIONS");
const versions = fc.constantFrom("1.0", "1.1");
const WRITTEN = ["date", "connection", "content-length", "transfer-encoding"];

describe("whatever is given, one message comes out or an error", () => {
  test("respond", () => {
    let answered = 0;
    const property = fc.property(methods, versions, statuses, headers, body, (method, version, status, list, given) => {
      const { text, misuse } = emitted(method, version, (exchange) => exchange.respond(status, list, given));
      if (misuse) {
        expect(text).toBe("");
        return;
      }
      answered++;
      const read = readResponse(text, method);
      const bodiless = method === "HEAD" || [204, 205, 304].includes(status);
      expect(read.parser.status).toBe(status);
      expect(own(read.headers, WRITTEN)).toEqual(own(trimmed(list), WRITTEN));
      expect(read.body).toEqual(bodiless ? Buffer.alloc(0) : Buffer.from(given ?? ""));
    });
    fc.assert(property, runs);
    expect(answered).toBeGreaterThan(50);
  });

  test("start, write, end", () => {
    let answered = 0;
    const parts = fc.array(fc.oneof(fc.string({ unit: "binary", maxLength: 8 }), fc.uint8Array({ maxLength: 8 })), {
      maxLength: 4,
    });
    const property = fc.property(
      methods,
      versions,
      statuses,
      headers,
      parts,
      headers,
      (method, version, status, list, chunks, trailers) => {
        const { text, misuse, broken } = emitted(method, version, (exchange) => {
          exchange.start(status, list);
          for (const chunk of chunks) exchange.write(chunk);
          exchange.end(trailers);
        });
        if (broken || (misuse && text === "")) return;
        if (misuse) {
          // Begun and not ended: whoever reads it must see that it is incomplete, or read its beginning only.
          // A part "0" looks the same as the last chunk.
          if (!Buffer.concat(chunks.map((chunk) => Buffer.from(chunk))).includes("0"))
            expect(text).not.toContain("\r\n0\r\n");
          return;
        }
        answered++;
        const read = readResponse(text, method);
        const bodiless = method === "HEAD" || [204, 205, 304].includes(status);
        expect(own(read.headers, WRITTEN)).toEqual(own(trimmed(list), WRITTEN));
        expect(read.body).toEqual(
          bodiless ? Buffer.alloc(0) : Buffer.concat(chunks.map((chunk) => Buffer.from(chunk))),
        );
        if (read.trailers.length > 0) expect(read.trailers).toEqual(trimmed(trailers));
      },
    );
    fc.assert(property, runs);
    expect(answered).toBeGreaterThan(50);
  });

  test("a length that the body does not have never looks complete", () => {
    const property = fc.property(fc.nat(20), fc.nat(20), (announced, sent) => {
      const { text, misuse, broken } = emitted("GET", "1.1", (exchange) => {
        exchange.start(200, ["Content-Length", String(announced)]);
        exchange.write("x".repeat(sent));
        exchange.end();
      });
      expect(misuse).toBe(sent > announced);
      expect(broken).toBe(sent < announced);
      const bodyBytes = text.length - text.indexOf("\r\n\r\n") - 4;
      expect(bodyBytes).toBe(sent > announced ? 0 : sent);
    });
    fc.assert(property, runs);
  });

  test("interim responses", () => {
    const property = fc.property(fc.integer({ min: 90, max: 210 }), headers, (status, list) => {
      const { text, misuse } = emitted("GET", "1.1", (exchange) => exchange.inform(status, list));
      if (misuse) {
        expect(text).toBe("");
        return;
      }
      const parser = new ResponseParser();
      parser.expect({ method: "GET" });
      parser.feed(Buffer.from(text, "latin1"));
      expect([parser.next(), parser.next(), parser.next()]).toEqual([HEAD, END, NEED_MORE]);
      expect(parser.headers).toEqual(trimmed(list));
    });
    fc.assert(property, runs);
  });

  test("requests", () => {
    let sent = 0;
    const method = fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom("GET", "POST", "OPTIONS", "CONNECT", "TRACE") },
      hostile,
    );
    const target = fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom("/", "/a?b", "*", "a:80", "http://a/", "/#", "/\\") },
      hostile,
      hostile.map((text) => `/${text}`),
    );
    const host = fc.oneof({ weight: 6, arbitrary: fc.constantFrom("a", "a:80", "", "a b") }, hostile);
    const property = fc.property(
      method,
      target,
      host,
      headers,
      fc.integer({ min: -2, max: 5 }),
      (verb, path, authority, list, bodyLength) => {
        let head: string;
        try {
          head = requestHead({ method: verb, target: path, headers: ["Host", authority, ...list], bodyLength });
        } catch (error) {
          expect(error).toMatchObject({ code: "HTTP1_MISUSE" });
          return;
        }
        const wire = bodyLength === -1 ? `${head}${chunkSize(2)}ab\r\n${lastChunk([])}` : head + "x".repeat(bodyLength);
        const parser = new RequestParser();
        parser.feed(Buffer.from(wire, "latin1"));
        const first = parser.next();
        // Our own reader refuses a few more things (look-alikes, contradicting absolute-form); what it reads is what was meant.
        if (first !== HEAD) return;
        sent++;
        expect(parser.method).toBe(verb);
        expect(parser.bodyLength).toBe(bodyLength);
        expect(own(parser.headers, WRITTEN)).toEqual(own(trimmed(["Host", authority, ...list]), WRITTEN));
        let event = parser.next();
        while (event === DATA) event = parser.next();
        expect([event, parser.next(), parser.buffered]).toEqual([END, NEED_MORE, 0]);
      },
    );
    fc.assert(property, { ...runs, numRuns: 2000 });
    expect(sent).toBeGreaterThan(50);
  });
});

test("any bytes, cut anywhere, are read the same way", () => {
  const piece = fc.constantFrom(
    "GET / HTTP/1.1\r\n",
    "Host: a\r\n",
    "\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "abc",
    "3\r\n",
    "0\r\n\r\n",
    "\r",
    "\n",
    " ",
    "\0",
    "X: y\r\n",
    ";a=b",
    "POST",
    "HTTP/1.0\r\n",
    "Connection: close\r\n",
    "\xff",
    "0",
    "1",
  );
  const read = (chunks: Buffer[]): string[] => {
    const parser = new RequestParser();
    const seen: string[] = [];
    let data = "";
    for (const chunk of chunks) {
      parser.feed(chunk);
      for (let event = parser.next(); event !== NEED_MORE; event = parser.next()) {
        if (event === DATA) {
          data += parser.data.toString("latin1");
          continue;
        }
        if (event === HEAD) seen.push(`${parser.method} ${parser.headers.join("|")}`);
        else if (event === END) seen.push(data);
        else return [...seen, data, parser.error?.rule ?? ""];
      }
    }
    return [...seen, data, String(parser.finish()), parser.error?.rule ?? ""];
  };
  const property = fc.property(
    fc.array(piece, { maxLength: 14 }),
    fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
    (parts, cuts) => {
      const bytes = Buffer.from(parts.join(""), "latin1");
      const chunks: Buffer[] = [];
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const to = at + (cuts[turn % cuts.length] as number);
        chunks.push(bytes.subarray(at, to));
        at = to;
      }
      expect(read(chunks)).toEqual(read([bytes]));
    },
  );
  fc.assert(property, { ...runs, numRuns: 3000 });
});

test.each([
  ["/a\\b", false],
  ["/\\?", false],
  ["/a\\?b\\c", false],
  ["/a?b\\c", true],
  ["/a?b?\\", true],
])("a request's target %j may be sent: %j", (target, may) => {
  const send = (): string => requestHead({ method: "GET", target, headers: ["Host", "a"], bodyLength: 0 });
  if (may) expect(send()).toBe(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
  else expect(send).toThrow(Http1Error);
});
