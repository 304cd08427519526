import type { HeaderList } from "../exchange.ts";
import { forwardTheRest, pairsOf } from "./headers.ts";

const RealResponse: typeof Response = globalThis.Response;
const RealHeaders: typeof Headers = globalThis.Headers;

/** Statuses whose Response the platform refuses a body (null body status of the fetch standard), beside those below 200. */
const NULL_BODY = new Set([204, 205, 304]);

/** What a host takes from a light response. */
export interface LightParts {
  readonly status: number;
  readonly headers: HeaderList | Headers;
  readonly body: string | Uint8Array | null;
}

/**
 * Passes for a `Response` whose body is whole: what it is made of is copied, as the standard says, and kept as it is; the real one, whose stream is what costs,
 * is made when any member but status and headers is asked for.
 */
export class LightResponse {
  readonly #status: number;
  readonly #list: HeaderList;
  readonly #body: string | Uint8Array | null;
  #headers: Headers | undefined;
  #real: Response | undefined;

  private constructor(status: number, list: HeaderList, body: string | Uint8Array | null) {
    this.#status = status;
    this.#list = list;
    this.#body = body;
  }

  /** A light response for the parameters of `new Response`; undefined where only the real constructor knows what to do, such as to throw. */
  static make(body: unknown, init: unknown): LightResponse | undefined {
    const isBytes = body instanceof Uint8Array;
    if (typeof body !== "string" && !isBytes && body !== null && body !== undefined) return undefined;
    let status = 200;
    let list: HeaderList | undefined = [];
    if (init !== undefined) {
      if (typeof init !== "object" || init === null) return undefined;
      const given = init as { status?: unknown; statusText?: unknown; headers?: unknown };
      if (given.statusText !== undefined && given.statusText !== "") return undefined;
      if (given.status !== undefined) {
        if (!Number.isInteger(given.status) || (given.status as number) < 200 || (given.status as number) > 599)
          return undefined;
        status = given.status as number;
      }
      if (NULL_BODY.has(status)) return undefined;
      list = listOf(given.headers);
      if (list === undefined) return undefined;
    }
    return new LightResponse(status, list, isBytes ? body.slice() : (body ?? null));
  }

  /** The parts of a light response that nobody has made real; undefined for anything else. */
  static partsOf(value: object): LightParts | undefined {
    if (!(#status in value) || value.#real !== undefined) return undefined;
    return { status: value.#status, headers: value.#headers ?? value.#list, body: value.#body };
  }

  static materialise(light: LightResponse): Response {
    if (light.#real !== undefined) return light.#real;
    light.#real = new RealResponse(light.#body as string | Uint8Array<ArrayBuffer> | null, {
      status: light.#status,
      headers: light.#headers ?? pairsOf(light.#list),
    });
    // Fields that somebody holds, and may have changed, stay the fields.
    if (light.#headers !== undefined) {
      if (!light.#headers.has("content-type")) light.#real.headers.delete("content-type");
      Object.defineProperty(light.#real, "headers", { value: light.#headers });
    }
    return light.#real;
  }

  get status(): number {
    return this.#status;
  }

  get ok(): boolean {
    return this.#status < 300;
  }

  get headers(): Headers {
    if (this.#real !== undefined) return this.#real.headers;
    if (this.#headers === undefined) {
      this.#headers = new RealHeaders(pairsOf(this.#list));
      if (typeof this.#body === "string" && !this.#headers.has("content-type")) {
        this.#headers.set("content-type", "text/plain;charset=UTF-8");
      }
    }
    return this.#headers;
  }

  get bodyUsed(): boolean {
    return this.#real?.bodyUsed ?? false;
  }
}

forwardTheRest(LightResponse, RealResponse, (target) => LightResponse.materialise(target as LightResponse));

/** A copy of headers in the forms that applications use most; undefined for the others. */
function listOf(headers: unknown): HeaderList | undefined {
  if (headers === undefined) return [];
  if (typeof headers !== "object" || headers === null) return undefined;
  const list: HeaderList = [];
  if (headers instanceof RealHeaders) {
    for (const [name, value] of headers) list.push(name, value);
    return list;
  }
  if (Object.getPrototypeOf(headers) !== Object.prototype || Symbol.iterator in headers) return undefined;
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== "string" || !PLAIN_FIELD.test(name) || BAD_VALUE.test(value)) return undefined;
    list.push(name, value);
  }
  return list;
}

/** What the real constructor takes without a word. Whatever else is given, it shall judge. */
const PLAIN_FIELD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const BAD_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
