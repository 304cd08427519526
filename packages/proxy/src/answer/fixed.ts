/** Routes whose answer stands in the configuration: `respond` and `redirect`. */
import { Buffer } from "node:buffer";
import type { RedirectSettings, RespondSettings } from "../config/schema.ts";
import { compileText } from "../router/expand.ts";
import type { PathPattern } from "../router/path-pattern.ts";
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
export function redirectHandler(settings: RedirectSettings, pattern: PathPattern): RouteHandler {
  const expand = compileText(settings.to);
  // Two slashes at the start, or what browsers take for them, would name another host, which the client chose.
  const names = settings.to.startsWith("//");
  return (exchange, path) => {
    const expanded = expand(exchange, pattern.captures(path));
    const location = names ? expanded : expanded.replace(/^[/\\]{2,}/, "/");
    if (LOCATION.test(location)) exchange.respond(settings.status, ["Location", location], null);
    else respondError(exchange, 400);
  };
}
