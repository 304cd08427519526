/** The handler of a route that passes requests on: made once when a configuration is compiled. */
import type { ExchangeHandler } from "@portico/gateway/exchange";
import type { ProxySettings } from "../config/schema.ts";
import type { HandlerDeps } from "../deps.ts";
import { authorityOf, parseServerAddress } from "../upstream/address.ts";
import type { RedirectedExchange } from "../router/redirected.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { Wheel } from "../upstream/wheel.ts";
import { type CompiledEdits, compileEdits } from "./edits.ts";
import type { HostPolicy } from "./fields.ts";
import { Forward } from "./forward.ts";

/** What the forwarding of a route is made from. */
export interface ProxyHandlerOptions {
  readonly settings: ProxySettings;
  /** The group that `settings.upstream` names. */
  readonly upstream: Upstream;
  /** Largest request body of this route, bytes; beyond it 413. Without it: none of ours. */
  readonly bodyLimit?: number;
  /** Answers what a response's `X-Accel-Redirect` leads to. Without it, responses go to the client as they are. */
  readonly redirect?: ((exchange: RedirectedExchange) => void) | undefined;
  readonly wheel: Wheel;
  readonly deps: Pick<HandlerDeps, "log" | "tempDirectory" | "thread" | "answerError" | "noteUpstream">;
}

/** The same, folded once: what a request looks up on its way. */
export interface ProxyRoute extends ProxyHandlerOptions {
  readonly bodyLimit: number;
  readonly host: HostPolicy;
  readonly edits: CompiledEdits;
  /** Host field where the client sent none (HTTP/1.0). */
  readonly fallbackHost: string;
  /** What this thread calls itself in Via. */
  readonly viaName: string;
  /** Milliseconds. */
  readonly responseTimeout: number;
  readonly idleTimeout: number;
}

/** Passes every exchange it is given to a server of the upstream, and the response back. */
export function createProxyHandler(options: ProxyHandlerOptions): ExchangeHandler {
  const { settings, upstream } = options;
  const own = authorityOf(parseServerAddress(upstream.settings.servers[0]!.address));
  const route: ProxyRoute = {
    ...options,
    bodyLimit: options.bodyLimit ?? Infinity,
    host: settings.host === "pass" ? "pass" : { value: settings.host === "upstream" ? own : settings.host },
    edits: compileEdits(settings),
    fallbackHost: own,
    viaName: `portico-${options.deps.thread + 1}`,
    responseTimeout: settings.responseTimeout ?? upstream.settings.responseTimeout,
    idleTimeout: settings.idleTimeout ?? upstream.settings.idleTimeout,
  };
  return (exchange) => new Forward(exchange, route).begin();
}
