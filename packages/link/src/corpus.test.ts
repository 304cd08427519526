/**
 * Replays test/corpus/link: frames for one end of a link, and what must come of them.
 *
 * A file has directives, a blank line, and bytes in hexadecimal (`61 * 5` repeats a byte, `#` begins a comment):
 *
 *     to: worker | proxy            the end under test
 *     before: handshake | nothing | secret    handshake done | not begun | not begun, with a shared secret
 *     handler: hold | hello | tunnel | paused what the worker's handler does (hold: read the body, answer nothing)
 *     open: METHOD TARGET           streams that the proxy opened before (UPGRADE: GET that asks for websocket)
 *     link: open | closed [CODE]    how the link must be afterwards
 *     event: …                      what the handler or observer must see, in order
 *     sent: TYPE STREAM [CODE]      frames that must be sent, in order (WINDOW and the handshake left out)
 */
import { readdirSync, readFileSync } from "node:fs";
import type { ExchangeHandler, HeaderList } from "@portico/gateway/exchange";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ClientSession } from "./client.ts";
import { closeName, type LinkError, resetName } from "./error.ts";
import { FLAG, FRAME, readU16, readU24, readU32 } from "./frame.ts";
import { helloFields, type PeerHello } from "./hello.ts";
import { writeFields } from "./head.ts";
import { Outbox } from "./outbox.ts";
import { MemorySink } from "./pipe.ts";
import { ServerSession } from "./server.ts";
import { requestOf } from "./test-rig.ts";

const folder = new URL("../../../test/corpus/link/", import.meta.url);

interface Case {
  to: string;
  before: string;
  handler: string;
  opens: string[];
  link: string;
  events: string[];
  sent: string[];
  bytes: Buffer;
}

function parse(text: string): Case {
  const gap = text.indexOf("\n\n");
  const found: Case = {
    to: "",
    before: "",
    handler: "hold",
    opens: [],
    link: "",
    events: [],
    sent: [],
    bytes: readHex(text.slice(gap)),
  };
  for (const line of text.slice(0, gap).split("\n")) {
    const colon = line.indexOf(": ");
    const name = line.slice(0, colon);
    const value = line.slice(colon + 2).trim();
    if (name === "event") found.events.push(value);
    else if (name === "sent") found.sent.push(value);
    else if (name === "open") found.opens.push(value);
    else if (name === "to" || name === "before" || name === "handler" || name === "link") found[name] = value;
    else throw new TypeError(`unknown directive ${name}`);
  }
  return found;
}

function readHex(text: string): Buffer {
  const parts = text.split("\n").map((line) => {
    const bare = line.replace(/#.*/, "").trim();
    const [repeated, times] = bare.split(" * ");
    if (times !== undefined) return Buffer.alloc(Number(times), Number.parseInt(repeated!, 16));
    const digits = bare.replaceAll(" ", "");
    const bytes = Buffer.from(digits, "hex");
    if (bytes.length * 2 !== digits.length) throw new TypeError(`not hexadecimal: ${line}`);
    return bytes;
  });
  return Buffer.concat(parts);
}

/** Events in the notation of the corpus; body parts that follow each other are one. */
class Recorder {
  readonly lines: string[] = [];
  #bodyOf = 0;
  #body: Buffer = Buffer.alloc(0);

  say(line: string): void {
    this.#flush();
    this.lines.push(line.trim());
  }

  data(stream: number, chunk: Uint8Array): void {
    if (this.#bodyOf !== stream) this.#flush();
    this.#bodyOf = stream;
    this.#body = Buffer.concat([this.#body, chunk]);
  }

  #flush(): void {
    if (this.#body.length > 1024) this.lines.push(`data ${this.#bodyOf} ${this.#body.length} bytes`);
    else if (this.#body.length > 0) this.lines.push(`data ${this.#bodyOf} ${this.#body.toString("hex")}`);
    this.#body = Buffer.alloc(0);
  }

  all(): string[] {
    this.#flush();
    return this.lines;
  }
}

function showFields(headers: HeaderList): string {
  const shown: string[] = [];
  for (let index = 0; index < headers.length; index += 2) shown.push(`${headers[index]}=${headers[index + 1]}`);
  // oxlint-disable-next-line no-control-regex
  return shown
    .join(",")
    .replace(/[^\x20-\x7e]/g, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

const SMALL = { maxFrame: 65_536, window: 16_384, maxStrings: 2_064 };
const SECRET = "a secret of the corpus";

function handshake(role: "proxy" | "worker"): Uint8Array {
  const sink = new MemorySink();
  const out = new Outbox(sink);
  const hello: PeerHello = {
    version: "1.0",
    role,
    worker: 1,
    generation: 1,
    workers: 2,
    concurrency: 8,
    maxFrame: 65_536,
    window: 65_536,
    capabilities: [],
    nonce: "",
  };
  writeFields(out, FRAME.HELLO, 0, 0, helloFields(hello), 4096);
  out.flush();
  return sink.take();
}

interface Outcome {
  link: string;
  events: string[];
  sent: string[];
}

function replay(one: Case, chunks: readonly Uint8Array[]): Outcome {
  const recorder = new Recorder();
  const sink = new MemorySink();
  let link = "open";
  const options = {
    limits: SMALL,
    now: () => 1_000_000,
    onClosed: (error: LinkError | undefined) => {
      link = error === undefined ? "closed" : `closed ${error.code}`;
    },
    onError: (error: unknown) => recorder.say(`error ${String(error)}`),
    random: (size: number) => Buffer.alloc(size, 7),
    ...(one.before === "secret" ? { secret: SECRET } : {}),
  };
  const session =
    one.to === "worker"
      ? new ServerSession(sink, handlerOf(one.handler, recorder), {
          ...options,
          worker: { id: 1, generation: 1, count: 2, concurrency: 8 },
        })
      : new ClientSession(sink, {
          ...options,
          onDrain: () => recorder.say("drain"),
          onStatus: (status) => recorder.say(`status ${status.inFlight} ${status.loopDelayMs} ${status.workers}`),
        });
  session.start();
  if (one.before === "handshake") session.receive(handshake(one.to === "worker" ? "proxy" : "worker"));
  session.flush();
  sink.take();
  if (session instanceof ClientSession) one.opens.forEach((line, index) => open(session, line, index + 1, recorder));
  session.flush();
  sink.take();
  for (const chunk of chunks) session.receive(Buffer.from(chunk));
  session.flush();
  return { link, events: recorder.all(), sent: sentFrames(sink.bytes) };
}

function handlerOf(kind: string, recorder: Recorder): ExchangeHandler {
  return (exchange) => {
    const { head } = exchange;
    // The stream id is not part of the contract: the corpus names streams in their order of opening.
    const { id } = exchange as unknown as { id: number };
    const facts = `${head.method} ${head.target} http/${head.version} ${head.scheme} ${head.authority} ${head.bodyLength}`;
    recorder.say(`request ${id} ${facts} ${showFields(head.headers)}`);
    exchange.observer = {
      onData(chunk) {
        recorder.data(id, chunk);
        if (kind === "tunnel") exchange.write(chunk);
      },
      onEnd(trailers) {
        recorder.say(`end ${id} ${showFields(trailers)}`);
        if (kind === "tunnel") exchange.end();
      },
      onDrain: () => recorder.say(`drain ${id}`),
      onFinish: () => recorder.say(`finish ${id}`),
      onAbort: (reason) => recorder.say(`abort ${id} ${reason}`),
    };
    if (kind === "hello") exchange.respond(200, ["content-type", "text/plain"], "hello");
    if (kind === "tunnel") exchange.upgrade(head.method === "CONNECT" ? 200 : 101, []);
    if (kind !== "paused") exchange.resume();
  };
}

function open(session: ClientSession, line: string, id: number, recorder: Recorder): void {
  const [method, target] = line.split(" ") as [string, string];
  const request = requestOf({
    method: method === "UPGRADE" ? "GET" : method,
    target,
    headers: ["Host", "example.com"],
    upgrade: method === "UPGRADE" ? "websocket" : undefined,
  });
  session.open(request, null, true, {
    onInform: (status, headers) => recorder.say(`inform ${id} ${status} ${showFields(headers)}`),
    onResponse(status, headers, body, complete) {
      const shown = body === null ? "" : Buffer.from(body).toString("hex");
      recorder.say(`response ${id} ${status} ${complete ? "complete" : "open"} ${showFields(headers)} ${shown}`);
    },
    onData: (chunk) => recorder.data(id, chunk),
    onEnd: (trailers) => recorder.say(`end ${id} ${showFields(trailers)}`),
    onDrain: () => recorder.say(`drain ${id}`),
    onReset: ({ code, refused, phase }) =>
      recorder.say(`reset ${id} ${code} ${refused ? "refused" : "processed"} ${phase}`),
  });
}

const TYPE_NAMES = new Map<number, string>(Object.entries(FRAME).map(([name, type]) => [type, name]));

/** Frames in the notation of the corpus; DATA of one stream is one however it was divided. */
function sentFrames(bytes: Buffer): string[] {
  const frames: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = readU24(bytes, at);
    const type = bytes[at + 3]!;
    const stream = readU32(bytes, at + 5);
    const payload = bytes.subarray(at + 9, at + 9 + length);
    let line = `${TYPE_NAMES.get(type)} ${stream}`;
    if (type === FRAME.RESET) line += ` ${resetName(readU16(payload, 0))}`;
    if (type === FRAME.CLOSE) line += ` ${closeName(readU16(payload, 4))}`;
    const repeated = type === FRAME.DATA && frames.at(-1) === line;
    const empty = type === FRAME.END && (bytes[at + 4]! & FLAG.END) !== 0 && length === 0;
    if (type !== FRAME.WINDOW && type !== FRAME.AUTH && !repeated && !empty) frames.push(line);
    at += 9 + length;
  }
  return frames;
}

/** Cuts bytes at the given places. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let from = 0;
  for (const place of [...new Set(places)].toSorted((a, b) => a - b)) {
    if (place > from && place < bytes.length) {
      chunks.push(bytes.subarray(from, place));
      from = place;
    }
  }
  chunks.push(bytes.subarray(from));
  return chunks;
}

const names = readdirSync(folder).filter((name) => name.endsWith(".link"));

test("the corpus is there, and no file lacks an expectation", () => {
  expect(names.length).toBeGreaterThan(130);
  for (const name of names) {
    const one = parse(readFileSync(new URL(name, folder), "utf8"));
    expect(["worker", "proxy"], name).toContain(one.to);
    expect(["handshake", "nothing", "secret"], name).toContain(one.before);
    expect(one.link, name).toMatch(/^(open|closed( [a-z-]+)?)$/);
    expect(one.bytes.length, name).toBeGreaterThan(0);
  }
});

describe.each(names)("%s", (name) => {
  const one = parse(readFileSync(new URL(name, folder), "utf8"));
  const expected = { link: one.link, events: one.events.map((line) => line.replace(/ +$/, "")), sent: one.sent };

  test("whole", () => {
    expect(replay(one, [one.bytes])).toEqual(expected);
  });

  test("byte by byte", () => {
    const bytes = [...one.bytes].map((byte) => Uint8Array.of(byte));
    expect(replay(one, bytes)).toEqual(expected);
  });

  test("in random chunks", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: one.bytes.length }), { maxLength: 12 }), (places) => {
        expect(replay(one, cut(one.bytes, places))).toEqual(expected);
      }),
      { numRuns: 25 },
    );
  });
});
