/** Routes whose answer stands in the configuration: `respond` and `redirect`. */
import { Buffer } from "node:buffer";
import type { RedirectSettings, RespondSettings } from "../config/schema.ts";
import { queryOf } from "../router/path.ts";
import type { RouteHandler } from "../router/route.ts";
import { respondError } from "./error.ts";
import { fieldList } from "./fields.ts";

/** Answers every request the same. */
export function fixedHandler(settings: RespondSettings): RouteHandler {
  const headers = fieldList(settings.headers);
  const typed = headers.some((name, index) => index % 2 === 0 && name.toLowerCase() === "content-type");
  if (!typed && settings.body !== "") headers.push("Content-Type", "text/plain; charset=utf-8");
  const body = settings.body === "" ? null : Buffer.from(settings.body);
  return (exchange) => exchange.respond(settings.status, headers, body);
}

// What may stand in a Location (RFC 3986 §2); anything else would have to be guessed at.
const LOCATION = /^[\x21-\x7e]+$/;

/** Redirects to the target with its variables filled in. */
export function redirectHandler(settings: RedirectSettings): RouteHandler {
  const parts = settings.to.split(/(\$(?:scheme|host|path|query)\b)/);
  return (exchange) => {
    const { head } = exchange;
    const query = queryOf(head.target);
    const rawPath = head.target.slice(0, head.target.length - query.length);
    let location = "";
    for (const part of parts) {
      if (part === "$scheme") location += head.scheme;
      else if (part === "$host") location += head.authority;
      // Two slashes at the start would name another host.
      else if (part === "$path") location += location === "" ? rawPath.replace(/^\/+/, "/") : rawPath;
      else if (part === "$query") location += query;
      else location += part;
    }
    if (LOCATION.test(location)) exchange.respond(settings.status, ["Location", location], null);
    else respondError(exchange, 400);
  };
}
