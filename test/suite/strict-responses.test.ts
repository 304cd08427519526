/**
 * Whatever a server answers, in any pieces: the client of the front gets that message, an error, or a response that is
 * visibly cut; and its next request on the same connection gets its own answer. `PORTICO_SEED` repeats a run,
 * `PORTICO_LONG=1` makes it a million cases.
 */
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { DATA, DEFAULT_LIMITS, FAILED, HEAD, NEED_MORE, ResponseParser } from "@portico/http1";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LONG, SEED } from "../support/peers/effort.ts";
import { endToEnd } from "../support/peers/hop.ts";
import { type Case, pieces, responseCases } from "../support/peers/mutation.ts";
import { send } from "../support/peers/sender.ts";
import { ProxyUnderTest } from "../support/proxy.ts";

const CASES = Number(process.env["PORTICO_CASES"] ?? (LONG ? 1_000_000 : 5000));
/** Connections at once. */
const BATCH = 50;
const GOOD = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
/** What the front takes from servers: larger heads than from clients. */
const LIMITS = { ...DEFAULT_LIMITS, field: 65_536, header: 65_536, fields: 1000 };

/** What is being answered now, by the number in the target, and whether the connection must end for it to be complete. */
const answers = new Map<number, { parts: readonly Buffer[]; ends: boolean }>();
const backend = createServer({ noDelay: true }, (socket) => {
  let text = "";
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    const number = /^\S+ \/(\w+) [^]*?\r\n\r\n$/.exec(text)?.[1];
    if (number === undefined) return;
    text = "";
    const answer = answers.get(Number(number));
    if (answer === undefined) {
      socket.write(GOOD);
      return;
    }
    const { parts, ends } = answer;
    const next = (at: number): void => {
      const part = parts[at];
      if (socket.destroyed) return;
      if (part === undefined) {
        // A kept connection that ends at any moment is another test's business.
        if (ends) socket.end();
      } else if (socket.write(part)) setImmediate(next, at + 1);
      else socket.once("drain", () => next(at + 1));
    };
    next(0);
  });
});

let front: ProxyUnderTest;
let port: number;
beforeAll(async () => {
  backend.listen(0, "127.0.0.1");
  await once(backend, "listening");
  const server = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`;
  front = await ProxyUnderTest.start({
    threads: 1,
    log: { error: "off" },
    upstreams: { app: { servers: [server], ejection: { failures: 0 } } },
    sites: [{ hosts: ["*"], routes: [{ path: "/*", proxy: { upstream: "app" } }] }],
  });
  port = Number(new URL(front.url).port);
});
afterAll(async () => {
  await front[Symbol.asyncDispose]();
  backend.close();
});

interface Whole {
  readonly status: number;
  readonly fields: readonly string[];
  readonly body: string;
}

interface Verdict {
  /** The one final response that the bytes begin with; undefined where there is none. */
  readonly whole?: Whole | undefined;
  /** It takes the end of the connection to know. */
  readonly ends: boolean;
  /** Pieces without the one that completes it. */
  readonly before?: number;
  /** Its head is whole and says 205: there is no content to wait for (RFC 9110 §15.3.6). */
  readonly resets?: boolean;
}

function readResponse(parts: readonly Buffer[], method: string): Verdict {
  const parser = new ResponseParser(LIMITS);
  parser.expect({ method });
  let body = "";
  let resets = false;
  const take = (event: number): Whole | undefined => {
    if (event === HEAD) resets = parser.status === 205;
    if (event === DATA) body += parser.data.toString("latin1");
    else if (event !== HEAD && event !== NEED_MORE && event !== FAILED && !parser.interim)
      return { status: parser.status, fields: parser.headers, body };
    return undefined;
  };
  for (const [before, part] of parts.entries()) {
    parser.feed(part);
    for (let event = parser.next(); event !== NEED_MORE; event = parser.next()) {
      if (event === FAILED) return { ends: true, resets };
      const whole = take(event);
      if (whole !== undefined) return { whole, ends: false, before };
    }
  }
  const last = parser.finish();
  return { whole: last === NEED_MORE ? undefined : take(last), ends: true, resets };
}

const counts = { whole: 0, refused: 0, cut: 0 };
let number = 0;

async function tryOne(each: Case, head: boolean): Promise<void> {
  const own = ++number;
  const parts = pieces(each);
  const method = head ? "HEAD" : "POST";
  const { whole: expected, ends, before = parts.length, resets = false } = readResponse(parts, method);
  // What is too much comes with what it follows. Later it would stand on an idle connection, and once the next request
  // is sent there, no reader of HTTP/1.1 can tell it from that one's answer.
  const sent = [...parts.slice(0, before), Buffer.concat(parts.slice(before))];
  answers.set(own, { parts: sent, ends });
  const requests = [
    `${method} /${own} HTTP/1.1\r\nHost: a\r\n${head ? "" : "Content-Length: 0\r\n"}\r\n`,
    "GET /good HTTP/1.1\r\nHost: a\r\n\r\n",
  ];
  const { answers: got, end } = await send({
    port,
    pieces: [Buffer.from(requests.join(""))],
    methods: [method, "GET"],
    half: true,
  });
  answers.delete(own);
  const [first, second] = got;
  expect(end).not.toBe("silent");
  if (first === undefined) {
    counts.cut++;
    expect(expected, "a whole response must arrive whole").toBeUndefined();
    return;
  }
  if (expected === undefined) {
    counts.refused++;
    expect(resets ? [205, 502] : [502]).toContain(first.status);
  } else {
    counts.whole++;
    // RFC 9110 §15.3.6: 205 has no content, whatever its server thinks.
    const body = expected.status === 205 ? "" : expected.body;
    expect({ status: first.status, body: first.body }).toEqual({ status: expected.status, body });
    expect(endToEnd(first.headers)).toEqual(endToEnd(expected.fields));
  }
  expect({ status: second?.status, body: second?.body }, "the next request").toEqual({ status: 200, body: "good" });
  expect(got.length).toBe(2);
}

test(
  `${CASES} answers of servers arrive as they are, or not at all`,
  { timeout: LONG ? 3_600_000 : 120_000 },
  async () => {
    const batch = fc.array(fc.tuple(responseCases, fc.boolean()), { minLength: BATCH, maxLength: BATCH });
    await fc.assert(
      fc.asyncProperty(batch, async (all) => {
        await Promise.all(
          all.map(([each, head]) =>
            tryOne(each, head).catch((error: unknown) => {
              throw new AggregateError([error], `${JSON.stringify([each, head])}: ${String(error)}`, { cause: error });
            }),
          ),
        );
      }),
      { numRuns: CASES / BATCH, seed: SEED },
    );
    console.log(`strict responses: PORTICO_SEED=${SEED}`, counts);
    expect(counts.whole).toBeGreaterThan(CASES / 10);
    expect(counts.refused + counts.cut).toBeGreaterThan(CASES / 10);
  },
);
