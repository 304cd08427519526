/** What stood behind one request, as the page /stack and /stack.json show it. */
import type { Context as TsgiContext } from "@portico/gateway";

export interface StackFacts {
  /** The way the request came, front to application. */
  readonly way: readonly { readonly name: string; readonly detail: string }[];
  readonly groups: readonly { readonly title: string; readonly rows: readonly (readonly [string, string])[] }[];
}

export function stackFacts(ctx: TsgiContext): StackFacts {
  const { client, peer, tls } = ctx.connection;
  const front = frontOf(ctx);
  const transport = client.vouchedBy === "link" ? "link" : `HTTP/${ctx.http.version}`;
  const capabilities = Object.entries(ctx.spec.capabilities);
  const now = Date.now();
  return {
    way: [
      { name: "client", detail: client.address },
      ...(front === undefined ? [] : [{ name: "proxy", detail: front }]),
      { name: transport, detail: client.vouchedBy === "link" ? "multiplexed" : peer.address },
      { name: `worker ${ctx.worker.id} of ${ctx.worker.count}`, detail: `process ${ctx.worker.pid}` },
    ],
    groups: [
      {
        title: "Front",
        rows: [
          ["proxy thread", front ?? "none: this server answered the client itself"],
          ["between the tiers", transport],
          ["client known from", client.vouchedBy],
          ["TLS", tls === undefined ? "none on this hop" : `${tls.protocol} ${tls.cipher}`],
          [
            "cache",
            ctx.spec.capabilities.cache ? "the front has one; this page asks not to be kept" : "none in this stack",
          ],
        ],
      },
      {
        title: "Worker",
        rows: [
          ["worker", `${ctx.worker.id} of ${ctx.worker.count}`],
          ["process", String(ctx.worker.pid)],
          ["generation", `${ctx.worker.generation} (counts reloads)`],
          ["Node", process.version],
          ["up for", `${process.uptime().toFixed(1)} s`],
          ["memory", `${(process.memoryUsage.rss() / 1024 / 1024).toFixed(0)} MiB resident`],
        ],
      },
      {
        title: "Times",
        rows: [
          ["received by the front", new Date(ctx.time.received).toISOString()],
          ["waited for a free worker", `${ctx.time.queued} ms`],
          ["from receipt to this line", `${Math.max(0, now - ctx.time.received).toFixed(0)} ms`],
          ["deadline", ctx.time.deadline === undefined ? "none" : `in ${ctx.time.deadline - now} ms`],
        ],
      },
      {
        title: "Request",
        rows: [
          ["id", ctx.id],
          ["request line", `${ctx.http.method} ${ctx.http.target} HTTP/${ctx.http.version}`],
          ["authority", `${ctx.http.scheme}://${ctx.http.authority}`],
          ["interface", `TSGI ${ctx.spec.version}`],
          [
            "capabilities",
            capabilities
              .filter(([, has]) => has)
              .map(([name]) => name)
              .join(", ") || "none",
          ],
          [
            "absent",
            capabilities
              .filter(([, has]) => !has)
              .map(([name]) => name)
              .join(", ") || "none",
          ],
        ],
      },
    ],
  };
}

/** The front names itself, and the thread that took the request, in Via (RFC 9110, section 7.6.3): `1.1 portico-2`. */
function frontOf(ctx: TsgiContext): string | undefined {
  const { headers } = ctx.http;
  for (let index = headers.length - 2; index >= 0; index -= 2) {
    if (headers[index]?.toLowerCase() !== "via") continue;
    const name = headers[index + 1]!.trim().split(/\s+/).at(-1)!;
    return name.replace(/^portico-(\d+)$/, "thread $1");
  }
  return undefined;
}
