/** Serves the metrics to whoever scrapes them, over HTTP in the master. */
import { createServer } from "node:net";
import type { ExchangeHandler } from "@portico/gateway/exchange";
import { HttpListener } from "@portico/http1/socket";
import { BoundListener } from "@portico/supervisor";
import { PorticoServerError } from "../error.ts";
import { PROMETHEUS_TYPE } from "./prometheus.ts";

export interface MetricsEndpoint {
  /** `http://127.0.0.1:9100/metrics` */
  readonly url: string;
  close(): Promise<void>;
}

/** @throws PorticoServerError `bind` */
export async function serveMetrics(address: string, text: () => string): Promise<MetricsEndpoint> {
  const http = new HttpListener(answerWith(text));
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => http.attach(socket));
  try {
    const listener = await BoundListener.bind(address);
    await listener.serve(server);
    return {
      url: `${listener.url}/metrics`,
      async close() {
        await listener.close();
        server.close();
        http.destroy();
      },
    };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new PorticoServerError("bind", `metrics: ${message}`, { cause: error });
  }
}

function answerWith(text: () => string): ExchangeHandler {
  return (exchange) => {
    const { method, target } = exchange.head;
    const plain = ["Content-Type", "text/plain; charset=utf-8"];
    if (target.split("?")[0] !== "/metrics") exchange.respond(404, plain, "Not Found: the metrics are at /metrics\n");
    else if (method !== "GET" && method !== "HEAD")
      exchange.respond(405, [...plain, "Allow", "GET, HEAD"], "Method Not Allowed\n");
    else exchange.respond(200, ["Content-Type", PROMETHEUS_TYPE], text());
  };
}
