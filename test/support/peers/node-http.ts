/** What node:http's strict parser reads, without a socket between: as fast as the parser itself, and in the same turn. */
import { createServer, type IncomingMessage } from "node:http";
import { Duplex } from "node:stream";
import { setImmediate } from "node:timers/promises";
import type { Reading } from "./reading.ts";

export interface NodeReading extends Reading {
  readonly trailers: readonly string[];
}

export interface NodeVerdict {
  readonly messages: readonly NodeReading[];
  /** Code of the parser's error (`HPE_…`), or undefined. */
  readonly error: string | undefined;
}

/** The server's side of a connection that exists in memory only. */
class Wire extends Duplex {
  readonly requests: { request: IncomingMessage; parts: Buffer[] }[] = [];
  error: string | undefined;
  override _read(): void {}
  override _write(_chunk: unknown, _encoding: unknown, done: () => void): void {
    done();
  }
  setTimeout(): this {
    return this;
  }
}

/** Larger than any limit of ours, so that none of its own is in the way. */
const MAX_HEADER_BYTES = 256 * 1024;

const server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, headersTimeout: 0, requestTimeout: 0 }, (request) => {
  const parts: Buffer[] = [];
  (request.socket as unknown as Wire).requests.push({ request, parts });
  request.on("data", (part: Buffer) => parts.push(part));
  request.on("error", () => {});
});
server.maxHeadersCount = 0;
// What it thinks of an expectation is its handlers' business: what was read counts.
for (const expectation of ["checkContinue", "checkExpectation"]) {
  server.on(expectation, (request: IncomingMessage, response) => void server.emit("request", request, response));
}
server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
  (socket as unknown as Wire).error = error.code ?? error.message;
});

export async function readByNode(pieces: readonly Buffer[]): Promise<NodeVerdict> {
  const wire = new Wire();
  server.emit("connection", wire);
  for (const piece of pieces) wire.push(piece);
  // One turn for the stream to hand everything to the parser, one for the bodies to flow.
  await setImmediate();
  await setImmediate();
  const messages = wire.requests
    .filter(({ request }) => request.complete)
    .map(({ request, parts }) => ({
      method: request.method!,
      target: request.url!,
      fields: request.rawHeaders,
      body: Buffer.concat(parts).toString("latin1"),
      trailers: request.rawTrailers,
    }));
  const { error } = wire;
  wire.destroy();
  return { messages, error };
}
