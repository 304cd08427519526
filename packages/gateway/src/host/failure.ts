import { PorticoGatewayError } from "../errors.ts";
import type { Exchange, HeaderList } from "../exchange.ts";

/** What a client is told of an error that nobody handled. */
export interface ErrorReply {
  readonly status: number;
  readonly headers: HeaderList;
  readonly body: string;
  /** One line for the log. */
  readonly summary: string;
}

const PHRASES: Record<number, string> = {
  400: "Bad Request",
  413: "Content Too Large",
  426: "Upgrade Required",
  499: "Client Closed Request",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** Seconds after which a client may ask again when the worker was out of time or going away. */
const RETRY_AFTER_S = "1";

/** The page for an unhandled error: status and request id; the stack only in development. */
export function errorReply(error: unknown, exchange: Exchange, development: boolean): ErrorReply {
  const status = statusOf(error);
  const id = exchange.facts.id;
  const summary = error instanceof Error ? `${error.name}: ${error.message}` : `threw ${typeof error}`;
  const detail = development ? `\n${error instanceof Error ? (error.stack ?? summary) : summary}\n` : "";
  const headers = ["content-type", "text/plain;charset=UTF-8", "cache-control", "no-store"];
  if (status === 503) headers.push("retry-after", RETRY_AFTER_S);
  const body = `${status} ${PHRASES[status] ?? "Error"}\nRequest id: ${id}\n${detail}`;
  return { status, headers, body: exchange.head.method === "HEAD" ? "" : body, summary };
}

/** An error of ours says its status, where the client or the moment is to blame; every other is a 500. */
function statusOf(error: unknown): number {
  if (!(error instanceof PorticoGatewayError) || error.side === "application") return 500;
  return error.status;
}
