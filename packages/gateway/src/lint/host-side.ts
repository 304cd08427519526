import type { Context } from "../context.ts";
import type { BreachBook } from "./breach.ts";

const CAPABILITIES = [
  "upgrade",
  "earlyHints",
  "trailers",
  "requestTrailers",
  "waitUntil",
  "buffering",
  "raiseLimits",
  "file",
  "internalRedirect",
  "cache",
  "compress",
] as const;

const VOUCHERS = ["socket", "proxy-protocol", "forwarded", "link"];
const METHODS = [
  "earlyHints",
  "trailers",
  "buffering",
  "upgrade",
  "waitUntil",
  "onFinished",
  "file",
  "internalRedirect",
  "compress",
] as const;
const LOG_METHODS = ["debug", "info", "warn", "error", "child"] as const;

type Check = readonly [rule: string, says: string, holds: (request: Request, ctx: Context) => boolean];

/** What a host owes at the moment it calls the application. Order is that of the document. */
const CHECKS: readonly Check[] = [
  ["T3.1.1", "ctx.spec is TSGI 1.0", (_, ctx) => ctx.spec.name === "TSGI" && ctx.spec.version === "1.0"],
  ["T3.1.1", "ctx has every method", (_, ctx) => METHODS.every((name) => typeof ctx[name] === "function")],
  [
    "T3.2.1",
    "every capability is declared",
    (_, ctx) => CAPABILITIES.every((name) => typeof ctx.spec.capabilities[name] === "boolean"),
  ],
  [
    "T3.3.1",
    "ctx.id is 1 to 128 visible ASCII characters",
    (_, ctx) => typeof ctx.id === "string" && /^[\x21-\x7e]{1,128}$/.test(ctx.id),
  ],
  [
    "T3.3.2",
    "ctx.trace.traceparent is well-formed or undefined",
    (_, { trace }) =>
      trace.traceparent === undefined || /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}/.test(trace.traceparent),
  ],
  [
    "T3.3.3",
    "ctx.http.target is in origin-form, or * or an authority",
    (_, { http }) => http.target.startsWith("/") || http.target === "*" || http.method === "CONNECT",
  ],
  [
    "T3.3.4",
    "ctx.http.headers is a flat list of names and values",
    (_, { http }) =>
      Array.isArray(http.headers) &&
      http.headers.length % 2 === 0 &&
      http.headers.every((part) => typeof part === "string"),
  ],
  [
    "T3.3.5",
    "ctx.http has version, scheme and method",
    (_, { http }) => /^(?:1\.[01]|2)$/.test(http.version) && /^https?$/.test(http.scheme) && http.method !== "",
  ],
  [
    "T3.3.6",
    "root and path make the target without its query",
    (_, { mount, http }) => mount.root + mount.path === http.target.split("?", 1)[0],
  ],
  [
    "T3.3.7",
    "ctx.connection has peer, local and client",
    (_, { connection }) =>
      [connection.peer, connection.local, connection.client].every(
        (end) => typeof end.address === "string" && typeof end.port === "number",
      ),
  ],
  [
    "T3.3.7",
    "client.vouchedBy is one of the four",
    (_, { connection }) => VOUCHERS.includes(connection.client.vouchedBy),
  ],
  [
    "T3.3.9",
    "ctx.time is in milliseconds",
    (_, { time }) => time.received > 1e12 && time.queued >= 0 && (time.deadline === undefined || time.deadline > 1e12),
  ],
  [
    "T3.3.10",
    "ctx.worker is numbered",
    (_, { worker }) => worker.id >= 1 && worker.generation >= 1 && worker.count >= 1 && Number.isInteger(worker.pid),
  ],
  ["T3.5.1", "ctx.log is a logger", (_, { log }) => LOG_METHODS.every((name) => typeof log[name] === "function")],
  [
    "T4.1.1",
    "the request is a Request with Headers",
    (request) => request instanceof Request && request.headers instanceof Headers,
  ],
  [
    "T4.1.2",
    "request.url is absolute and as the URL standard writes it",
    (request) => URL.canParse(request.url) && new URL(request.url).href === request.url,
  ],
  [
    "T4.1.2",
    "request.url has the scheme of ctx.http",
    (request, { http }) => request.url.startsWith(`${http.scheme}://`),
  ],
  [
    "T4.1.5",
    "GET and HEAD have no body",
    (request) => (request.method !== "GET" && request.method !== "HEAD") || request.body === null,
  ],
];

/** Checks what the host passes in. */
export function checkCall(book: BreachBook, request: Request, ctx: Context): void {
  for (const [rule, says, holds] of CHECKS) {
    let kept = false;
    let why = "it does not hold";
    try {
      kept = holds(request, ctx);
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
    }
    book.check(kept, rule, "host", `${says}: ${why}`);
  }
}

/** The codes that a signal's reason may have, with the names that go with them. */
const REASONS: Record<string, string> = {
  CLIENT_DISCONNECTED: "ClientDisconnected",
  TIMEOUT: "Timeout",
  SHUTDOWN: "Shutdown",
};

/** Watches one exchange to its end. */
export function watchEnd(book: BreachBook, ctx: Context): void {
  let finished = false;
  let complete = false;
  ctx.onFinished((reason) => {
    complete = reason === undefined;
    book.note(!finished, "T7.2.1", "host", "onFinished called back twice");
    finished = true;
    if (reason !== undefined) {
      book.note(
        REASONS[reason.code] === reason.name,
        "T7.2.1",
        "host",
        `onFinished gave ${reason.name} ${reason.code} as reason`,
      );
    }
  });
  ctx.signal.addEventListener("abort", () => {
    const reason = ctx.signal.reason as { code?: unknown; name?: unknown } | undefined;
    const known = typeof reason?.code === "string" && REASONS[reason.code] === reason.name;
    book.note(known, "T3.4.1", "host", `the signal aborted with ${String(reason?.name)} ${String(reason?.code)}`);
    book.note(!complete, "T3.4.2", "host", "the signal aborted after the response was complete");
  });
}
