/** `split` of a `proxy` route: each request goes to one of several upstreams, by share, and stays with its draw. */
import type { Exchange, ExchangeHandler, HeaderList, WholeBody } from "@portico/gateway/exchange";
import { fieldValue } from "../answer/fields.ts";
import type { SplitSettings } from "../config/schema.ts";
import { ExchangeWrapper } from "../exchange-wrapper.ts";
import { cookieValue } from "./conditions.ts";

// FNV-1a, 32 bits, and a finish (murmur3's) that spreads neighbours: addresses that differ in one digit.
const OFFSET = 0x811c9dc5;
const PRIME = 0x01000193;

/** A number from 0 to below 1 that a text always has. */
export function drawOf(text: string): number {
  let hash = OFFSET;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), PRIME);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}

interface Share {
  readonly name: string;
  /** Draws below it, and not below the one before, are this upstream's. */
  readonly below: number;
  readonly handler: ExchangeHandler;
}

/** Adds a cookie to the response. */
class MarkedExchange extends ExchangeWrapper {
  readonly #cookie: string;

  constructor(inner: Exchange, cookie: string) {
    super(inner);
    this.#cookie = cookie;
  }

  override respond(status: number, headers: HeaderList, body: WholeBody): void {
    this.inner.respond(status, [...headers, "Set-Cookie", this.#cookie], body);
  }
  override start(status: number, headers: HeaderList): void {
    this.inner.start(status, [...headers, "Set-Cookie", this.#cookie]);
  }
}

/** How a request finds its share. */
type Draw = (exchange: Exchange, shares: readonly Share[]) => void;

function shareAt(shares: readonly Share[], draw: number): Share {
  return shares.find((share) => draw < share.below) ?? shares.at(-1)!;
}

const byClient: Draw = (exchange, shares) => shareAt(shares, drawOf(exchange.facts.client.address)).handler(exchange);

function byHeader(name: string): Draw {
  return (exchange, shares) => {
    const value = fieldValue(exchange.head.headers, name);
    if (value === undefined) byClient(exchange, shares);
    else shareAt(shares, drawOf(value)).handler(exchange);
  };
}

function byCookie(name: string, ageMs: number): Draw {
  const attributes = `Path=/; HttpOnly; SameSite=Lax${ageMs === 0 ? "" : `; Max-Age=${Math.ceil(ageMs / 1000)}`}`;
  return (exchange, shares) => {
    const known = cookieValue(exchange, name);
    const kept = shares.find((share) => encodeURIComponent(share.name) === known);
    if (kept !== undefined) {
      kept.handler(exchange);
      return;
    }
    const drawn = shareAt(shares, Math.random());
    drawn.handler(new MarkedExchange(exchange, `${name}=${encodeURIComponent(drawn.name)}; ${attributes}`));
  };
}

function drawBy({ by, cookieAge }: SplitSettings): Draw {
  if (by === "client") return byClient;
  if (by === "request") return (exchange, shares) => shareAt(shares, Math.random()).handler(exchange);
  const name = by.slice(by.indexOf(":") + 1);
  return by.startsWith("cookie:") ? byCookie(name, cookieAge) : byHeader(name.toLowerCase());
}

/** @param handlerOf makes the handler of an upstream */
export function splitHandler(
  settings: SplitSettings,
  handlerOf: (upstream: string) => ExchangeHandler,
): ExchangeHandler {
  // A share of nothing is drawn by nobody, and keeps nobody either: that is how a canary is taken away.
  const entries = Object.entries(settings.upstreams).filter(([, weight]) => weight > 0);
  const sum = entries.reduce((total, [, weight]) => total + weight, 0);
  let reached = 0;
  const shares = entries.map(([name, weight]): Share => {
    reached += weight;
    return { name, below: reached / sum, handler: handlerOf(name) };
  });
  const draw = drawBy(settings);
  return (exchange) => draw(exchange, shares);
}
