/** A router over a configuration, whose upstreams answer with what they were asked. For unit tests; not part of the package. */
import { type ResolvedConfig, configSchema } from "../config/schema.ts";
import { FileCache } from "../static/cache.ts";
import { TestExchange, type TestRequest } from "../test-exchange.ts";
import { Router } from "./router.ts";

const QUIET = { debug() {}, info() {}, warn() {}, error() {} };

export function routerOf(config: object): Router {
  const resolved: ResolvedConfig = configSchema.parse({ upstreams: { app: { servers: ["http://a"] } }, ...config });
  return new Router(resolved, {
    files: { log: QUIET, files: new FileCache(0, 0), checkMs: 1000 },
    proxyHandler: (route) => (exchange) =>
      exchange.respond(200, [], `${route.proxy!.upstream} ${exchange.head.target}`),
  });
}

export const siteOf = (...routes: object[]): object => ({ sites: [{ hosts: ["*"], routes }] });
export const answer = (body: string): object => ({ respond: { body } });

export function ask(router: Router, request: TestRequest & { readonly client?: string } = {}): TestExchange {
  const exchange = new TestExchange(request);
  if (request.client !== undefined)
    Object.assign(exchange.facts, { client: { address: request.client, port: 1, vouchedBy: "socket" } });
  router.handle(exchange);
  return exchange;
}
