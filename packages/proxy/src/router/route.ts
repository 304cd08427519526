/** A compiled route, and how a request walks to it. */
import type { Exchange } from "@portico/gateway/exchange";
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
  /** Undefined: every method. GET brings HEAD along. */
  readonly methods: ReadonlySet<string> | undefined;
  /** The whole chain, folded when the configuration was compiled: limits, then what answers. */
  readonly handle: RouteHandler;
}

/** Called with an exchange that no route takes: 404 where `allow` is undefined, else 405 with that Allow field. */
export type Unmatched = (exchange: Exchange, allow: string | undefined) => void;

function allowOf(match: readonly Route[]): string | undefined {
  const methods = new Set<string>();
  for (const route of match) for (const method of route.methods ?? []) methods.add(method);
  return methods.size === 0 ? undefined : [...methods].join(", ");
}

/** Gives an exchange to the first route from `position` on that takes its method. HOT. */
export function passOn(
  exchange: Exchange,
  path: string,
  match: readonly Route[],
  position: number,
  unmatched: Unmatched,
): void {
  const method = exchange.head.method;
  for (let index = position; index < match.length; index++) {
    const route = match[index]!;
    if (route.methods === undefined || route.methods.has(method)) {
      route.handle(exchange, path, match, index);
      return;
    }
  }
  unmatched(exchange, position === 0 ? allowOf(match) : undefined);
}
