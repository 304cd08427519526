import type { HeaderList } from "../exchange.ts";

const RealHeaders: typeof Headers = globalThis.Headers;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** A flat list as pairs, which is what fetch's constructors take. */
export function pairsOf(list: Readonly<HeaderList>): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at < list.length; at += 2) pairs.push([list[at] as string, list[at + 1] as string]);
  return pairs;
}

/**
 * Passes for the `Headers` of a request. `get` and `has`, which is what nearly every application asks, read the flat
 * list; everything else, and every change, makes the real object first and goes on with that.
 */
export class LazyHeaders {
  readonly #list: HeaderList;
  #real: Headers | undefined;

  constructor(list: HeaderList) {
    this.#list = list;
  }

  /** The real object; from now on this one only forwards to it. */
  static materialise(headers: LazyHeaders): Headers {
    return (headers.#real ??= new RealHeaders(pairsOf(headers.#list)));
  }

  /** Lets `real`, which holds the same fields, take over. */
  static bind(headers: LazyHeaders, real: Headers): void {
    headers.#real = real;
  }

  get(given: unknown): string | null {
    const name = String(given);
    if (this.#real !== undefined) return this.#real.get(name);
    const list = this.#list;
    const lower = name.toLowerCase();
    let found: string | null = null;
    for (let at = 0; at < list.length; at += 2) {
      const candidate = list[at] as string;
      if (candidate.length !== lower.length) continue;
      if (candidate !== lower && candidate.toLowerCase() !== lower) continue;
      // Cookie is the one field whose lines are joined by a semicolon (RFC 9113 §8.2.3).
      found = found === null ? (list[at + 1] as string) : `${found}${lower === "cookie" ? "; " : ", "}${list[at + 1]}`;
    }
    if (found === null && !TOKEN.test(name)) throw new TypeError(`Headers.get: ${name} is an invalid header name.`);
    return found;
  }

  has(name: unknown): boolean {
    return this.get(name) !== null;
  }
}

forwardTheRest(LazyHeaders, RealHeaders, (target) => LazyHeaders.materialise(target as LazyHeaders));

/**
 * Puts `lazy` into the prototype chain of `real`, so that `instanceof` holds, and forwards every member of `real` that
 * `lazy` does not define itself to the object that `materialise` gives: those added to the platform later included.
 */
export function forwardTheRest(
  lazy: { prototype: object },
  real: { prototype: object },
  materialise: (target: object) => object,
): void {
  Object.setPrototypeOf(lazy.prototype, real.prototype);
  for (const key of Reflect.ownKeys(real.prototype)) {
    if (key === "constructor" || Object.hasOwn(lazy.prototype, key)) continue;
    const descriptor = Object.getOwnPropertyDescriptor(real.prototype, key) as PropertyDescriptor;
    for (const part of ["value", "get", "set"] as const) {
      const member: unknown = descriptor[part];
      if (typeof member !== "function") continue;
      descriptor[part] = function forwarded(this: object, ...parameters: unknown[]): unknown {
        return Reflect.apply(member, materialise(this), parameters);
      };
    }
    Object.defineProperty(lazy.prototype, key, descriptor);
  }
}
