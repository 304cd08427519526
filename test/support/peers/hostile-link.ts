/**
 * A worker's end of the link that sends whatever it likes: its HELLO is right, and what it answers to the first request
 * is up to the case. Every further request it answers well.
 */
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { acceptLink } from "@portico/link/socket";

/** Types and flags of frames (docs/spec/link.md §3.4); only what is sent or looked for here. */
const HELLO = 0x01;
const REQUEST = 0x10;
const RESPONSE = 0x11;
const DATA = 0x13;
const END = 0x14;
const WITH_END = 0x01;
/** Length (3 bytes), type, flags, stream (4). */
const HEADER_BYTES = 9;

/** What the client of the front must get. */
export interface LinkCase {
  readonly name: string;
  /** Asks for an upgrade. */
  readonly upgrade: boolean;
  /** A status, `cut`: begun and broken off, or `tunnel`. */
  readonly outcome: number | "cut" | "tunnel";
  /** In answer to the first request, on that stream. */
  readonly bytes: (stream: number) => Buffer;
  readonly method?: string;
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** RESPONSE: the status, a list of strings (their number, their lengths, their characters), and the body. */
function response(status: number, fields: readonly string[], body: string, flags: number, stream: number): Buffer {
  const lengths = Buffer.alloc(4 + 2 * fields.length);
  lengths.writeUInt16BE(status, 0);
  lengths.writeUInt16BE(fields.length, 2);
  for (const [index, text] of fields.entries()) lengths.writeUInt16BE(text.length, 4 + 2 * index);
  return frame(RESPONSE, flags, stream, Buffer.concat([lengths, Buffer.from(fields.join("") + body, "latin1")]));
}

const whole =
  (status: number, fields: readonly string[], body = "") =>
  (stream: number) =>
    response(status, fields, body, WITH_END, stream);
const open =
  (fields: readonly string[], ...parts: readonly string[]) =>
  (stream: number) =>
    Buffer.concat([
      response(200, fields, "", 0, stream),
      ...parts.map((part) => frame(DATA, 0, stream, Buffer.from(part, "latin1"))),
      frame(END, 0, stream, Buffer.alloc(0)),
    ]);

/** What is well-formed on the link, and would be a wrong message behind it. */
const responses: readonly LinkCase[] = [
  ["splitting-in-a-value", 502, whole(200, ["X-A", "b\r\nSet-Cookie: c"], "ok")],
  ["splitting-in-a-name", 502, whole(200, ["X-A: b\r\nSet-Cookie", "c"], "ok")],
  ["splitting-a-whole-response", 502, whole(200, ["X-A", "b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"])],
  ["bare-lf-in-a-value", 502, whole(200, ["X-A", "b\nSet-Cookie: c"], "ok")],
  ["nul-in-a-value", 502, whole(200, ["X-A", "b\0c"], "ok")],
  ["empty-name", 502, whole(200, ["", "b"], "ok")],
  ["space-in-a-name", 502, whole(200, ["X A", "b"], "ok")],
  ["high-byte-in-a-name", 502, whole(200, ["X\xe9", "b"], "ok")],
  ["length-too-long", 502, whole(200, ["Content-Length", "9"], "ok")],
  ["length-too-short", 502, whole(200, ["Content-Length", "1"], "ok")],
  ["length-twice", 502, whole(200, ["Content-Length", "2", "Content-Length", "2"], "ok")],
  ["length-list", 502, whole(200, ["Content-Length", "2, 2"], "ok")],
  ["length-negative", 502, whole(200, ["Content-Length", "-2"], "ok")],
  ["length-sign", 502, whole(200, ["Content-Length", "+2"], "ok")],
  ["length-then-fewer-bytes", "cut", open(["Content-Length", "9"], "ok")],
  ["length-then-more-bytes", "cut", open(["Content-Length", "3"], "ok", "okay")],
  ["status-600", 502, whole(600, [], "ok")],
  ["status-101-whole", 502, whole(101, [], "")],
  ["coding-of-its-own", 200, whole(200, ["Transfer-Encoding", "chunked"], "ok")],
  ["connection-of-its-own", 200, whole(200, ["Connection", "X-A", "X-A", "1"], "ok")],
  ["body-with-204", 204, whole(204, [], "evil")],
  ["body-with-304", 304, whole(304, [], "evil")],
].map(([name, outcome, bytes]) => ({ name, outcome, bytes, upgrade: false }) as LinkCase); // prettier-ignore

/** The frames of the corpus that answer one request after a handshake. */
function corpusCases(): LinkCase[] {
  const folder = join(import.meta.dirname, "../../corpus/link");
  const found: LinkCase[] = [];
  for (const file of readdirSync(folder)) {
    const text = readFileSync(join(folder, file), "utf8");
    const gap = text.indexOf("\n\n");
    const lines = text.slice(0, gap).split("\n");
    const opened = lines.filter((line) => line.startsWith("open: "));
    if (!file.startsWith("proxy-") || !lines.includes("before: handshake") || opened.length !== 1) continue;
    if (opened[0]!.startsWith("open: CONNECT")) continue;
    const bytes = readHex(text.slice(gap));
    const upgrade = opened[0]!.startsWith("open: UPGRADE");
    found.push({ name: file.replace(".link", ""), upgrade, outcome: outcomeOf(lines), bytes: () => bytes });
  }
  return found;
}

/** What the events that the corpus expects of a session come to for a client of a front. */
function outcomeOf(lines: readonly string[]): LinkCase["outcome"] {
  const events = lines.filter((line) => line.startsWith("event: ")).map((line) => line.slice("event: ".length));
  const begun = events.map((event) => /^response \d+ (\d+) (\w+)/.exec(event)).find((match) => match !== null);
  const reset = events.map((event) => /^reset \d+ (\w+)/.exec(event)?.[1]).find((code) => code !== undefined);
  if (begun === undefined) return reset === "refused" ? 200 : 502; // what was refused is sent again
  const status = Number(begun[1]);
  if (status === 101) return "tunnel";
  if (status > 599) return 502;
  return begun[2] === "complete" || events.some((event) => event.startsWith("end ")) ? status : "cut";
}

function readHex(text: string): Buffer {
  const parts = text.split("\n").map((line) => {
    const bare = line.replace(/#.*/, "").trim();
    const [repeated, times] = bare.split(" * ");
    if (times !== undefined) return Buffer.alloc(Number(times), Number.parseInt(repeated!, 16));
    return Buffer.from(bare.replaceAll(" ", ""), "hex");
  });
  return Buffer.concat(parts);
}

export const linkCases: readonly LinkCase[] = [...corpusCases(), ...responses];

/** The HELLO of a real worker, as it stands on the wire. */
async function captureHello(path: string): Promise<Buffer> {
  const server = createServer((socket) => {
    acceptLink(socket, () => {}, { worker: { id: 1, generation: 1, count: 1, concurrency: 8 } });
  });
  server.listen(path);
  await once(server, "listening");
  const socket = connect(path);
  let bytes = Buffer.alloc(0);
  for await (const chunk of socket) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    if (bytes.length >= HEADER_BYTES && bytes.length >= HEADER_BYTES + bytes.readUIntBE(0, 3)) break;
  }
  socket.destroy();
  server.close();
  const hello = bytes.subarray(0, HEADER_BYTES + bytes.readUIntBE(0, 3));
  if (hello[3] !== HELLO) throw new TypeError("a worker did not begin with HELLO");
  return hello;
}

export class HostileWorker implements AsyncDisposable {
  readonly #case: LinkCase;
  readonly #hello: Buffer;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #requests = 0;

  private constructor(each: LinkCase, hello: Buffer) {
    this.#case = each;
    this.#hello = hello;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** One worker for each case, on `FOLDER/NUMBER.sock`. */
  static async startAll(folder: string, cases: readonly LinkCase[]): Promise<HostileWorker[]> {
    const hello = await captureHello(join(folder, "hello.sock"));
    return Promise.all(
      cases.map(async (each, number) => {
        const worker = new HostileWorker(each, hello);
        worker.#server.listen(join(folder, `${number}.sock`));
        await once(worker.#server, "listening");
        return worker;
      }),
    );
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    let bytes = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
    socket.write(this.#hello);
    socket.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      while (bytes.length >= HEADER_BYTES && bytes.length >= HEADER_BYTES + bytes.readUIntBE(0, 3)) {
        const [type, stream] = [bytes[3], bytes.readUInt32BE(5)];
        bytes = bytes.subarray(HEADER_BYTES + bytes.readUIntBE(0, 3));
        if (type !== REQUEST) continue;
        socket.write(this.#requests++ === 0 ? this.#case.bytes(stream) : whole(200, [], "good")(stream));
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
