/**
 * A configuration, made ready for one thread: what cannot be done is found out by `prepare`, before anything changes;
 * `commit` puts it in force between two requests.
 */
import type { Exchange, ExchangeHandler } from "@portico/gateway/exchange";
import { respondError } from "../answer/error.ts";
import type { ResolvedConfig } from "../config/schema.ts";
import type { HandlerDeps, ProxyLog } from "../deps.ts";
import { AccessLog } from "../log/access-log.ts";
import type { LogName } from "../log/batch.ts";
import { createErrorLog } from "../log/error-log.ts";
import { createProxyHandler } from "../proxying/handler.ts";
import { mirrorHandler } from "../router/mirror.ts";
import type { RedirectedExchange } from "../router/redirected.ts";
import { Router } from "../router/router.ts";
import { splitHandler } from "../router/split.ts";
import { FileCache } from "../static/cache.ts";
import type { UpstreamRegistry } from "../upstream/registry.ts";
import type { Wheel } from "../upstream/wheel.ts";

/** What lives longer than a configuration. */
export interface ThreadContext {
  readonly thread: number;
  readonly threads: number;
  readonly tempDirectory: string;
  readonly registry: UpstreamRegistry;
  readonly wheel: Wheel;
  writeLog(log: LogName, line: string): void;
}

export interface Compiled {
  readonly config: ResolvedConfig;
  readonly log: ProxyLog;
  readonly handler: ExchangeHandler;
  /** Gives the upstreams their new settings. Must be called before `handler` is. */
  commit(): void;
}

/** @throws whatever a setting that was validated and still cannot be compiled throws; nothing has changed then */
export async function prepare(config: ResolvedConfig, context: ThreadContext): Promise<Compiled> {
  const log = createErrorLog(config.log, { thread: context.thread }, (line) => context.writeLog("error", line));
  const access = config.log.access === "off" ? undefined : new AccessLog((line) => context.writeLog("access", line));
  const deps: HandlerDeps = {
    log,
    config,
    thread: context.thread,
    threads: context.threads,
    tempDirectory: context.tempDirectory,
    answerError(exchange: Exchange, status, reason, retryAfterSeconds) {
      respondError(
        exchange,
        status,
        reason,
        retryAfterSeconds === undefined ? [] : ["Retry-After", String(retryAfterSeconds)],
      );
    },
    noteUpstream(exchange, facts) {
      access?.noteUpstream(exchange, facts);
    },
  };
  context.registry.check(config.upstreams);
  const answerRedirect = (exchange: RedirectedExchange): void => router.redirect(exchange);
  const router: Router = await Router.inSlices(config, {
    files: {
      log,
      files: new FileCache(Math.floor(config.staticCache.size / context.threads), config.staticCache.file),
      checkMs: config.staticCache.check,
    },
    proxyHandler(route, bodyLimit) {
      const settings = route.proxy!;
      // Nobody sees a mirror's answers: it leads nowhere.
      const handlerOf = (name: string, redirect?: typeof answerRedirect): ExchangeHandler => {
        const upstream = context.registry.get(name);
        // Only for a request that met this route under a configuration that has been replaced since.
        if (upstream === undefined) return (exchange) => respondError(exchange, 503);
        return createProxyHandler({ settings, upstream, bodyLimit, redirect, wheel: context.wheel, deps });
      };
      const { split, mirror } = settings;
      const answering = (name: string): ExchangeHandler => handlerOf(name, answerRedirect);
      const handler = split === undefined ? answering(settings.upstream!) : splitHandler(split, answering);
      return mirror === undefined ? handler : mirrorHandler(mirror, handlerOf(mirror.upstream), handler);
    },
  });
  const handle: ExchangeHandler = (exchange) => router.handle(exchange);
  return {
    config,
    log,
    handler: access === undefined ? handle : access.watch(handle),
    commit() {
      context.registry.apply(config.upstreams, config.timeouts.graceful);
    },
  };
}
