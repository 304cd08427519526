/** The HTTP/1.1 engine's options of a configuration, and what becomes of messages it refuses. */
import { Http1Error } from "@portico/http1";
import type { HttpListenerOptions } from "@portico/http1/socket";
import type { ResolvedConfig } from "../config/schema.ts";
import type { ProxyLog } from "../deps.ts";

// A client that closes its half has nearly always left, and the application should hear of it; nginx takes it for gone at
// once. The rest, tools that send and half-close, are answered if the answer comes within this time.
const HALF_CLOSED_MS = 1_000;

/** @param log asked for each time: it changes with a reload */
export function listenerOptions(
  config: ResolvedConfig,
  trust: (peer: string) => boolean,
  log: () => ProxyLog,
): HttpListenerOptions {
  const { limits, timeouts } = config;
  return {
    messageLimits: {
      startLine: limits.requestLine,
      field: limits.headerField,
      header: limits.headerBlock,
      fields: limits.headerFields,
    },
    limits: {
      headTimeMs: timeouts.header,
      bodyGapMs: timeouts.body,
      bodyRate: timeouts.bodyRate,
      keepAliveMs: timeouts.keepAlive,
      writeStallMs: timeouts.send,
      halfClosedMs: HALF_CLOSED_MS,
      requests: limits.requestsPerConnection,
    },
    trust,
    onError(error, facts) {
      const fields = { id: facts.id, client: facts.connection.client.address };
      // What a client did wrong is its own affair; what we did wrong is not.
      if (error instanceof Http1Error && error.side === "peer")
        log().info({ ...fields, rule: error.rule, status: error.status }, "request refused");
      else log().error({ ...fields, err: error }, "a request failed");
    },
  };
}
