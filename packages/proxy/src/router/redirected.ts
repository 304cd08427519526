/**
 * `X-Accel-Redirect`: an application names another path of its site, and what answers there answers the client, in the
 * application's name. This is the exchange that this other route is given.
 *
 * The request is the client's with another target, without a body, GET unless it was HEAD. The response is the other
 * route's, with the fields that the application has given: see {@link RedirectedExchange}.
 */
import type {
  AbortReason,
  Exchange,
  ExchangeObserver,
  HeaderList,
  RequestHead,
  WholeBody,
} from "@portico/gateway/exchange";
import { fieldValue } from "../answer/fields.ts";
import { ExchangeWrapper } from "../exchange-wrapper.ts";
import { lookupPath } from "./path.ts";

/** One application that sends a request on to the next: more than any real chain, and a circle ends soon. nginx's number. */
const MOST_REDIRECTS = 10;

// A path and a query of what may stand in a request target (RFC 3986 §2), bytes beyond ASCII too.
const TARGET = /^\/[\x21\x22\x24-\x7e\x80-\xff]*$/;

/** Fields of a response that describe its body, its server, or where else to go: with the body they are gone. */
const OF_THE_BODY: ReadonlySet<string> = new Set([
  "accept-ranges",
  "age",
  "content-digest",
  "content-encoding",
  "content-length",
  "content-location",
  "content-md5",
  "content-range",
  "date",
  "digest",
  "etag",
  "last-modified",
  "location",
  "proxy-authenticate",
  "refresh",
  "repr-digest",
  "retry-after",
  "server",
  "www-authenticate",
]);

/** Fields of a response that go beside the other's instead of replacing them. */
const ADDED: ReadonlySet<string> = new Set(["set-cookie", "vary"]);

/** Fields of a request that describe its body. */
const REQUEST_BODY =
  /^(content-(length|type|encoding|language|location|md5|digest)|transfer-encoding|trailer|expect)$/i;

function headOf({ head }: Exchange, target: string): RequestHead {
  const { method, scheme, authority, version, bodyLength } = head;
  const bodyless = bodyLength === 0 && (method === "GET" || method === "HEAD");
  return {
    method: method === "HEAD" ? "HEAD" : "GET",
    scheme,
    authority,
    target,
    version,
    headers: bodyless ? head.headers : select(head.headers, (name) => !REQUEST_BODY.test(name)),
    bodyLength: 0,
    upgrade: undefined,
  };
}

function select(fields: HeaderList, wanted: (name: string) => boolean): HeaderList {
  const list: HeaderList = [];
  for (let at = 0; at < fields.length; at += 2)
    if (wanted(fields[at]!.toLowerCase())) list.push(fields[at]!, fields[at + 1]!);
  return list;
}

/** Hears of the client, but not of the body that the first request still has. */
class Bodyless implements ExchangeObserver {
  readonly #observer: ExchangeObserver;

  constructor(observer: ExchangeObserver) {
    this.#observer = observer;
  }
  onData(): void {}
  onEnd(): void {}
  onDrain(): void {
    this.#observer.onDrain();
  }
  onFinish(): void {
    this.#observer.onFinish();
  }
  onAbort(reason: AbortReason): void {
    this.#observer.onAbort(reason);
  }
}

/**
 * What the other route answers goes to the client with the application's fields: Content-Type, Content-Disposition,
 * Cache-Control, whatever it gave goes before the same field of the other response; Set-Cookie and Vary stand beside
 * it. What describes the application's body is dropped with it. Where the other route does not answer with what was
 * wanted (a redirect, an error), only the cookies are the application's.
 */
export class RedirectedExchange extends ExchangeWrapper {
  readonly redirects: number;
  readonly #head: RequestHead;
  readonly #fields: HeaderList;
  #observer: ExchangeObserver | undefined;
  #resumed = false;

  constructor(inner: Exchange, target: string, fields: HeaderList, redirects: number) {
    super(inner);
    this.redirects = redirects;
    this.#head = headOf(inner, target);
    this.#fields = select(fields, (name) => !OF_THE_BODY.has(name));
  }

  override get lasting(): boolean {
    return true;
  }
  override get head(): RequestHead {
    return this.#head;
  }
  override get observer(): ExchangeObserver | undefined {
    return this.#observer;
  }
  override set observer(observer: ExchangeObserver | undefined) {
    this.#observer = observer;
    this.inner.observer = observer === undefined ? undefined : new Bodyless(observer);
  }

  /** There is no body: its end is all that comes. */
  override resume(): void {
    if (this.#resumed) return;
    this.#resumed = true;
    queueMicrotask(() => {
      if (!this.ended) this.#observer?.onEnd([]);
    });
  }
  override pause(): void {}

  override respond(status: number, headers: HeaderList, body: WholeBody): void {
    this.inner.respond(status, this.#merged(status, headers), body);
  }
  override start(status: number, headers: HeaderList): void {
    this.inner.start(status, this.#merged(status, headers));
  }

  #merged(status: number, headers: HeaderList): HeaderList {
    const given = select(this.#fields, this.#wanted(status, headers));
    const replaced = new Set<string>();
    for (let at = 0; at < given.length; at += 2) {
      const name = given[at]!.toLowerCase();
      if (!ADDED.has(name)) replaced.add(name);
    }
    return [...select(headers, (name) => !replaced.has(name)), ...given];
  }

  /** Which of the application's fields a response takes. */
  #wanted(status: number, headers: HeaderList): (name: string) => boolean {
    if (status >= 300 && status !== 304) return (name) => name === "set-cookie";
    // RFC 9110 §15.4.5: a 304 has what concerns caches. Of several parts the type is our own, with their boundary.
    const ownType =
      status === 304 || (status === 206 && fieldValue(headers, "content-type")?.startsWith("multipart/") === true);
    return (name) => !ownType || name !== "content-type";
  }
}

/** How often an exchange was sent on already. */
function redirectsOf(exchange: Exchange): number {
  let stage = exchange;
  while (stage instanceof ExchangeWrapper) {
    if (stage instanceof RedirectedExchange) return stage.redirects;
    stage = stage.inner;
  }
  return 0;
}

/**
 * The exchange for the route that `target` leads to; a text where it can lead to none: what is wrong with it.
 *
 * @param fields of the application's response, as they would go on
 */
export function redirected(exchange: Exchange, target: string, fields: HeaderList): RedirectedExchange | string {
  if (!TARGET.test(target) || lookupPath(target) === undefined)
    return "must be a path that begins with a slash, percent-encoded";
  const redirects = redirectsOf(exchange) + 1;
  if (redirects > MOST_REDIRECTS) return `goes round in a circle: followed ${MOST_REDIRECTS} times`;
  return new RedirectedExchange(exchange, target, fields, redirects);
}
