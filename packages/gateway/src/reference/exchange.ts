import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { PorticoGatewayError } from "../errors.ts";
import type {
  AbortReason,
  ClientFacts,
  Endpoint,
  Exchange,
  ExchangeFacts,
  ExchangeObserver,
  HeaderList,
  RequestHead,
  TlsFacts,
  WholeBody,
} from "../exchange.ts";

/** An `Expect: 100-continue` that node:http left to us. */
type ContinueSender = (() => void) | undefined;

/** Everything a request of node:http says of itself, in the words of an exchange. */
class NodeHead implements RequestHead {
  readonly method: string;
  readonly scheme = "http";
  readonly authority: string;
  readonly target: string;
  readonly version: "1.0" | "1.1";
  readonly headers: HeaderList;
  readonly bodyLength: number;
  readonly upgrade: string | undefined;

  constructor(request: IncomingMessage) {
    const absolute = /^https?:\/\/([^/?#]*)(.*)$/i.exec(request.url ?? "/");
    const rest = absolute?.[2] ?? request.url ?? "/";
    this.method = request.method ?? "GET";
    this.authority = absolute?.[1] ?? request.headers.host ?? "";
    this.target = absolute !== null && !rest.startsWith("/") ? `/${rest}` : rest;
    this.version = request.httpVersion === "1.0" ? "1.0" : "1.1";
    this.headers = request.rawHeaders;
    const length = request.headers["content-length"];
    if (request.headers["transfer-encoding"] !== undefined) this.bodyLength = -1;
    else this.bodyLength = length === undefined ? 0 : Number(length);
    this.upgrade = upgradeOf(request);
  }
}

function upgradeOf(request: IncomingMessage): string | undefined {
  const connection = request.headers.connection ?? "";
  if (request.headers.upgrade === undefined || !/(?:^|,)\s*upgrade\s*(?:,|$)/i.test(connection)) return undefined;
  return request.headers.upgrade.toLowerCase();
}

class NodeFacts implements ExchangeFacts {
  readonly id: string = randomUUID();
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
  readonly peer: Endpoint;
  readonly local: Endpoint;
  readonly client: ClientFacts;
  readonly tls: TlsFacts | undefined = undefined;
  readonly receivedAt: number = Date.now();
  readonly queuedMs = 0;
  readonly deadline: number | undefined = undefined;

  constructor(request: IncomingMessage) {
    const { traceparent, tracestate } = request.headers;
    const valid =
      typeof traceparent === "string" && /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/.test(traceparent);
    this.traceparent = valid ? traceparent : undefined;
    this.tracestate = valid && typeof tracestate === "string" ? tracestate : undefined;
    const { socket } = request;
    this.peer = { address: socket.remoteAddress ?? "", port: socket.remotePort ?? 0 };
    this.local = { address: socket.localAddress ?? "", port: socket.localPort ?? 0 };
    this.client = { ...this.peer, vouchedBy: "socket" };
  }
}

/** What node:http gives and takes, as an exchange. Nobody is trusted: the client is the peer. */
export class NodeExchange implements Exchange {
  readonly head: RequestHead;
  readonly facts: ExchangeFacts;
  observer: ExchangeObserver | undefined;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  #continue: ContinueSender;
  #started = false;
  #ended = false;
  #reading = false;
  #bodyDone = false;
  /** The socket, once it is a tunnel. */
  #tunnel: Socket | undefined;

  constructor(request: IncomingMessage, response: ServerResponse, sendContinue: ContinueSender) {
    this.head = new NodeHead(request);
    this.facts = new NodeFacts(request);
    this.#request = request;
    this.#response = response;
    this.#continue = sendContinue;
    response.on("drain", () => this.observer?.onDrain());
    response.on("finish", () => this.#finish());
    response.on("close", () => this.#lose("client-disconnected"));
    request.on("error", () => this.#lose("client-disconnected"));
  }

  get started(): boolean {
    return this.#started;
  }

  get ended(): boolean {
    return this.#ended;
  }

  resume(): void {
    if (this.#ended) return;
    if (this.#tunnel !== undefined) return void this.#tunnel.resume();
    this.#continue?.();
    this.#continue = undefined;
    if (this.#reading) return void this.#request.resume();
    this.#reading = true;
    this.#request.on("data", (chunk: Uint8Array) => this.observer?.onData(chunk));
    this.#request.on("end", () => {
      this.#bodyDone = true;
      if (!this.#ended) this.observer?.onEnd(this.#request.rawTrailers);
    });
  }

  pause(): void {
    if (this.#tunnel !== undefined) this.#tunnel.pause();
    else if (this.#reading && !this.#bodyDone) this.#request.pause();
  }

  inform(status: number, headers: HeaderList): void {
    if (this.#ended || this.head.version === "1.0") return;
    this.#refuseIf(this.#started, "inform after the response was begun");
    // node:http has no call for 1xx of any kind with fields in order; 103 has one, and this server sends no other.
    if (status === 103) this.#response.writeEarlyHints(groupedFields(headers));
  }

  respond(status: number, headers: HeaderList, body: WholeBody): void {
    if (this.#ended) return;
    this.#begin(status, headers, body === null ? 0 : Buffer.byteLength(body));
    this.#response.end(body ?? undefined);
  }

  start(status: number, headers: HeaderList): void {
    if (this.#ended) return;
    this.#begin(status, headers, undefined);
    this.#response.flushHeaders();
  }

  write(chunk: Uint8Array | string): boolean {
    if (this.#ended) return false;
    this.#refuseIf(!this.#started, "write before the response was begun");
    return this.#tunnel === undefined ? this.#response.write(chunk) : this.#tunnel.write(chunk);
  }

  end(trailers: HeaderList = []): void {
    if (this.#ended) return;
    this.#refuseIf(!this.#started, "end before the response was begun");
    if (this.#tunnel !== undefined) return void this.#tunnel.end();
    if (trailers.length > 0 && this.#response.chunkedEncoding) this.#response.addTrailers(pairs(trailers));
    this.#response.end();
  }

  upgrade(status: number, headers: HeaderList): void {
    if (this.#ended) return;
    this.#refuseIf(this.#started, "upgrade after the response was begun");
    this.#refuseIf(this.head.upgrade === undefined || status !== 101, "upgrade that was not asked for");
    this.#started = true;
    const { socket } = this.#request;
    this.#response.detachSocket(socket);
    this.#tunnel = socket;
    const lines = pairs(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${this.head.upgrade}\r\n${lines.join("")}\r\n`,
      "latin1",
    );
    socket.on("data", (chunk: Uint8Array) => this.observer?.onData(chunk));
    socket.on("end", () => this.#ended || this.observer?.onEnd([]));
    socket.on("drain", () => this.observer?.onDrain());
    socket.on("close", () => this.#closeTunnel(socket));
    socket.on("error", () => this.#lose("client-disconnected"));
    socket.pause();
  }

  abort(reason: AbortReason): void {
    if (this.#ended) return;
    this.#request.destroy();
    this.#tunnel?.destroy();
    this.#lose(reason);
  }

  /** Bytes that came after the head of an upgrade, before anybody listened. */
  unshift(early: Buffer): void {
    if (early.length > 0) this.#request.socket.unshift(early);
  }

  #begin(status: number, headers: HeaderList, length: number | undefined): void {
    this.#refuseIf(this.#started, "a second response");
    const response = this.#response;
    const list: [string, string][] = pairs(headers);
    const named = list.some(([name]) => name.toLowerCase() === "content-length");
    const counts = length !== undefined && this.head.method !== "HEAD" && status !== 204 && status !== 304;
    if (!named && counts) list.push(["content-length", String(length)]);
    this.#started = true;
    response.sendDate = !list.some(([name]) => name.toLowerCase() === "date");
    try {
      // Grouped, as node:http joins repeated names of a flat list only when it is given objects.
      for (const [name, value] of Object.entries(groupedFields(list.flat()))) response.setHeader(name, value);
      response.writeHead(status);
    } catch (error) {
      this.#started = false;
      for (const name of response.getHeaderNames()) response.removeHeader(name);
      throw new PorticoGatewayError("BAD_FIELD", "node:http refused the head of the response", { cause: error });
    }
  }

  #closeTunnel(socket: Socket): void {
    if (socket.readableEnded && socket.writableFinished) this.#finish();
    else this.#lose("client-disconnected");
  }

  #finish(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (!this.#bodyDone) this.#request.resume();
    this.observer?.onFinish();
  }

  #lose(reason: AbortReason): void {
    if (this.#ended) return;
    this.#ended = true;
    this.observer?.onAbort(reason);
  }

  #refuseIf(wrong: boolean, what: string): void {
    if (wrong) throw new PorticoGatewayError("TOO_LATE", `Out of order: ${what}`);
  }
}

function pairs(list: Readonly<HeaderList>): [string, string][] {
  const result: [string, string][] = [];
  for (let at = 0; at < list.length; at += 2) result.push([list[at] as string, list[at + 1] as string]);
  return result;
}

/** Values under the spelling of the first of each name. */
function groupedFields(list: Readonly<HeaderList>): Record<string, string[]> {
  const spelling = new Map<string, string>();
  const grouped: Record<string, string[]> = {};
  for (const [name, value] of pairs(list)) {
    const first = spelling.get(name.toLowerCase());
    if (first === undefined) {
      spelling.set(name.toLowerCase(), name);
      grouped[name] = [value];
    } else grouped[first]?.push(value);
  }
  return grouped;
}
