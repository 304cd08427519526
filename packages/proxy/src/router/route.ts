/** A compiled route, and how a request walks to it. */
import type { Exchange } from "@portico/gateway/exchange";
import { ExchangeWrapper } from "../exchange-wrapper.ts";
import type { PathRoute } from "./paths.ts";

/**
 * Answers an exchange that a route was found for, or hands it back to {@link passOn}. Called once, synchronously;
 * must not throw for anything a client can cause.
 *
 * @param path the path in normal form (see `path.ts`)
 * @param match all routes of the path, best first, of which `position` is the one being answered
 */
export type RouteHandler = (exchange: Exchange, path: string, match: readonly Route[], position: number) => void;

export interface Route extends PathRoute {
  readonly name: string;
  /** Place in the site's `routes`. */
  readonly index: number;
  /** Undefined: every method. GET brings HEAD along. */
  readonly methods: ReadonlySet<string> | undefined;
  /** What is asked beyond path and method; undefined: nothing, which is the usual route. */
  readonly accepts: ((exchange: Exchange, path: string) => boolean) | undefined;
  /** The whole chain, folded when the configuration was compiled: pages, limits, rewrite, then what answers. */
  readonly handle: RouteHandler;
}

/** Called with an exchange that no route takes: 404 where `allow` is undefined, else 405 with that Allow field. */
export type Unmatched = (exchange: Exchange, allow: string | undefined) => void;

function allowOf(exchange: Exchange, path: string, match: readonly Route[]): string | undefined {
  const methods = new Set<string>();
  for (const route of match)
    if (route.accepts === undefined || route.accepts(exchange, path))
      for (const method of route.methods ?? []) methods.add(method);
  return methods.size === 0 ? undefined : [...methods].join(", ");
}

/** Gives an exchange to the first route of a match that takes it. HOT. */
export function dispatch(exchange: Exchange, path: string, match: readonly Route[], unmatched: Unmatched): void {
  const taken = firstFrom(exchange, path, match, 0);
  if (taken === -1) unmatched(exchange, allowOf(exchange, path, match));
  else match[taken]!.handle(exchange, path, match, taken);
}

/** HOT. */
function firstFrom(exchange: Exchange, path: string, match: readonly Route[], position: number): number {
  const { method } = exchange.head;
  for (let index = position; index < match.length; index++) {
    const { methods, accepts } = match[index]!;
    if ((methods === undefined || methods.has(method)) && (accepts === undefined || accepts(exchange, path)))
      return index;
  }
  return -1;
}

/** Gives an exchange that a route does not answer after all to the next one, from `position` on. */
export function passOn(
  exchange: Exchange,
  path: string,
  match: readonly Route[],
  position: number,
  unmatched: Unmatched,
): void {
  // What the route before has put in front of it was for that route only.
  let bare = exchange;
  while (bare instanceof ExchangeWrapper && !bare.lasting) bare = bare.inner;
  const taken = firstFrom(bare, path, match, position);
  if (taken === -1) unmatched(bare, undefined);
  else match[taken]!.handle(bare, path, match, taken);
}
