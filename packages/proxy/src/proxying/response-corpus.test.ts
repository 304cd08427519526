/**
 * The corpus of responses (`test/corpus/http1`, see its README), sent by a server to a client through the front: what
 * is valid arrives as it was meant, what is not never looks like a whole message.
 */
import { readFileSync, readdirSync } from "node:fs";
import net from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DATA, DEFAULT_LIMITS, END, FAILED, HEAD, type MessageLimits, NEED_MORE, ResponseParser } from "@portico/http1";
import { type Front, Stage } from "./test-front.ts";

const CORPUS = new URL("../../../../test/corpus/http1/", import.meta.url);
/** The front takes larger heads from servers than the engine's defaults; `hostile.test.ts` has its limits to the byte. */
const WITHIN_OUR_LIMITS = /^limit-(?:field|field-count|header)--(?:8193|name|101|32769)$/;
/** Belong to the connection, or frame the message anew. */
const OURS = /^(?:connection|keep-alive|content-length|transfer-encoding|trailer|upgrade|date)$/i;

/** The front adds a few fields of its own. */
const LIMITS: MessageLimits = { ...DEFAULT_LIMITS, header: 65_536, fields: 200 };

interface Message {
  readonly status: number;
  readonly headers: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
}
interface Case {
  readonly name: string;
  readonly bytes: Buffer;
  readonly method: string;
  /** What a reader makes of it; empty where it is invalid. */
  readonly messages: readonly Message[];
}
interface Expectation {
  readonly requests?: readonly { readonly method: string; readonly upgrade?: boolean }[];
  readonly messages?: readonly Message[];
}

/** The cases that one ordinary request can bring about. */
function cases(folder: string): Case[] {
  const files = new Set(readdirSync(new URL(folder, CORPUS)));
  const found: Case[] = [];
  for (const file of files) {
    if (!file.endsWith(".http")) continue;
    const name = file.slice(0, -".http".length);
    const beside = files.has(`${name}.json`) ? readFileSync(new URL(`${folder}/${name}.json`, CORPUS), "utf8") : "{}";
    const { requests = [{ method: "GET" }], messages = [] } = JSON.parse(beside) as Expectation;
    const [request] = requests;
    if (requests.length > 1 || request!.method === "CONNECT" || request!.upgrade === true) continue;
    found.push({ name, bytes: readFileSync(new URL(`${folder}/${file}`, CORPUS)), method: request!.method, messages });
  }
  return found;
}

const valid = cases("response-valid");
const invalid = cases("response-invalid").filter(({ name }) => !WITHIN_OUR_LIMITS.test(name));

let stage: Stage;
let front: Front;

/** A server that answers `/folder/name` with that file, and closes. */
beforeAll(async () => {
  stage = new Stage();
  const backend = await stage.rawBackend((socket) => {
    socket.once("data", (head: Buffer) => {
      const [, folder, name] = /^\S+ \/([^/]+)\/(\S+)/.exec(head.toString("latin1"))!;
      const all = folder === "response-valid" ? valid : invalid;
      socket.end(all.find((each) => each.name === decodeURIComponent(name!))!.bytes);
    });
  });
  front = await stage.front({ servers: [backend.address] });
});
afterAll(() => stage.close());

/** Everything that the client gets. */
async function received(folder: string, { name, method }: Case): Promise<Buffer> {
  const socket = net.connect(front.port, "127.0.0.1");
  const parts: Buffer[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("data", (part: Buffer) => parts.push(part));
  socket.on("error", () => {});
  socket.on("close", () => resolve());
  const fields = "Host: a\r\nTE: trailers\r\nConnection: close\r\n";
  socket.write(`${method} /${folder}/${encodeURIComponent(name)} HTTP/1.1\r\n${fields}\r\n`);
  await promise;
  return Buffer.concat(parts);
}

interface Read {
  readonly messages: Message[];
  /** Whether a final response has its end, and nothing follows it. */
  readonly whole: boolean;
}

function read(bytes: Buffer, method: string): Read {
  const parser = new ResponseParser(LIMITS);
  parser.expect({ method });
  parser.feed(bytes);
  const messages: Message[] = [];
  let parts: Buffer[] = [];
  let head = { status: 0, headers: [] as string[] };
  for (let event = parser.next(); ; event = parser.next()) {
    if (event === NEED_MORE) {
      if (!parser.inMessage) return { messages, whole: messages.length > 0 && messages.at(-1)!.status >= 200 };
      event = parser.finish();
    }
    if (event === HEAD) head = { status: parser.status, headers: parser.headers };
    else if (event === DATA) parts.push(parser.data);
    else if (event === END) {
      messages.push({ ...head, body: Buffer.concat(parts).toString("latin1"), trailers: parser.trailers });
      parts = [];
    } else if (event === FAILED) return { messages, whole: false };
  }
}

const endToEnd = (headers: readonly string[]): string[] =>
  headers.filter((_each, at) => !OURS.test(headers[at - (at % 2)]!));

describe("a server's response", () => {
  it("is one of many", () => {
    expect(valid.length).toBeGreaterThan(40);
    expect(invalid.length).toBeGreaterThan(260);
  });

  it.each(valid)("$name arrives", async (each) => {
    const { messages, whole } = read(await received("response-valid", each), each.method);
    expect(whole).toBe(true);
    // 100 is between neighbours: the front answers it itself.
    const expected = each.messages.filter(({ status }) => status !== 100);
    expect(messages.map(({ status }) => status)).toEqual(expected.map(({ status }) => status));
    for (const [at, message] of messages.entries()) {
      expect(message.body).toBe(expected[at]!.body);
      expect(endToEnd(message.headers)).toEqual(expect.arrayContaining(endToEnd(expected[at]!.headers)));
    }
  });

  it.each(invalid)("$name does not", async (each) => {
    const { messages, whole } = read(await received("response-invalid", each), each.method);
    const final = messages.filter(({ status }) => status >= 200);
    if (each.name.startsWith("rfc9112-6.3-excess-data--")) {
      // The message itself was whole; what stood behind it must be gone.
      expect(final).toHaveLength(1);
      expect(final[0]!.body).toMatch(/^(?:ok)?$/);
    } else if (whole) expect(final.map(({ status }) => status)).toEqual([502]);
    else expect(final).toEqual([]);
    expect(front.upstream.status().servers[0]!.inFlight).toBe(0);
  });
});
