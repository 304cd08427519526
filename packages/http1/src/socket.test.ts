import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { type AddressInfo, type Server, type Socket, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Exchange, ExchangeHandler } from "@portico/gateway/exchange";
import { afterEach, expect, test } from "vitest";
import { HttpListener, type HttpListenerOptions } from "./socket.ts";

const run = promisify(execFile);
const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ok: ExchangeHandler = (exchange) => exchange.respond(200, ["X-Target", exchange.head.target], "hello");

const cleanUp: (() => void)[] = [];
afterEach(() => {
  for (const action of cleanUp.splice(0)) action();
});

interface Running {
  readonly listener: HttpListener;
  readonly server: Server;
  readonly port: number;
}

async function serve(handler: ExchangeHandler, options: HttpListenerOptions = {}): Promise<Running> {
  const listener = new HttpListener(handler, options);
  // Without allowHalfOpen on purpose: `attach` must see to it.
  const server = createServer((socket) => listener.attach(socket));
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  cleanUp.push(() => {
    server.close();
    listener.destroy();
  });
  return { listener, server, port: (server.address() as AddressInfo).port };
}

/** A raw client: `said()` resolves when the text matches or the server closed. */
function client(port: number): { socket: Socket; said: (pattern: RegExp) => Promise<string>; closed: Promise<string> } {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  let text = "";
  let over = false;
  const watchers = new Set<() => void>();
  const wake = (): void => watchers.forEach((watcher) => watcher());
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    wake();
  });
  const ending = (): void => {
    over = true;
    wake();
  };
  socket.on("end", ending).on("close", ending).on("error", ending);
  cleanUp.push(() => socket.destroy());
  const until = (done: () => boolean): Promise<string> =>
    new Promise((resolve) => {
      const watcher = (): void => {
        if (!done()) return;
        watchers.delete(watcher);
        resolve(text);
      };
      watchers.add(watcher);
      watcher();
    });
  return { socket, said: (pattern) => until(() => over || pattern.test(text)), closed: until(() => over) };
}

/** Collects a body, then answers with its length. */
const measure: ExchangeHandler = (exchange) => {
  let bytes = 0;
  exchange.observer = {
    onData: (chunk) => void (bytes += chunk.length),
    onEnd: () => exchange.respond(200, [], String(bytes)),
    onDrain() {},
    onFinish() {},
    onAbort() {},
  };
  exchange.resume();
};

test("curl: GET, HEAD, upload, keep-alive", async () => {
  const { listener, port } = await serve((exchange) => (exchange.head.method === "POST" ? measure : ok)(exchange));
  const url = `http://127.0.0.1:${port}/x`;
  const get = await run("curl", ["-si", "--max-time", "5", url, url]);
  expect(get.stdout.match(/X-Target: \/x\r\n/g)?.length).toBe(2);
  expect(listener.requests).toBe(2);
  const head = await run("curl", ["-sI", "--max-time", "5", url]);
  expect(head.stdout).toMatch(/Content-Length: 5\r\n\r\n$/);
  const large = "x".repeat(100_000);
  const post = await run("curl", ["-s", "--max-time", "5", "-d", large, url]);
  expect(post.stdout).toBe("100000");
  const chunked = await run("curl", ["-s", "--max-time", "5", "-H", "Transfer-Encoding: chunked", "-d", large, url]);
  expect(chunked.stdout).toBe("100000");
  const expected = await run("curl", [
    "-s",
    "--max-time",
    "5",
    "-H",
    "Expect: 100-continue",
    "--expect100-timeout",
    "4",
    "-d",
    large,
    url,
  ]);
  expect(expected.stdout).toBe("100000");
});

test("node:http keeps one connection", async () => {
  const { listener, port } = await serve(measure);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  cleanUp.push(() => agent.destroy());
  for (const length of [0, 1, 70_000]) {
    const answer = await new Promise<string>((resolve, reject) => {
      const outgoing = request({ port, host: "127.0.0.1", agent, method: "PUT" }, (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString()));
        response.on("end", () => resolve(text));
      });
      outgoing.on("error", reject);
      outgoing.end("x".repeat(length));
    });
    expect(answer).toBe(String(length));
  }
  expect([listener.connections, listener.requests]).toEqual([1, 3]);
});

test("pipelined requests are answered in order", async () => {
  const { port } = await serve(
    (exchange) => void setTimeout(() => ok(exchange), exchange.head.target === "/1" ? 20 : 1),
  );
  const { socket, said } = client(port);
  socket.write(["/1", "/2", "/3"].map((target) => GET.replace("/", target)).join(""));
  const text = await said(/\/3\r\n[^]*hello$/);
  expect([...text.matchAll(/X-Target: (\S+)/g)].map((match) => match[1])).toEqual(["/1", "/2", "/3"]);
});

test("a half-closed client still gets its answer", async () => {
  const { port } = await serve((exchange) => void setTimeout(() => ok(exchange), 5));
  const { socket, closed } = client(port);
  socket.end(GET);
  expect(await closed).toMatch(/Connection: close\r\n[^]*hello$/);
});

test.each(["end", "resetAndDestroy"] as const)("a client that leaves by %s aborts the exchange, once", async (way) => {
  const reasons: string[] = [];
  const { listener, port } = await serve((exchange) => {
    exchange.observer = {
      onData() {},
      onEnd() {},
      onDrain() {},
      onFinish() {},
      onAbort: (reason) => reasons.push(reason),
    };
  });
  const { socket } = client(port);
  socket.write(GET);
  await expect.poll(() => listener.requests).toBe(1);
  socket[way]();
  await expect.poll(() => listener.connections).toBe(0);
  expect(reasons).toEqual(["client-disconnected"]);
});

test("a slow head is cut off while others are served", async () => {
  const { port } = await serve(ok, { limits: { headTimeMs: 300 } });
  const slow = client(port);
  const trickle = setInterval(() => slow.socket.write("x"), 50);
  slow.socket.write("GET / HTTP/1.1\r\nX: ");
  const fast = client(port);
  fast.socket.write(GET);
  expect(await fast.said(/hello$/)).toContain("200 OK");
  expect(await slow.closed).toMatch(/^HTTP\/1\.1 408 /);
  clearInterval(trickle);
});

test("a client that does not read stops the writer, and gets everything once it does", async () => {
  let written = 0;
  let stopped = 0;
  const total = 20_000_000;
  const { port } = await serve((exchange) => {
    const chunk = Buffer.alloc(50_000, 120);
    const fill = (): void => {
      while (written < total) {
        written += chunk.length;
        if (exchange.write(chunk)) continue;
        stopped++;
        return;
      }
      exchange.end();
    };
    exchange.observer = { onData() {}, onEnd() {}, onDrain: fill, onFinish() {}, onAbort() {} };
    exchange.start(200, ["Content-Length", String(total)]);
    fill();
  });
  const socket = connect(port, "127.0.0.1");
  cleanUp.push(() => socket.destroy());
  socket.pause();
  socket.write(GET);
  await expect.poll(() => stopped).toBeGreaterThan(0);
  expect(written).toBeLessThan(total);
  let bytes = 0;
  socket.on("data", (chunk: Buffer) => (bytes += chunk.length));
  socket.resume();
  await expect.poll(() => bytes, { timeout: 10_000 }).toBeGreaterThan(total);
});

test("an upload that nobody reads stops the client", async () => {
  let exchange: Exchange | undefined;
  const { port } = await serve((given) => void (exchange = given));
  const { socket } = client(port);
  socket.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n");
  let sent = 0;
  const chunk = Buffer.alloc(100_000);
  const push = (): void => {
    while (sent < 50_000_000 && socket.write(chunk)) sent += chunk.length;
  };
  socket.on("drain", push);
  push();
  await expect.poll(() => exchange).toBeDefined();
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(sent).toBeLessThan(40_000_000);
});

test("a large upload that is refused: the client reads the answer, not a reset", async () => {
  const { port } = await serve((exchange) => exchange.respond(413, [], "too large"));
  const { socket, closed } = client(port);
  socket.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n");
  socket.end(Buffer.alloc(3_000_000));
  expect(await closed).toMatch(/^HTTP\/1\.1 413 [^]*too large$/);
});

test("upgrade: an echo, both halves", async () => {
  const { port } = await serve((exchange) => {
    exchange.observer = {
      onData: (chunk) => void exchange.write(chunk),
      onEnd: () => exchange.end(),
      onDrain() {},
      onFinish() {},
      onAbort() {},
    };
    exchange.upgrade(101, []);
    exchange.resume();
  });
  const { socket, said, closed } = client(port);
  socket.write(`${GET.slice(0, -2)}Connection: Upgrade\r\nUpgrade: echo\r\n\r\none`);
  await said(/one$/);
  socket.end("two");
  expect(await closed).toMatch(/^HTTP\/1\.1 101 [^]*\r\n\r\nonetwo$/);
});

test("drain: answers what is under way, closes what is idle, resolves", async () => {
  const { listener, port } = await serve((exchange) => void setTimeout(() => ok(exchange), 100), {
    limits: { drainIdleMs: 50 },
  });
  const idle = client(port);
  idle.socket.write(GET);
  await idle.said(/hello$/);
  const busy = client(port);
  busy.socket.write(GET);
  await expect.poll(() => listener.requests).toBe(2);
  const drained = listener.drain(5000);
  idle.closed.then(() => idle.socket.end()).catch(() => {});
  expect(await busy.closed).toMatch(/Connection: close\r\n[^]*hello$/);
  busy.socket.end();
  await Promise.all([drained, listener.drain(5000)]);
  expect(listener.connections).toBe(0);
});

test("drain: what does not finish in time is cut off and told so", async () => {
  const reasons: string[] = [];
  const { listener, port } = await serve((exchange) => {
    exchange.observer = {
      onData() {},
      onEnd() {},
      onDrain() {},
      onFinish() {},
      onAbort: (reason) => reasons.push(reason),
    };
  });
  const { socket, closed } = client(port);
  socket.write(GET);
  await expect.poll(() => listener.requests).toBe(1);
  await listener.drain(100);
  expect(await closed).toBe("");
  expect(reasons).toEqual(["shutdown"]);
});

test("an IPv4 client of a socket for both families has an IPv4 address, for trust too", async () => {
  const asked: string[] = [];
  const listener = new HttpListener(
    (exchange) => {
      const { peer, local, client: from } = exchange.facts;
      exchange.respond(200, [], `${peer.address} ${local.address} ${from.address}`);
    },
    { trust: (address) => (asked.push(address), address === "127.0.0.1") },
  );
  const server = createServer((socket) => listener.attach(socket)).listen(0, "::");
  await new Promise((resolve) => server.once("listening", resolve));
  cleanUp.push(() => {
    server.close();
    listener.destroy();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  expect((await run("curl", ["-s", "--max-time", "5", url])).stdout).toBe("127.0.0.1 127.0.0.1 127.0.0.1");
  const forwarded = await run("curl", ["-s", "--max-time", "5", "-H", "X-Forwarded-For: ::ffff:192.0.2.7", url]);
  expect(forwarded.stdout).toBe("127.0.0.1 127.0.0.1 192.0.2.7");
  expect(new Set(asked)).toEqual(new Set(["127.0.0.1", "192.0.2.7"]));
});

test("unix sockets", async () => {
  const folder = mkdtempSync(join(tmpdir(), "http1-"));
  cleanUp.push(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "s");
  const listener = new HttpListener((exchange) => exchange.respond(200, [], exchange.facts.client.address), {
    trust: (address) => address === "unix:",
  });
  const server = createServer((socket) => listener.attach(socket)).listen(path);
  await new Promise((resolve) => server.once("listening", resolve));
  cleanUp.push(() => {
    server.close();
    listener.destroy();
  });
  const plain = await run("curl", ["-s", "--max-time", "5", "--unix-socket", path, "http://a/"]);
  expect(plain.stdout).toBe("unix:");
  const forwarded = await run("curl", [
    "-s",
    "--max-time",
    "5",
    "--unix-socket",
    path,
    "-H",
    "X-Forwarded-For: 192.0.2.7",
    "http://a/",
  ]);
  expect(forwarded.stdout).toBe("192.0.2.7");
});
