import { PorticoGatewayError } from "../errors.ts";
import type { Exchange, RequestHead } from "../exchange.ts";
import type { RequestBody } from "./body.ts";
import { headerOf } from "../header-of.ts";
import { forwardTheRest, LazyHeaders } from "./headers.ts";

const RealRequest: typeof Request = globalThis.Request;
const RealResponse: typeof Response = globalThis.Response;

/** Origins remembered; beyond that many the memory is emptied, so that made-up Host fields cannot fill it. */
const ORIGIN_MEMORY = 1_000;
const origins = new Map<string, string>();

/** Targets that the URL parser would give back byte for byte. Dots may start `.` and `..` segments, so they go the long way after a slash. */
const PLAIN_TARGET = /^\/(?:[\w~!$&()*+,;=:@-]|[\w~!$&()*+,;=:@-][.]|\/(?![.]))*(?:\?[\w~!$&()*+,;=:@./?-]*)?$/;

/** Methods that the constructor of `Request` refuses, though they are received. */
const METHODS_FETCH_REFUSES = new Set(["CONNECT", "TRACE", "TRACK"]);

const decoder = new TextDecoder();

/** What a request is made from when asked. */
export interface RequestSource {
  readonly exchange: Exchange;
  readonly body: RequestBody;
  readonly signal: AbortSignal;
}

/** Absolute URL of a request as the URL standard writes it. Throws `BAD_TARGET`. Hot path: no URL object for usual targets. */
export function urlOf(head: RequestHead): string {
  const key = head.scheme === "http" ? `http://${head.authority}` : `https://${head.authority}`;
  let origin = origins.get(key);
  if (origin === undefined) {
    if (origins.size >= ORIGIN_MEMORY) origins.clear();
    const base = head.authority === "" ? `${head.scheme}://localhost` : key;
    if (!URL.canParse(base) || /[/?#@\\]/.test(head.authority)) {
      throw new PorticoGatewayError("BAD_TARGET", `Not an authority: ${JSON.stringify(head.authority)}`);
    }
    origin = new URL(base).origin;
    origins.set(key, origin);
  }
  const target = head.target;
  if (PLAIN_TARGET.test(target)) return origin + target;
  if (head.method === "CONNECT" && !target.startsWith("/")) return `${origin}/`;
  const url = `${origin}${target.startsWith("/") ? "" : "/"}${target}`;
  if (!URL.canParse(url)) throw new PorticoGatewayError("BAD_TARGET", "The request target does not make a URL");
  return new URL(url).href;
}

/**
 * Passes for a `Request`: `instanceof` holds. Method, URL, single header fields, the signal and the usual ways to read the body
 * come straight from the exchange; any other member makes the real `Request` first, and from then on that one has the body.
 *
 * The constructors `Request` and `fetch` of the platform look at private fields, which only a real one has: see
 * `globals.ts` for how they accept this.
 */
export class LazyRequest {
  readonly #source: RequestSource;
  #url: string | undefined;
  #headers: LazyHeaders | undefined;
  #real: Request | undefined;
  /** The body stream, once it was handed out. */
  #stream: ReadableStream<Uint8Array> | undefined;

  constructor(source: RequestSource) {
    this.#source = source;
  }

  static is(value: unknown): value is LazyRequest {
    return typeof value === "object" && value !== null && #source in value;
  }

  /** The real request. It and this one share headers and body. */
  static materialise(request: LazyRequest): Request {
    if (request.#real !== undefined) return request.#real;
    const source = request.#source;
    const method = source.exchange.head.method;
    const refused = METHODS_FETCH_REFUSES.has(method.toUpperCase());
    const body = request.#hasBody ? source.body : undefined;
    const used = body?.touched === true && request.#stream === undefined;
    const real = new RealRequest(request.url, {
      method: refused ? "POST" : method,
      headers: LazyHeaders.materialise(request.#lazyHeaders),
      signal: source.signal,
      ...(body === undefined ? {} : { body: used ? "" : request.#bodyStream(body), duplex: "half" }),
    });
    if (used) void real.text();
    if (refused) Object.defineProperty(real, "method", { value: method });
    LazyHeaders.bind(request.#lazyHeaders, real.headers);
    request.#real = real;
    return real;
  }

  get method(): string {
    return this.#source.exchange.head.method;
  }

  get url(): string {
    return (this.#url ??= urlOf(this.#source.exchange.head));
  }

  get headers(): Headers {
    return this.#lazyHeaders as unknown as Headers;
  }

  get signal(): AbortSignal {
    return this.#source.signal;
  }

  get body(): ReadableStream<Uint8Array> | null {
    if (this.#real !== undefined) return this.#real.body as ReadableStream<Uint8Array> | null;
    if (!this.#hasBody) return null;
    // A stream that was read as a whole is shown as what it is: used. The real request has the words for that.
    if (this.#source.body.touched && this.#stream === undefined) {
      return LazyRequest.materialise(this).body as ReadableStream<Uint8Array> | null;
    }
    return this.#bodyStream(this.#source.body);
  }

  get bodyUsed(): boolean {
    if (this.#real !== undefined) return this.#real.bodyUsed;
    if (!this.#hasBody) return false;
    if (this.#stream !== undefined) return LazyRequest.materialise(this).bodyUsed;
    return this.#source.body.touched;
  }

  text(): Promise<string> {
    return this.#reads() ? this.#source.body.whole().then(utf8) : this.#readsReal().text();
  }

  json(): Promise<unknown> {
    return this.#reads() ? this.#source.body.whole().then(parsed) : this.#readsReal().json();
  }

  arrayBuffer(): Promise<ArrayBuffer> {
    return this.#reads() ? this.#source.body.whole().then(bufferOf) : this.#readsReal().arrayBuffer();
  }

  bytes(): Promise<Uint8Array> {
    return this.#reads() ? this.#source.body.whole() : this.#readsReal().bytes();
  }

  blob(): Promise<Blob> {
    return this.#reads() ? this.#asResponse((response) => response.blob()) : this.#readsReal().blob();
  }

  formData(): Promise<FormData> {
    return this.#reads() ? this.#asResponse((response) => response.formData()) : this.#readsReal().formData();
  }

  #bodyStream(body: RequestBody): ReadableStream<Uint8Array> {
    return (this.#stream ??= body.stream());
  }

  /** GET and HEAD have no body in fetch, whatever came with them. */
  get #hasBody(): boolean {
    const head = this.#source.exchange.head;
    return head.bodyLength !== 0 && head.method !== "GET" && head.method !== "HEAD";
  }

  get #lazyHeaders(): LazyHeaders {
    return (this.#headers ??= new LazyHeaders(this.#source.exchange.head.headers));
  }

  /** True where the body can be read from the exchange without a stream. */
  #reads(): boolean {
    return this.#real === undefined && this.#stream === undefined && this.#hasBody;
  }

  #readsReal(): Request {
    return this.#real === undefined && !this.#hasBody ? NO_BODY() : LazyRequest.materialise(this);
  }

  #asResponse<T>(read: (response: Response) => Promise<T>): Promise<T> {
    const type = headerOf(this.#source.exchange.head.headers, "content-type");
    return this.#source.body
      .whole()
      .then((bytes) =>
        read(
          new RealResponse(
            bytes as Uint8Array<ArrayBuffer>,
            type === undefined ? {} : { headers: { "content-type": type } },
          ),
        ),
      );
  }
}

forwardTheRest(LazyRequest, RealRequest, (target) => LazyRequest.materialise(target as LazyRequest));

/** Reads as the standard says an absent body does: empty text, and errors where a form or JSON is asked for. */
function NO_BODY(): Request {
  return new RealRequest("http://localhost/");
}

function utf8(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

function parsed(bytes: Uint8Array): unknown {
  return JSON.parse(decoder.decode(bytes));
}

function bufferOf(bytes: Uint8Array): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = bytes;
  if (byteLength === buffer.byteLength && buffer instanceof ArrayBuffer) return buffer;
  return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
}
