/** Another path for what answers a route: `rewrite`. The client's own stays in the log. */
import type { Exchange, RequestHead } from "@portico/gateway/exchange";
import { respondError } from "../answer/error.ts";
import type { RewriteSettings } from "../config/schema.ts";
import { ExchangeWrapper } from "../exchange-wrapper.ts";
import { compileText } from "./expand.ts";
import { lookupPath, normalTarget, queryOf } from "./path.ts";
import type { PathPattern } from "./path-pattern.ts";
import type { RouteHandler } from "./route.ts";

/** An exchange whose request has another target. */
class RewrittenExchange extends ExchangeWrapper {
  readonly #head: RequestHead;

  constructor(inner: Exchange, target: string) {
    super(inner);
    const { method, scheme, authority, version, headers, bodyLength, upgrade } = inner.head;
    this.#head = { method, scheme, authority, target, version, headers, bodyLength, upgrade };
  }

  override get head(): RequestHead {
    return this.#head;
  }
}

/** Gives the target in place of the request's. */
type Rewrite = (exchange: Exchange, path: string) => string;

/**
 * Takes whole segments off the front and puts others there. What is left of the target stays as the client wrote it,
 * byte for byte, save that dot segments and repeated slashes are resolved: otherwise `/api/../admin` would leave the
 * prefix behind that the route was chosen for.
 */
function byPrefix(strip: string, add: string): Rewrite {
  const below = strip.replace(/\/$/, "");
  const front = add.replace(/\/$/, "");
  const segments = below.split("/").length - 1;
  return (exchange, path) => {
    const { target } = exchange.head;
    const query = queryOf(target);
    const raw = normalTarget(target.slice(0, target.length - query.length));
    if (below === "" || (path !== below && !path.startsWith(`${below}/`))) return front + raw + query;
    const rest = raw.split("/").slice(1 + segments);
    return `${front}/${rest.join("/")}${query}`;
  };
}

function byText(to: string, pattern: PathPattern): Rewrite {
  const expand = compileText(to);
  const ownQuery = to.includes("?") || to.includes("$query") || to.includes("${query}");
  return (exchange, path) => {
    const target = expand(exchange, pattern.captures(path));
    return ownQuery ? target : target + queryOf(exchange.head.target);
  };
}

// What may stand in a request target (RFC 3986 §2): the texts around variables come from a configuration.
const TARGET = /^\/[\x21-\x7e\x80-\xff]*$/;

/** Puts a rewrite in front of a handler. */
export function rewriteHandler(settings: RewriteSettings, pattern: PathPattern, next: RouteHandler): RouteHandler {
  const rewrite =
    settings.to === undefined
      ? byPrefix(settings.stripPrefix ?? "", settings.addPrefix ?? "")
      : byText(settings.to, pattern);
  return (exchange, path, match, position) => {
    // Its target is a host and a port.
    if (exchange.head.method === "CONNECT") {
      next(exchange, path, match, position);
      return;
    }
    const target = rewrite(exchange, path);
    const looked = lookupPath(target);
    if (looked === undefined || !TARGET.test(target)) respondError(exchange, 400);
    else next(new RewrittenExchange(exchange, target), looked, match, position);
  };
}
