/**
 * `node --conditions=@portico/source packages/http1/bench/engine.ts`
 *
 * The engine alone, without sockets: nanoseconds of CPU from the bytes of a request to the bytes of its response.
 */
import { ServerConnection } from "../src/connection.ts";

const endpoint = { address: "192.0.2.1", port: 1 };
const facts = {
  peer: endpoint,
  local: endpoint,
  client: { ...endpoint, vouchedBy: "socket" as const },
  tls: undefined,
  scheme: "http" as const,
};
const REQUESTS = {
  "smallest (wrk)": "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
  "browser, 11 fields":
    "GET /assets/app-3f9a1c.js?v=12 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n" +
    'sec-ch-ua: "Chromium";v="142", "Not A(Brand";v="99"\r\nsec-ch-ua-mobile: ?0\r\n' +
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n" +
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
    "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
    "Accept-Language: de-DE,de;q=0.9,en;q=0.8\r\nCookie: session=abcdefghijklmnopqrstuvwxyz0123456789; theme=dark\r\n\r\n",
};
const ROUNDS = 300_000;
const body = "x".repeat(1000);
const headers = ["Content-Type", "application/json", "Cache-Control", "no-store", "X-Request-Id", "abcdef-123"];

for (const [name, text] of Object.entries(REQUESTS)) {
  let bytes = 0;
  const sink = {
    write(data: Uint8Array | string) {
      bytes += data.length;
      return true;
    },
    pause() {},
    resume() {},
    end() {},
    destroy() {},
  };
  const options = { limits: { requests: Infinity } };
  const connection = new ServerConnection(sink, (exchange) => exchange.respond(200, headers, body), options, facts);
  const chunk = Buffer.from(text);
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    const start = process.cpuUsage().user;
    for (let count = 0; count < ROUNDS; count++) connection.receive(chunk);
    best = Math.min(best, ((process.cpuUsage().user - start) * 1000) / ROUNDS);
  }
  console.log(`${name}: ${best.toFixed(0)} ns (${chunk.length} bytes in, ${bytes / ROUNDS / 5} out)`);
}
