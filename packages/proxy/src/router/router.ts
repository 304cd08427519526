/** A configuration, compiled: takes every exchange of a thread to the handler of its route. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Exchange } from "@portico/gateway/exchange";
import { respondError } from "../answer/error.ts";
import { ErrorPages, PagedExchange } from "../answer/error-pages.ts";
import { fixedHandler, redirectHandler } from "../answer/fixed.ts";
import { limitBody } from "../answer/limit.ts";
import { compileMaintenance } from "../answer/maintenance.ts";
import type { ROUTE_HANDLERS } from "../config/check/routes.ts";
import type { ErrorPageSettings, ResolvedConfig, RouteSettings, SiteSettings } from "../config/schema.ts";
import { type StaticDeps, staticHandler } from "../static/handler.ts";
import { compileCanonical } from "./canonical.ts";
import { compileConditions } from "./conditions.ts";
import { HostTable } from "./hosts.ts";
import { lookupPath } from "./path.ts";
import { type PathPattern, compilePath } from "./path-pattern.ts";
import { PathTable } from "./paths.ts";
import type { RedirectedExchange } from "./redirected.ts";
import { rewriteHandler } from "./rewrite.ts";
import { type Route, type RouteHandler, type Unmatched, dispatch } from "./route.ts";

/** What the compiler needs besides the configuration. */
export interface RouterDeps {
  readonly files: Omit<StaticDeps, "unmatched">;
  /** Compiles a `proxy` route; `bodyLimit` in bytes. */
  proxyHandler(route: RouteSettings, bodyLimit: number): RouteHandler;
}

type HandlerName = (typeof ROUTE_HANDLERS)[number];

/** What the compiling of a route may look at. */
interface RouteContext {
  readonly deps: RouterDeps;
  readonly bodySize: number;
  readonly pattern: PathPattern;
  readonly unmatched: Unmatched;
}

/** No route takes it: RFC 9110 §15.5.5, §15.5.6. */
export function unmatched(exchange: Exchange, allow: string | undefined): void {
  if (allow === undefined) respondError(exchange, 404);
  else respondError(exchange, 405, undefined, ["Allow", allow]);
}

/** How each kind of route is compiled. */
const COMPILERS: Readonly<Record<HandlerName, (route: RouteSettings, context: RouteContext) => RouteHandler>> = {
  static: (route, { deps, pattern, unmatched: none }) =>
    staticHandler(route.static!, pattern.expression === undefined ? pattern.filed : route.path, {
      ...deps.files,
      unmatched: none,
    }),
  proxy: (route, { deps, bodySize, pattern }) => {
    const handler = deps.proxyHandler(route, bodySize);
    return route.rewrite === undefined ? handler : rewriteHandler(route.rewrite, pattern, handler);
  },
  respond: (route) => fixedHandler(route.respond!),
  redirect: (route, { pattern }) => redirectHandler(route.redirect!, pattern),
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

/** What a route asks beyond path and method, in one call. */
function acceptsOf(route: RouteSettings, { expression }: PathPattern): Route["accepts"] {
  const conditions = compileConditions(route.match);
  if (conditions.length === 0) return expression === undefined ? undefined : (_exchange, path) => expression.test(path);
  return (exchange, path) =>
    (expression === undefined || expression.test(path)) && conditions.every((one) => one.holds(exchange));
}

/** The handler that a route has exactly one of. */
export function handlerNameOf(route: RouteSettings): HandlerName {
  return (Object.keys(COMPILERS) as HandlerName[]).find((candidate) => route[candidate] !== undefined)!;
}

/** Where a route stands among the others, and what it asks; what answers is `handle`. */
export function compileMatch(
  settings: RouteSettings,
  index: number,
  pattern: PathPattern,
  handle: RouteHandler,
): Route {
  return {
    path: pattern.filed,
    name: settings.name ?? settings.path,
    index,
    methods: methodsOf(settings),
    accepts: acceptsOf(settings, pattern),
    handle,
  };
}

function withPages(pages: ErrorPages, next: RouteHandler): RouteHandler {
  return (exchange, path, match, position) => next(new PagedExchange(exchange, pages), path, match, position);
}

/** A site, compiled. */
interface Site {
  readonly table: PathTable<Route>;
  /** The same and the internal ones. */
  readonly inner: PathTable<Route>;
  /** Routes that pass CONNECT on. */
  readonly tunnels: readonly Route[];
  /** Answers what is not for the routes (redirect to the one address, maintenance); true where it has. */
  readonly gate: ((exchange: Exchange) => boolean) | undefined;
  readonly unmatched: Unmatched;
}

class SiteCompiler {
  readonly #config: ResolvedConfig;
  readonly #deps: RouterDeps;
  readonly #pages = new Map<ErrorPageSettings, ErrorPages>();

  constructor(config: ResolvedConfig, deps: RouterDeps) {
    this.#config = config;
    this.#deps = deps;
  }

  pagesOf(settings: ErrorPageSettings | undefined): ErrorPages | undefined {
    if (settings === undefined) return undefined;
    let pages = this.#pages.get(settings);
    if (pages === undefined) this.#pages.set(settings, (pages = new ErrorPages(settings)));
    return pages;
  }

  /** Yields after each route: see {@link Router.inSlices}. */
  *compile(site: SiteSettings): Generator<void, Site> {
    const pages = this.pagesOf(site.errorPages ?? this.#config.errorPages);
    const none: Unmatched =
      pages === undefined ? unmatched : (exchange, allow) => unmatched(new PagedExchange(exchange, pages), allow);
    const routes: Route[] = [];
    for (const [index, route] of site.routes.entries()) {
      const own = route.errorPages === undefined ? pages : this.pagesOf(route.errorPages);
      routes.push(this.#route(route, index, none, own));
      yield;
    }
    const open = routes.filter(({ index }) => site.routes[index]!.internal !== true);
    const inner = new PathTable(routes);
    return {
      table: open.length === routes.length ? inner : new PathTable(open),
      inner,
      tunnels: open.filter(({ index }) => site.routes[index]!.proxy?.connect === true),
      gate: this.#gate(site, pages),
      unmatched: none,
    };
  }

  #gate(site: SiteSettings, pages: ErrorPages | undefined): Site["gate"] {
    const canonical = site.canonical === undefined ? undefined : compileCanonical(site.canonical);
    const closed = site.maintenance === undefined ? undefined : compileMaintenance(site.maintenance);
    if (closed === undefined) return canonical;
    return (exchange) =>
      canonical?.(exchange) === true || closed(pages === undefined ? exchange : new PagedExchange(exchange, pages));
  }

  #route(settings: RouteSettings, index: number, none: Unmatched, pages: ErrorPages | undefined): Route {
    const pattern = compilePath(settings.path);
    const bodySize = settings.limits?.bodySize ?? this.#config.limits.bodySize;
    const name = handlerNameOf(settings);
    const compile = COMPILERS[name];
    const chain = lazily(() =>
      limitBody(bodySize, compile(settings, { deps: this.#deps, bodySize, pattern, unmatched: none })),
    );
    // What a configuration answers itself it has chosen: only files and applications fail.
    const fails = name === "static" || name === "proxy";
    return compileMatch(settings, index, pattern, pages !== undefined && fails ? withPages(pages, chain) : chain);
  }
}

/** A configuration's sites, compiled. */
interface Compiled {
  readonly sites: HostTable<Site>;
  /** For hosts that no site has. */
  readonly pages: ErrorPages | undefined;
}

function* compileSites(config: ResolvedConfig, deps: RouterDeps): Generator<void, Compiled> {
  const compiler = new SiteCompiler(config, deps);
  const sites = new HostTable<Site>();
  for (const settings of config.sites) {
    const site = yield* compiler.compile(settings);
    for (const host of settings.hosts) sites.add(host, site);
  }
  return { sites, pages: compiler.pagesOf(config.errorPages) };
}

function whole(steps: Generator<void, Compiled>): Compiled {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

// A request that comes meanwhile waits no longer than this and one turn of the event loop.
const SLICE_MS = 5;

export class Router {
  readonly #sites: HostTable<Site>;
  readonly #pages: ErrorPages | undefined;

  constructor(config: ResolvedConfig, deps: RouterDeps, compiled: Compiled = whole(compileSites(config, deps))) {
    this.#sites = compiled.sites;
    this.#pages = compiled.pages;
  }

  /** Compiles a few routes at a time, while requests are answered in between: nobody waits for ten thousand routes. */
  static async inSlices(config: ResolvedConfig, deps: RouterDeps): Promise<Router> {
    const steps = compileSites(config, deps);
    let began = performance.now();
    for (;;) {
      const step = steps.next();
      if (step.done === true) return new Router(config, deps, step.value);
      if (performance.now() - began < SLICE_MS) continue;
      await nextTurn();
      began = performance.now();
    }
  }

  /** Answers an exchange. HOT for known hosts and plain paths: two lookups and a call. */
  handle(exchange: Exchange): void {
    const { head } = exchange;
    const site = this.#sites.find(head.authority);
    if (site === undefined) {
      respondError(this.#pages === undefined ? exchange : new PagedExchange(exchange, this.#pages), 421);
      return;
    }
    if (site.gate !== undefined && site.gate(exchange)) return;
    const path = lookupPath(head.target);
    if (path === undefined || path.charCodeAt(0) !== 0x2f) {
      this.#answerOddTarget(exchange, site);
      return;
    }
    dispatch(exchange, path, site.table.find(path), site.unmatched);
  }

  /** Answers an exchange that an application has sent on to another path of its site; internal routes are open to it. */
  redirect(exchange: RedirectedExchange): void {
    const { head } = exchange;
    const site = this.#sites.find(head.authority);
    const path = lookupPath(head.target);
    if (site === undefined || path === undefined) respondError(exchange, 404);
    else dispatch(exchange, path, site.inner.find(path), site.unmatched);
  }

  /** Targets that name no path: `OPTIONS *` is about the server (RFC 9110 §9.3.7), CONNECT is for routes that ask for it. */
  #answerOddTarget(exchange: Exchange, { tunnels }: Site): void {
    const { method, target } = exchange.head;
    if (method === "OPTIONS" && target === "*") exchange.respond(204, [], null);
    else if (method === "CONNECT") dispatch(exchange, "/", tunnels, (refused) => respondError(refused, 501));
    else respondError(exchange, 400);
  }
}
