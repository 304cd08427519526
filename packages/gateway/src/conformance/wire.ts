import { connect, type Socket } from "node:net";
import { PorticoGatewayError } from "../errors.ts";

/** Longest wait for anything on the wire, milliseconds: far above what a working server needs, below the patience of a test runner. */
const PATIENCE_MS = 5_000;

/** A response as it was on the wire. */
export interface WireResponse {
  readonly status: number;
  readonly fields: readonly (readonly [string, string])[];
  readonly body: Buffer;
  readonly trailers: readonly (readonly [string, string])[];
  /** Heads of the interim responses before it. */
  readonly interim: readonly { readonly status: number; readonly fields: readonly (readonly [string, string])[] }[];
  /** False where the connection ended before the framing said so. */
  readonly complete: boolean;
}

/** The smallest HTTP/1.1 client that shows what really came: no redirects, no decoding, no joining, no retries. */
export class Wire {
  readonly #socket: Socket;
  readonly #authority: string;
  #buffer: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(base: string) {
    const url = new URL(base);
    this.#authority = url.host;
    this.#socket = connect({
      host: url.hostname.replace(/^\[|\]$/g, ""),
      port: Number(url.port === "" ? 80 : url.port),
    });
    this.#socket.on("data", (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      this.#wake?.();
    });
    const over = (): void => {
      this.#ended = true;
      this.#wake?.();
    };
    this.#socket.on("end", over);
    this.#socket.on("close", over);
    this.#socket.on("error", over);
  }

  /** Sends bytes; false where the kernel has no room for more. */
  send(bytes: string | Uint8Array): boolean {
    return this.#socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  /** Sends the head of a request. Host and, unless `keep` is given, `Connection: close` are added. */
  head(method: string, target: string, fields: readonly (readonly [string, string])[] = [], keep = false): void {
    const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    this.send(
      `${method} ${target} HTTP/1.1\r\nHost: ${this.#authority}\r\n${keep ? "" : "Connection: close\r\n"}${lines}\r\n`,
    );
  }

  /** Stops reading, as a client does that is busy with something else. */
  stall(): void {
    this.#socket.pause();
  }

  /** Leaves without a word. */
  leave(): void {
    this.#socket.destroy();
  }

  /** Ends our half. */
  finish(): void {
    this.#socket.end();
  }

  /** Waits until at least `count` bytes came and takes them; fewer where the connection ended. */
  async take(count: number): Promise<Buffer> {
    while (this.#buffer.length < count && !this.#ended) await this.#more();
    const taken = this.#buffer.subarray(0, count);
    this.#buffer = this.#buffer.subarray(taken.length);
    return taken;
  }

  /** A line without its CRLF; undefined where the connection ended before one. */
  async line(): Promise<string | undefined> {
    for (;;) {
      const end = this.#buffer.indexOf("\r\n");
      if (end !== -1) {
        const line = this.#buffer.toString("latin1", 0, end);
        this.#buffer = this.#buffer.subarray(end + 2);
        return line;
      }
      if (this.#ended) return undefined;
      await this.#more();
    }
  }

  /** The next head, interim or final; undefined where none came. */
  async nextHead(): Promise<{ status: number; fields: [string, string][] } | undefined> {
    const line = await this.line();
    if (line === undefined) return undefined;
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(line)?.[1]);
    const fields = await this.#fields();
    if (Number.isNaN(status) || fields === undefined) return undefined;
    return { status, fields };
  }

  /** Reads a whole response to a request of `method`. */
  async response(method = "GET"): Promise<WireResponse> {
    const interim: { status: number; fields: [string, string][] }[] = [];
    let head = await this.nextHead();
    while (head !== undefined && head.status < 200 && head.status !== 101) {
      interim.push(head);
      head = await this.nextHead();
    }
    if (head === undefined)
      return { status: 0, fields: [], body: Buffer.alloc(0), trailers: [], interim, complete: false };
    const bodyless = method === "HEAD" || head.status === 204 || head.status === 304 || head.status === 101;
    const read = bodyless ? { body: Buffer.alloc(0), trailers: [], complete: true } : await this.#body(head.fields);
    return { status: head.status, fields: head.fields, interim, ...read };
  }

  async #body(fields: [string, string][]): Promise<{ body: Buffer; trailers: [string, string][]; complete: boolean }> {
    if (/chunked/i.test(valueOf(fields, "transfer-encoding") ?? "")) return this.#chunked();
    const length = valueOf(fields, "content-length");
    if (length === undefined) {
      while (!this.#ended) await this.#more();
      return { body: await this.take(this.#buffer.length), trailers: [], complete: true };
    }
    const body = await this.take(Number(length));
    return { body, trailers: [], complete: body.length === Number(length) };
  }

  async #chunked(): Promise<{ body: Buffer; trailers: [string, string][]; complete: boolean }> {
    const parts: Buffer[] = [];
    const broken = (): { body: Buffer; trailers: [string, string][]; complete: boolean } => ({
      body: Buffer.concat(parts),
      trailers: [],
      complete: false,
    });
    for (;;) {
      const line = await this.line();
      if (line === undefined) return broken();
      const size = Number.parseInt(line, 16);
      if (size === 0) {
        const trailers = await this.#fields();
        return trailers === undefined ? broken() : { body: Buffer.concat(parts), trailers, complete: true };
      }
      const part = await this.take(size);
      parts.push(part);
      if (part.length < size || (await this.line()) === undefined) return broken();
    }
  }

  async #fields(): Promise<[string, string][] | undefined> {
    const fields: [string, string][] = [];
    for (;;) {
      const line = await this.line();
      if (line === undefined) return undefined;
      if (line === "") return fields;
      const colon = line.indexOf(":");
      fields.push([line.slice(0, colon), line.slice(colon + 1).trim()]);
    }
  }

  async #more(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(
      () => reject(new PorticoGatewayError("NOT_CONFORMING", `Nothing came for ${PATIENCE_MS} ms`)),
      PATIENCE_MS,
    );
    this.#wake = resolve;
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#wake = undefined;
    }
  }
}

/** Value of a field, in any case; undefined where it is absent. */
export function valueOf(fields: readonly (readonly [string, string])[], name: string): string | undefined {
  return fields.find(([candidate]) => candidate.toLowerCase() === name)?.[1];
}

/** One request on a connection of its own. */
export async function ask(
  base: string,
  target: string,
  options: { method?: string; fields?: readonly (readonly [string, string])[]; body?: string | Uint8Array } = {},
): Promise<WireResponse> {
  const wire = new Wire(base);
  const { method = "GET", fields = [], body } = options;
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  wire.head(method, target, bytes === undefined ? fields : [...fields, ["Content-Length", String(bytes.length)]]);
  if (bytes !== undefined && bytes.length > 0) wire.send(bytes);
  try {
    return await wire.response(method);
  } finally {
    wire.leave();
  }
}
