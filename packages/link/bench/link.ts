/**
 * CPU per request of both ends of a link, over a unix socket between two processes.
 *
 *     node --conditions=@portico/source packages/link/bench/link.ts [requests] [in flight] [scheme] [shape]
 *
 * `scheme` says when gathered frames are written: immediate (as `@portico/link/socket`), microtask, tick, each.
 * `shape`: plain (9 request fields, 50-byte answer), bare (2 fields), large (100 KiB answer), async (plain, answered from
 * callbacks of their own, as an application with a database does).
 */
import { fork } from "node:child_process";
import { access, mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClientSession, type LinkRequest, type LinkSink, ServerSession, type UpstreamObserver } from "@portico/link";

type Scheme = "immediate" | "microtask" | "tick" | "each";

/** `@portico/link/socket`'s sink with the moment of the flush as a parameter. */
class BenchSink implements LinkSink {
  session: ClientSession | ServerSession | undefined;
  writes = 0;
  readonly #socket: net.Socket;
  readonly #scheme: Scheme;
  #kept = false;
  readonly #flush = (): void => this.session!.flush();
  readonly #written = (): void => {
    if (!this.#kept || this.#socket.writableLength > 0) return;
    this.#kept = false;
    this.session!.writable();
  };

  constructor(socket: net.Socket, scheme: Scheme) {
    this.#socket = socket;
    this.#scheme = scheme;
  }

  write(bytes: Uint8Array): boolean {
    this.writes++;
    this.#socket.write(bytes, this.#written);
    this.#kept = this.#socket.writableLength > 0;
    return !this.#kept;
  }

  writeAll(pieces: readonly Uint8Array[]): boolean {
    this.writes++;
    this.#socket.cork();
    for (const piece of pieces) this.#socket.write(piece, this.#written);
    this.#socket.uncork();
    this.#kept = this.#socket.writableLength > 0;
    return !this.#kept;
  }

  schedule(): void {
    if (this.#scheme === "immediate") setImmediate(this.#flush);
    else if (this.#scheme === "microtask") queueMicrotask(this.#flush);
    else process.nextTick(this.#flush);
  }

  end(): void {
    this.#socket.end();
  }
  destroy(): void {
    this.#socket.destroy();
  }
}

const FIELDS = [
  ["Host", "example.com", "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"],
  ["Accept", "text/html,application/xhtml+xml,application/xml;q=0.9", "Accept-Encoding", "gzip, deflate, br, zstd"],
  ["Accept-Language", "en-GB,en;q=0.5", "Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"],
  ["X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "https", "X-Request-Id", "01J9Z2V5TX8Q4M"],
].flat();

function makeRequest(shape: string): LinkRequest {
  return {
    method: "GET",
    scheme: "https",
    authority: "example.com",
    target: "/notices?page=2",
    version: "1.1",
    headers: shape === "bare" ? FIELDS.slice(0, 2) : FIELDS,
    bodyLength: 0,
    upgrade: undefined,
    id: "01J9Z2V5TX8Q4M",
    traceparent: undefined,
    tracestate: undefined,
    client: { address: "192.0.2.7", port: 4711, vouchedBy: "socket" },
    tls: undefined,
    receivedAt: 1_700_000_000_123,
    queuedMs: 0,
    deadline: undefined,
  };
}

interface Report {
  cpu: number;
  writes: number;
}

function serve(path: string, scheme: Scheme, shape: string): void {
  const small = "x".repeat(50);
  const large = Buffer.alloc(102_400, 120);
  const headers = ["content-type", "text/plain"];
  let sink: BenchSink;
  let usage = process.cpuUsage();
  const listener = net.createServer((socket) => {
    sink = new BenchSink(socket, scheme);
    const session = new ServerSession(
      sink,
      (exchange) => {
        if (shape === "async") access("/", () => exchange.respond(200, headers, small));
        else exchange.respond(200, headers, shape === "large" ? large : small);
      },
      { worker: { id: 1, generation: 1, count: 1, concurrency: 10_000 }, now: Date.now },
    );
    sink.session = session;
    socket.on("data", (chunk) => {
      session.receive(chunk);
      if (scheme === "each") session.flush();
    });
    socket.on("close", () => session.closed());
    session.start();
    session.flush();
  });
  listener.listen(path, () => process.send!("listening"));
  process.on("message", (message) => {
    if (message === "begin") {
      usage = process.cpuUsage();
      sink.writes = 0;
      process.send!("begun");
    } else {
      const spent = process.cpuUsage(usage);
      process.send!({ cpu: spent.user + spent.system, writes: sink.writes } satisfies Report);
    }
  });
  process.on("disconnect", () => process.exit(0));
}

async function drive(total: number, inFlight: number, scheme: Scheme, shape: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "portico-link-bench-"));
  const path = join(folder, "s");
  const child = fork(import.meta.filename, ["serve", path, scheme, shape]);
  const next = (): Promise<unknown> => new Promise((resolve) => child.once("message", resolve));
  await next();
  const socket = net.connect(path);
  const sink = new BenchSink(socket, scheme);
  const ready = Promise.withResolvers<unknown>();
  const session = new ClientSession(sink, { now: Date.now, onReady: ready.resolve });
  sink.session = session;
  socket.on("data", (chunk) => {
    session.receive(chunk);
    if (scheme === "each") session.flush();
  });
  session.start();
  session.flush();
  await ready.promise;
  const request = makeRequest(shape);

  const run = (count: number): Promise<void> =>
    new Promise((resolve) => {
      let opened = 0;
      let done = 0;
      const open = (): void => {
        opened++;
        // One observer per request, as the proxy has: its cost belongs to the figure.
        const observer: UpstreamObserver = {
          onInform() {},
          onResponse(_status, _headers, body, complete) {
            if (!complete && body !== null) stream.consume(body.length);
            if (complete) finish();
          },
          onData(chunk) {
            stream.consume(chunk.length);
          },
          onEnd: finish,
          onDrain() {},
          onReset(error) {
            throw new Error(error.message);
          },
        };
        const stream = session.open(request, null, true, observer);
      };
      const finish = (): void => {
        done++;
        if (done === count) resolve();
        else if (opened < count) open();
      };
      for (let index = 0; index < Math.min(inFlight, count); index++) open();
    });

  await run(Math.min(total, 30_000));
  child.send("begin");
  await next();
  sink.writes = 0;
  const usage = process.cpuUsage();
  const start = performance.now();
  await run(total);
  const elapsed = performance.now() - start;
  const spent = process.cpuUsage(usage);
  child.send("end");
  const report = (await next()) as Report;
  const own = (spent.user + spent.system) / total;
  const theirs = report.cpu / total;
  const figures = [
    `proxy ${own.toFixed(2)} µs`,
    `worker ${theirs.toFixed(2)} µs`,
    `both ${(own + theirs).toFixed(2)} µs`,
    `${(total / elapsed).toFixed(0)}k/s`,
    `requests per write ${(total / sink.writes).toFixed(1)} and ${(total / report.writes).toFixed(1)}`,
  ];
  console.log(`${shape} ${inFlight} in flight, ${scheme}: ${figures.join(", ")}`);
  socket.destroy();
  child.disconnect();
  rmSync(folder, { recursive: true, force: true });
}

const [first = "200000", second = "64", third = "immediate", fourth = "plain"] = process.argv.slice(2);
if (first === "serve") serve(second, third as Scheme, fourth);
else await drive(Number(first), Number(second), third as Scheme, fourth);
