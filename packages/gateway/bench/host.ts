/**
 * What the host costs per request, without any transport: nanoseconds from `handler(exchange)` to `respond`.
 *
 * node --conditions=@portico/source packages/gateway/bench/host.ts
 */
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { createHost, type Host } from "../src/host.ts";
import type { Application } from "../src/application.ts";
import type { Exchange, ExchangeFacts, ExchangeObserver, HeaderList, RequestHead } from "../src/exchange.ts";

const WARM_UP = 30_000;
const ROUNDS = 5;
const REQUESTS = 60_000;
/** Requests under way at once for those that answer later. */
const DEPTH = 32;

const HEAD: RequestHead = {
  method: "GET",
  scheme: "http",
  authority: "example.com",
  target: "/users/42?full=1",
  version: "1.1",
  headers: [
    "Host",
    "example.com",
    "User-Agent",
    "bench/1.0",
    "Accept",
    "*/*",
    "Accept-Encoding",
    "gzip",
    "Connection",
    "keep-alive",
  ],
  bodyLength: 0,
  upgrade: undefined,
};
const END = { address: "127.0.0.1", port: 1 };
const FACTS: ExchangeFacts = {
  id: "0123456789abcdef",
  traceparent: undefined,
  tracestate: undefined,
  peer: END,
  local: END,
  client: { ...END, vouchedBy: "socket" },
  tls: undefined,
  receivedAt: 0,
  queuedMs: 0,
  deadline: undefined,
};

/** An exchange that takes the answer and does nothing with it. */
class NullExchange implements Exchange {
  readonly head: RequestHead = HEAD;
  readonly facts: ExchangeFacts = FACTS;
  observer: ExchangeObserver | undefined = undefined;
  started = false;
  ended = false;
  readonly #done: () => void;

  constructor(done: () => void) {
    this.#done = done;
  }

  resume(): void {}
  pause(): void {}
  inform(): void {}
  respond(status: number, _headers: HeaderList): void {
    if (status !== 200) throw new RangeError(`status ${status}`);
    this.started = true;
    this.#finish();
  }
  start(): void {
    this.started = true;
  }
  write(): boolean {
    return true;
  }
  end(): void {
    this.#finish();
  }
  upgrade(): void {}
  abort(): void {
    throw new RangeError("aborted");
  }
  #finish(): void {
    this.ended = true;
    this.observer?.onFinish();
    this.#done();
  }
}

function drive(host: Host, count: number): Promise<number> {
  return new Promise((resolve) => {
    let begun = 0;
    let done = 0;
    let inLoop = false;
    const started = process.hrtime.bigint();
    const next = (): void => {
      done += 1;
      if (done === count) resolve(Number(process.hrtime.bigint() - started) / count);
      else if (!inLoop && begun < count) fill();
    };
    const fill = (): void => {
      inLoop = true;
      while (begun < count && begun - done < DEPTH) {
        begun += 1;
        host.handler(new NullExchange(next));
      }
      inLoop = false;
    };
    fill();
  });
}

const test = createRequire(new URL("../../../test/package.json", import.meta.url));
const load = (name: string): Promise<Record<string, never>> =>
  import(pathToFileURL(test.resolve(name)).href) as Promise<Record<string, never>>;
const honoModule = (await load("hono")) as unknown as {
  Hono: new () => {
    get(path: string, handler: (c: { text(text: string): Response; body(text: string): Response }) => Response): void;
    fetch: Application;
  };
};
const hono = new honoModule.Hono();
hono.get("/users/:id", (c) => c.text("Hello from Portico"));

const applications: Record<string, Application> = {
  "record, constant": () => ({ body: "Hello from Portico" }),
  "record, headers, url and one field read": (request) => ({
    headers: { "content-type": "text/plain", "x-seen": request.headers.get("user-agent") ?? "" },
    body: request.url,
  }),
  "record, async function": async () => ({ body: "Hello from Portico" }),
  "Response, without body": () => new Response(null),
  "Response, string": () => new Response("Hello from Portico"),
  "Hono, c.text": { fetch: hono.fetch },
  "real Request built (request.clone)": (request) => ({ body: request.clone().url }),
};

applications["Response, string, globals: fast"] = applications["Response, string"] as Application;
applications["Hono, c.text, globals: fast"] = { fetch: hono.fetch };

for (const [name, application] of Object.entries(applications)) {
  const host = await createHost(application, name.endsWith("fast") ? { globals: "fast" } : {});
  await drive(host, WARM_UP);
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) rounds.push(await drive(host, REQUESTS));
  rounds.sort((a, b) => a - b);
  process.stdout.write(
    `${name.padEnd(44)} ${Math.round(rounds[0] as number)
      .toString()
      .padStart(7)} ns best ${Math.round(rounds[ROUNDS >> 1] as number)
      .toString()
      .padStart(7)} ns median\n`,
  );
}
