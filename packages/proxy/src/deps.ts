/**
 * What the handlers of a thread may use of the thread: its log, its temporary folder, its error answers. Given when a
 * configuration is compiled, the same for all routes.
 */
import type { Exchange } from "@portico/gateway/exchange";
import type { ResolvedConfig } from "./config/schema.ts";

/** The error log: structured, never with secrets, never on the hot path. */
export interface ProxyLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What an upstream had to do with an exchange, for the access log. Durations in milliseconds. */
export interface UpstreamFacts {
  readonly upstream: string;
  /** Address of the server that answered, or that failed last. */
  readonly server: string | undefined;
  /** Servers tried. */
  readonly attempts: number;
  readonly queuedMs: number;
  /** From sending the request to the head of the response. */
  readonly headMs: number | undefined;
  readonly status: number | undefined;
  /** What failed and in which phase, where something did. */
  readonly failure: string | undefined;
}

export interface HandlerDeps {
  readonly log: ProxyLog;
  /** Private to this proxy, exists, is emptied when the proxy starts and removed when it stops. */
  readonly tempDirectory: string;
  /** 0 for the first thread. */
  readonly thread: number;
  readonly threads: number;
  readonly config: ResolvedConfig;
  /**
   * Answers with an error page, or JSON, by what the client accepts; with the request id, never with more than
   * `reason`, a short sentence that is safe for everyone to read. No effect once the response has begun.
   */
  answerError(exchange: Exchange, status: number, reason?: string, retryAfterSeconds?: number): void;
  /** Puts what the upstream did into the access log's line of this exchange. Cheap, and nothing where the log is off. */
  noteUpstream(exchange: Exchange, facts: UpstreamFacts): void;
}
