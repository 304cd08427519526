/** A configuration, compiled: takes every exchange of a thread to the handler of its route. */
import type { Exchange } from "@portico/gateway/exchange";
import { respondError } from "../answer/error.ts";
import { fixedHandler, redirectHandler } from "../answer/fixed.ts";
import { limitBody } from "../answer/limit.ts";
import type { ROUTE_HANDLERS } from "../config/check/routes.ts";
import type { ResolvedConfig, RouteSettings } from "../config/schema.ts";
import { type StaticDeps, staticHandler } from "../static/handler.ts";
import { HostTable } from "./hosts.ts";
import { lookupPath } from "./path.ts";
import { PathTable } from "./paths.ts";
import { type Route, type RouteHandler, passOn } from "./route.ts";

/** What the compiler needs besides the configuration. */
export interface RouterDeps {
  readonly files: Omit<StaticDeps, "unmatched">;
  /** Compiles a `proxy` route; `bodyLimit` in bytes. */
  proxyHandler(route: RouteSettings, bodyLimit: number): RouteHandler;
}

type HandlerName = (typeof ROUTE_HANDLERS)[number];

/** No route takes it: RFC 9110 §15.5.5, §15.5.6. */
export function unmatched(exchange: Exchange, allow: string | undefined): void {
  if (allow === undefined) respondError(exchange, 404);
  else respondError(exchange, 405, undefined, ["Allow", allow]);
}

/** How each kind of route is compiled. */
const COMPILERS: Readonly<
  Record<HandlerName, (route: RouteSettings, deps: RouterDeps, bodyLimit: number) => RouteHandler>
> = {
  static: (route, deps) => staticHandler(route.static!, route.path, { ...deps.files, unmatched }),
  proxy: (route, deps, bodyLimit) => deps.proxyHandler(route, bodyLimit),
  respond: (route) => fixedHandler(route.respond!),
  redirect: (route) => redirectHandler(route.redirect!),
};

/**
 * Compiles a handler when its route is first met: a reload of ten thousand routes holds a thread up for no longer than
 * it takes to sort them.
 */
function lazily(compile: () => RouteHandler): RouteHandler {
  let handler: RouteHandler | undefined;
  return (exchange, path, match, position) => {
    handler ??= compile();
    handler(exchange, path, match, position);
  };
}

function methodsOf(route: RouteSettings): ReadonlySet<string> | undefined {
  if (route.methods === undefined) return undefined;
  const methods = new Set(route.methods);
  if (methods.has("GET")) methods.add("HEAD");
  return methods;
}

function compileRoute(settings: RouteSettings, config: ResolvedConfig, deps: RouterDeps): Route {
  const name = (Object.keys(COMPILERS) as HandlerName[]).find((candidate) => settings[candidate] !== undefined)!;
  const bodySize = settings.limits?.bodySize ?? config.limits.bodySize;
  return {
    // A pattern is looked up as paths are: in normal form.
    path: settings.path.endsWith("*")
      ? `${lookupPath(settings.path.slice(0, -1)) ?? "/"}*`
      : (lookupPath(settings.path) ?? settings.path),
    name: settings.name ?? settings.path,
    methods: methodsOf(settings),
    handle: lazily(() => limitBody(bodySize, COMPILERS[name](settings, deps, bodySize))),
  };
}

export class Router {
  readonly #sites = new HostTable<PathTable<Route>>();

  constructor(config: ResolvedConfig, deps: RouterDeps) {
    for (const site of config.sites) {
      const table = new PathTable(site.routes.map((route) => compileRoute(route, config, deps)));
      for (const host of site.hosts) this.#sites.add(host, table);
    }
  }

  /** Answers an exchange. HOT for known hosts and plain paths: two lookups and a call. */
  handle(exchange: Exchange): void {
    const { head } = exchange;
    const site = this.#sites.find(head.authority);
    if (site === undefined) {
      respondError(exchange, 421);
      return;
    }
    const path = lookupPath(head.target);
    if (path === undefined || path.charCodeAt(0) !== 0x2f) {
      this.#answerOddTarget(exchange);
      return;
    }
    passOn(exchange, path, site.find(path), 0, unmatched);
  }

  /** Targets that name no path: `OPTIONS *` is about the server (RFC 9110 §9.3.7), CONNECT wants a proxy of another kind. */
  #answerOddTarget(exchange: Exchange): void {
    const { method, target } = exchange.head;
    if (method === "OPTIONS" && target === "*") exchange.respond(204, [], null);
    else respondError(exchange, method === "CONNECT" ? 501 : 400);
  }
}
