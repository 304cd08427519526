/**
 * What a `node:http` listener costs per request on an exchange, without any transport, beside what the same listener
 * costs on `node:http`'s own message classes with a socket that throws its bytes away (which leaves out llhttp and
 * system calls, so the real distance is larger). Microseconds of CPU; best of several interleaved rounds.
 *
 * node --conditions=@portico/source packages/gateway/bench/node-adapter.ts
 */
import { IncomingMessage, type RequestListener, ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { Writable } from "node:stream";
import { nodeHandler } from "../src/node.ts";
import type { Exchange, ExchangeFacts, ExchangeHandler, ExchangeObserver, RequestHead } from "../src/exchange.ts";

const WARM_UP = 20_000;
const ROUNDS = 7;
const REQUESTS = 20_000;
/** Requests begun before the event loop turns: about what a busy link delivers in one read. */
const PER_TURN = 32;

const HEAD: RequestHead = {
  method: "GET",
  scheme: "http",
  authority: "example.com",
  target: "/",
  version: "1.1",
  headers: ["Host", "example.com", "User-Agent", "bench/1.0", "Accept", "*/*", "Accept-Encoding", "gzip"],
  bodyLength: 0,
  upgrade: undefined,
};
const END = { address: "127.0.0.1", port: 1 };
const FACTS: ExchangeFacts = {
  id: "bench",
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

/** Takes the answer and finishes, as a transport does when the kernel takes the bytes at once. */
class BenchExchange implements Exchange {
  readonly head = { ...HEAD, headers: [...HEAD.headers] };
  readonly facts = FACTS;
  observer: ExchangeObserver | undefined = undefined;
  started = false;
  ended = false;
  resume(): void {}
  pause(): void {}
  inform(): void {}
  respond(): void {
    this.started = true;
    this.ended = true;
    this.observer?.onFinish();
  }
  start(): void {
    this.started = true;
  }
  write(): boolean {
    return true;
  }
  end(): void {
    this.ended = true;
    this.observer?.onFinish();
  }
  upgrade(): void {}
  abort(): void {
    this.ended = true;
  }
}

type Run = () => void;

function onExchanges(handler: ExchangeHandler): Run {
  return () => handler(new BenchExchange());
}

/** `parserOnIncoming` of `node:http`, with a bare writable in place of the socket. */
function onNode(listener: RequestListener): Run {
  const socket = Object.assign(new Writable({ write: (_chunk, _encoding, done) => done(), highWaterMark: 1e9 }), {
    readable: true,
    remoteAddress: END.address,
    resume() {},
    pause() {},
  });
  socket.setMaxListeners(0);
  return () => {
    const request = new IncomingMessage(socket as never);
    const inside = request as unknown as { _addHeaderLines(list: string[], count: number): void };
    request.httpVersionMajor = 1;
    request.httpVersionMinor = 1;
    request.httpVersion = "1.1";
    inside._addHeaderLines([...HEAD.headers], HEAD.headers.length);
    request.method = HEAD.method;
    request.url = HEAD.target;
    const response = new ServerResponse(request);
    (socket as unknown as { _httpMessage: unknown })._httpMessage = null;
    response.assignSocket(socket as never);
    response.on("finish", () => {
      (request as unknown as { _dump(): void })._dump();
      process.nextTick(() => response.emit("close"));
    });
    request.complete = true;
    request.push(null);
    listener(request, response);
    socket.removeAllListeners("close");
  };
}

async function measure(run: Run, requests: number): Promise<number> {
  const before = process.cpuUsage();
  for (let done = 0; done < requests;) {
    for (let index = 0; index < PER_TURN; index++, done++) {
      run();
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  const used = process.cpuUsage(before);
  return (used.user + used.system) / requests;
}

function express(): RequestListener | undefined {
  try {
    const load = createRequire(new URL("../../../test/package.json", import.meta.url));
    const make = load("express") as () => RequestListener & {
      get(path: string, handler: (q: unknown, r: { send(body: string): void }) => void): void;
    };
    const app = make();
    app.get("/", (_request, response) => response.send("hello"));
    return app;
  } catch {
    return undefined;
  }
}

const plain: RequestListener = (_request, response) => void response.end("hello");
const listeners: [string, RequestListener | undefined][] = [
  ["res.end", plain],
  ["Express 5", express()],
];
for (const [name, listener] of listeners) {
  if (listener === undefined) {
    console.log(`${name}: not installed, skipped`);
    continue;
  }
  const sides = { ours: onExchanges(nodeHandler(listener)), node: onNode(listener) };
  const best = { ours: Number.POSITIVE_INFINITY, node: Number.POSITIVE_INFINITY };
  for (const side of ["ours", "node"] as const) {
    await measure(sides[side], WARM_UP);
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const side of ["ours", "node"] as const) {
      best[side] = Math.min(best[side], await measure(sides[side], REQUESTS));
    }
  }
  console.log(
    `${name}: ours ${best.ours.toFixed(2)} µs, node:http's classes ${best.node.toFixed(2)} µs, ratio ${(best.ours / best.node).toFixed(2)}`,
  );
}
