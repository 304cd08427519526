/** The limit of a request's body, put in front of a route's handler when the configuration is compiled. */
import type { RouteHandler } from "../router/route.ts";
import { respondError } from "./error.ts";

/**
 * Refuses a body that is announced longer than `limit` bytes with 413, before anything else happens. A body without an
 * announced length is counted by whoever reads it (`proxying/`); nobody else reads any.
 */
export function limitBody(limit: number, next: RouteHandler): RouteHandler {
  return (exchange, path, match, position) => {
    if (exchange.head.bodyLength > limit) respondError(exchange, 413);
    else next(exchange, path, match, position);
  };
}
