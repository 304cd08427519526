import { createHash, randomBytes } from "node:crypto";
import { Duplex } from "node:stream";
import type { Logger, UpgradeOptions, UpgradeRequest } from "../context.ts";
import { PorticoGatewayError } from "../errors.ts";
import type { Exchange, HeaderList } from "../exchange.ts";
import { checkFields } from "./fields.ts";
import { headerOf } from "../header-of.ts";
import { type TunnelEnd, UpgradeTicket } from "./upgrade.ts";

/** RFC 6455 §1.3. */
const WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** Bytes of a response head written by the application; more is no head. Node's own limit. */
const HEAD_LIMIT = 16_384;

/** Connection-level fields of a head that an application wrote itself: the transport writes its own. */
const TRANSPORT_FIELDS = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
]);

/**
 * The raw bytes of an upgraded exchange as a Node stream, with as much of a socket's manner as protocol libraries ask for.
 *
 * With the application's handshake it holds back what is written until that is a whole HTTP/1.1 head, and answers the exchange with it.
 */
class Tunnel extends Duplex implements TunnelEnd {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly encrypted: boolean;
  readonly #exchange: Exchange;
  /** The head written so far, as latin1; undefined once the tunnel stands. */
  #head: string | undefined;
  /** The response that denied: bytes written from then on are its body. */
  #denied = false;
  #waiting: (() => void) | undefined;

  constructor(exchange: Exchange, writesHead: boolean) {
    super({ allowHalfOpen: true });
    this.#exchange = exchange;
    this.#head = writesHead ? "" : undefined;
    this.remoteAddress = exchange.facts.client.address;
    this.remotePort = exchange.facts.client.port;
    this.encrypted = exchange.head.scheme === "https";
  }

  /** Like a socket's, for libraries that set it; the transport has its own limits. */
  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  receive(chunk: Uint8Array): void {
    if (this.destroyed || this.readableEnded) return;
    if (!this.push(chunk)) this.#exchange.pause();
  }

  receiveEnd(): void {
    if (!this.destroyed) this.push(null);
  }

  drain(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }

  /** The exchange is over. A peer that left is no error of the application: `ctx.signal` says why. */
  abandon(): void {
    this.drain();
    this.destroy();
  }

  override _read(): void {
    // Before the tunnel stands, what flows would be the body of the request.
    if (this.#head === undefined && !this.#denied) this.#exchange.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    let rest: Uint8Array = chunk;
    if (this.#head !== undefined) {
      const split = this.#collectHead(chunk);
      if (split instanceof PorticoGatewayError) return done(split);
      if (split === undefined) return done();
      rest = split;
    }
    if (rest.length === 0 || this.#exchange.ended || this.#exchange.write(rest)) done();
    else this.#waiting = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#head !== undefined) this.#exchange.abort("reset");
    else this.#exchange.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#exchange.ended && !this.writableFinished) this.#exchange.abort("reset");
    done(error);
  }

  /** Takes bytes of a head; gives what followed it once it is whole. */
  #collectHead(chunk: Buffer): Uint8Array | PorticoGatewayError | undefined {
    const before = (this.#head as string).length;
    this.#head += chunk.toString("latin1");
    const end = (this.#head as string).indexOf("\r\n\r\n");
    if (end === -1) {
      return before + chunk.length > HEAD_LIMIT
        ? new PorticoGatewayError("BAD_RESPONSE", "What was written is not an HTTP/1.1 head")
        : undefined;
    }
    const head = (this.#head as string).slice(0, end);
    this.#head = undefined;
    try {
      this.#answer(head);
    } catch (error) {
      return error instanceof PorticoGatewayError
        ? error
        : new PorticoGatewayError("BAD_RESPONSE", "The head was refused", { cause: error });
    }
    return chunk.subarray(end + 4 - before);
  }

  #answer(head: string): void {
    const [line = "", ...rows] = head.split("\r\n");
    const status = Number(/^HTTP\/1\.1 (\d{3})(?: |$)/.exec(line)?.[1]);
    if (Number.isNaN(status))
      throw new PorticoGatewayError("BAD_RESPONSE", `Not a status line: ${JSON.stringify(line)}`);
    const fields: [string, string][] = [];
    for (const row of rows) {
      const colon = row.indexOf(":");
      const name = row.slice(0, colon);
      if (!TRANSPORT_FIELDS.has(name.toLowerCase())) fields.push([name, row.slice(colon + 1).trim()]);
    }
    const { list } = checkFields(fields);
    if (status !== 101) {
      this.#denied = true;
      this.#exchange.start(status, list);
      return;
    }
    acceptUpgrade(this.#exchange, list);
    this.#exchange.resume();
  }
}

/** A ticket whose tunnel is a Node stream. */
export class StreamTicket extends UpgradeTicket {
  readonly #exchange: Exchange;
  readonly #open: (tunnel: Duplex, request: UpgradeRequest) => void;
  readonly #fields: HeaderList;
  readonly #log: Logger;
  readonly #tunnel: Tunnel;
  readonly #byHost: boolean;

  constructor(
    exchange: Exchange,
    open: (tunnel: Duplex, request: UpgradeRequest) => void,
    options: UpgradeOptions,
    log: Logger,
  ) {
    super();
    this.#exchange = exchange;
    this.#open = open;
    this.#fields = checkFields(options.headers).list;
    this.#log = log;
    this.#byHost = options.handshake !== "application";
    this.#tunnel = new Tunnel(exchange, !this.#byHost);
  }

  get tunnel(): Tunnel {
    return this.#tunnel;
  }

  accept(): void {
    const exchange = this.#exchange;
    const tunnel = this.#tunnel;
    if (this.#byHost) {
      const key = headerOf(exchange.head.headers, "sec-websocket-key");
      const accept =
        exchange.head.upgrade === "websocket" && key !== undefined ? ["sec-websocket-accept", acceptOf(key)] : [];
      acceptUpgrade(exchange, [...accept, ...this.#fields]);
    }
    try {
      this.#open(tunnel, upgradeRequestOf(exchange, tunnel));
    } catch (error) {
      this.#log.error({ err: error, id: exchange.facts.id }, "The function given to ctx.upgrade threw");
      tunnel.destroy();
    }
  }
}

/** 101 over HTTP/1.1; over HTTP/2 a 200 to the extended CONNECT, without the key that HTTP/1.1 needs (RFC 8441 §5). */
function acceptUpgrade(exchange: Exchange, fields: HeaderList): void {
  if (exchange.head.version !== "2") return exchange.upgrade(101, fields);
  const kept: HeaderList = [];
  for (let at = 0; at < fields.length; at += 2) {
    if (fields[at]?.toLowerCase() !== "sec-websocket-accept") kept.push(fields[at] as string, fields[at + 1] as string);
  }
  exchange.upgrade(200, kept);
}

function acceptOf(key: string): string {
  return createHash("sha1")
    .update(key + WEBSOCKET_GUID)
    .digest("base64");
}

function upgradeRequestOf(exchange: Exchange, socket: Duplex): UpgradeRequest {
  const { head } = exchange;
  const headers: Record<string, string> = Object.create(null) as Record<string, string>;
  for (let at = 0; at < head.headers.length; at += 2) {
    const name = (head.headers[at] as string).toLowerCase();
    const value = head.headers[at + 1] as string;
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  headers["upgrade"] ??= head.upgrade ?? "";
  headers["connection"] ??= "upgrade";
  // An extended CONNECT has no key, for nothing hangs on it; libraries made for HTTP/1.1 insist on one.
  if (head.version === "2") headers["sec-websocket-key"] ??= randomBytes(16).toString("base64");
  return {
    method: head.method === "CONNECT" ? "GET" : head.method,
    url: head.target,
    httpVersion: head.version === "2" ? "1.1" : head.version,
    headers,
    rawHeaders: [...head.headers],
    socket,
  };
}
