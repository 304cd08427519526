/** The client for plain servers: what goes over the wire, which connections are used again, how streams end. */
import { mkdtempSync, rmSync } from "node:fs";
import net, { type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HeaderList } from "@portico/gateway/exchange";
import { afterEach, describe, expect, it } from "vitest";
import { parseServerAddress } from "./address.ts";
import { HttpClient } from "./http-client.ts";
import type { HttpTransportOptions } from "./http.ts";
import type { UpstreamObserver, UpstreamRequest, UpstreamReset } from "./transport.ts";
import { Wheel } from "./wheel.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** Waits until something holds; fails after five seconds. */
async function until(holds: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 5_000;
  while (!holds()) {
    if (performance.now() > end) throw new DOMException(`it did not come about: ${what}`, "TimeoutError");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const turns = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 30));

/** A connection as the server sees it. */
interface Accepted {
  readonly socket: Socket;
  text: string;
  /** Reads, that is pieces as they came. */
  readonly pieces: string[];
  closed: boolean;
}

/** A server of raw bytes. `onData` is called for each piece that comes. */
async function server(
  onData: (connection: Accepted, index: number) => void,
  kind: "tcp" | "unix" = "tcp",
): Promise<{ address: string; connections: Accepted[] }> {
  const connections: Accepted[] = [];
  const listener = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const accepted: Accepted = { socket, text: "", pieces: [], closed: false };
    connections.push(accepted);
    socket.on("error", () => {});
    socket.on("end", () => socket.end());
    socket.on("close", () => {
      accepted.closed = true;
    });
    socket.on("data", (piece: Buffer) => {
      accepted.pieces.push(piece.toString("latin1"));
      accepted.text += piece.toString("latin1");
      onData(accepted, connections.indexOf(accepted));
    });
  });
  const folder = mkdtempSync(join(tmpdir(), "portico-client-"));
  const path = join(folder, "server.sock");
  await new Promise<void>((resolve) => {
    if (kind === "unix") listener.listen(path, resolve);
    else listener.listen(0, "127.0.0.1", resolve);
  });
  cleanups.push(() => {
    for (const { socket } of connections) socket.destroy();
    listener.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const address =
    kind === "unix" ? `http+unix:${path}` : `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
  return { address, connections };
}

/** The client of one server, with a clock that stands still until it is moved. */
class Bench {
  readonly client: HttpClient;
  readonly failures: unknown[] = [];
  readonly faults: unknown[] = [];
  now = 1_000_000;
  readonly #wheel: Wheel;

  constructor(address: string, options: Partial<HttpTransportOptions> = {}) {
    this.#wheel = new Wheel({ now: () => this.now, every: () => () => {} });
    const parsed = parseServerAddress(address);
    this.client = new HttpClient(
      parsed,
      parsed.host,
      {
        connectTimeout: 5_000,
        keepAlive: 60_000,
        onError: (error) => this.faults.push(error),
        ...options,
      },
      this.#wheel,
      {
        onAvailable: () => {},
        onConnected: () => {},
        onConnectFailed: (reason, timedOut) => this.failures.push([reason, timedOut]),
      },
    );
    cleanups.push(() => this.client.destroy());
  }

  pass(ms: number): void {
    this.now += ms;
    this.#wheel.tick();
  }

  /** Sends a request whose body, if any, is whole. */
  send(method = "GET", body: string | null = null, more: Partial<UpstreamRequest> = {}): Heard {
    const bytes = body === null ? null : Buffer.from(body);
    const heard = new Heard();
    heard.stream = this.client.open(request(method, bytes?.length ?? 0, more), bytes, true, heard);
    return heard;
  }

  /** Sends a request whose body follows. */
  begin(method: string, bodyLength: number): Heard {
    const heard = new Heard();
    heard.stream = this.client.open(request(method, bodyLength), null, false, heard);
    return heard;
  }
}

function request(method: string, bodyLength: number, more: Partial<UpstreamRequest> = {}): UpstreamRequest {
  return {
    method,
    scheme: "http",
    authority: "a",
    target: "/x",
    version: "1.1",
    headers: ["Host", "a"],
    bodyLength,
    upgrade: undefined,
    id: "1",
    traceparent: undefined,
    tracestate: undefined,
    client: { address: "127.0.0.1", port: 1, vouchedBy: "socket" },
    tls: undefined,
    receivedAt: 0,
    queuedMs: 0,
    deadline: undefined,
    ...more,
  };
}

/** What a stream has said. */
class Heard implements UpstreamObserver {
  stream!: ReturnType<HttpClient["open"]>;
  readonly informed: number[] = [];
  status = 0;
  headers: HeaderList = [];
  text = "";
  trailers: HeaderList = [];
  ended = false;
  drains = 0;
  error: UpstreamReset | undefined;

  get over(): boolean {
    return this.ended || this.error !== undefined;
  }
  onInform(status: number): void {
    this.informed.push(status);
  }
  onResponse(status: number, headers: HeaderList, body: Uint8Array | null, complete: boolean): void {
    if (this.status !== 0 || this.over) throw new TypeError("a second response");
    this.status = status;
    this.headers = headers;
    if (body !== null) this.onData(body);
    this.ended = complete;
  }
  onData(chunk: Uint8Array): void {
    if (this.over) throw new TypeError("data after the end");
    this.text += Buffer.from(chunk).toString("latin1");
    this.stream.consume(chunk.length);
  }
  onEnd(trailers: HeaderList): void {
    if (this.over) throw new TypeError("a second end");
    this.trailers = trailers;
    this.ended = true;
  }
  onDrain(): void {
    this.drains++;
  }
  onReset(error: UpstreamReset): void {
    if (this.over) throw new TypeError("a reset after the end");
    this.error = error;
  }
}

const over = (heard: Heard): Promise<void> => until(() => heard.over, "the stream has ended");

describe("a request", () => {
  it.each(["tcp", "unix"] as const)("goes out in one piece with a small body, over %s", async (kind) => {
    const { address, connections } = await server(({ socket }) => socket.write(OK), kind);
    const bench = new Bench(address);
    const heard = bench.send("POST", "body");
    await over(heard);
    expect(connections[0]!.pieces).toEqual(["POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"]);
    expect([heard.status, heard.text, bench.client.inFlight]).toEqual([200, "ok", 0]);
  });

  it("is chunked where its length is not known, with trailers", async () => {
    const { address, connections } = await server(({ socket, text }) => {
      if (text.includes("X-Sum")) socket.write(OK);
    });
    const heard = new Bench(address).begin("PUT", -1);
    heard.stream.write(Buffer.from("hello"));
    heard.stream.write(Buffer.alloc(20_000, "x"));
    heard.stream.end(["X-Sum", "42"]);
    await over(heard);
    expect(connections[0]!.text).toBe(
      `PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n4e20\r\n${"x".repeat(20_000)}\r\n0\r\nX-Sum: 42\r\n\r\n`,
    );
  });

  it("goes without trailers that would mean something to a server", async () => {
    const { address, connections } = await server(({ socket, text }) => {
      if (text.endsWith("0\r\n\r\n")) socket.write(OK);
    });
    const heard = new Bench(address).begin("PUT", -1);
    heard.stream.end(["Content-Length", "42"]);
    await over(heard);
    expect(connections[0]!.text).not.toContain("42");
    expect(heard.status).toBe(200);
  });

  it("never carries more or less than was announced", async () => {
    const { address, connections } = await server(() => {});
    const bench = new Bench(address);
    const more = bench.begin("PUT", 3);
    more.stream.write(Buffer.from("abc"));
    await until(() => connections[0]?.text.endsWith("abc") === true, "what was announced");
    more.stream.write(Buffer.from("GET /smuggled HTTP/1.1\r\n"));
    const less = bench.begin("PUT", 3);
    less.stream.write(Buffer.from("a"));
    less.stream.end();
    expect([more.error?.code, less.error?.code]).toEqual(["internal", "internal"]);
    await until(() => connections.every(({ closed }) => closed), "both are closed");
    expect(connections[0]!.text).not.toContain("smuggled");
    expect(bench.client.inFlight).toBe(0);
    expect(() => bench.send("POST", "four", { bodyLength: 3 })).toThrow("Content-Length");
    expect(bench.client.inFlight).toBe(0);
  });

  it("that cannot be sent is refused before anything is", async () => {
    const { address, connections } = await server(() => {});
    const bench = new Bench(address);
    for (const more of [
      { target: "*" },
      { target: "/a b" },
      { headers: [] },
      { headers: ["Host", "a", "X", "b\r\nY: c"] },
      { headers: ["Host", "a", "Transfer-Encoding", "chunked"] },
    ]) {
      expect(() => bench.send("OPTIONS", null, more)).toThrow(/: /);
    }
    await turns();
    expect([bench.client.inFlight, connections.length]).toEqual([0, 0]);
  });

  it("waits where the server does not take its body", async () => {
    const { address, connections } = await server(({ socket, pieces }) => {
      if (pieces.length === 1) socket.pause();
    });
    const heard = new Bench(address).begin("PUT", 100_000_000);
    const chunk = Buffer.alloc(10_000_000);
    expect(heard.stream.write(chunk)).toBe(false);
    await turns();
    expect(heard.drains).toBe(0);
    connections[0]!.socket.resume();
    await until(() => heard.drains === 1, "it goes on");
    heard.stream.reset("cancelled");
    await until(() => connections[0]!.closed, "the server hears of it");
  });
});

describe("a response", () => {
  const whole =
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" +
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: \u00e9\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";

  it.each([1, 2, 3, 7, 50, 1_000])("is the same in pieces of %i bytes", async (size) => {
    const { address, connections } = await server(({ socket }) => {
      let at = 0;
      const next = (): void => {
        socket.write(Buffer.from(whole.slice(at, (at += size)), "latin1"));
        if (at < whole.length) setImmediate(next);
      };
      next();
    });
    const bench = new Bench(address);
    for (let count = 0; count < 2; count++) {
      const heard = bench.send();
      await over(heard);
      expect(heard).toMatchObject({ informed: [100, 103], status: 200, text: "hello world", trailers: ["X-Sum", "1"] });
      expect(heard.headers).toContain("\u00e9");
    }
    expect(connections).toHaveLength(1);
  });

  it("that is small comes whole, chunked too", async () => {
    const { address } = await server(({ socket }) =>
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    );
    let complete = false;
    const heard = new Heard();
    heard.onResponse = (_status, _headers, body, all) => {
      complete = all;
      heard.text = String(body);
      heard.ended = all;
    };
    heard.stream = new Bench(address).client.open(request("GET", 0), null, true, heard);
    await over(heard);
    expect([complete, heard.text]).toEqual([true, "ok"]);
  });

  it("stays the receiver's: what is read later does not change it", async () => {
    const { address } = await server(({ socket, pieces }) =>
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n${String(pieces.length).repeat(3)}`),
    );
    const bench = new Bench(address);
    const bodies: Uint8Array[] = [];
    for (let count = 0; count < 5; count++) {
      const heard = new Heard();
      heard.onData = (chunk) => {
        bodies.push(chunk);
      };
      heard.stream = bench.client.open(request("GET", 0), null, true, heard);
      await over(heard);
    }
    expect(bodies.map((body) => Buffer.from(body).toString())).toEqual(["111", "222", "333", "444", "555"]);
  });

  it("without length ends with the connection, which is an error where the connection breaks", async () => {
    const { address } = await server(({ socket }, index) => {
      socket.write("HTTP/1.1 200 OK\r\n\r\nuntil the end");
      if (index === 0) socket.end();
      else setTimeout(() => socket.resetAndDestroy(), 20);
    });
    const bench = new Bench(address);
    const [ends, breaks] = [bench.send(), bench.send()];
    await Promise.all([over(ends), over(breaks)]);
    expect([ends.text, ends.error]).toEqual(["until the end", undefined]);
    expect(breaks.error).toMatchObject({ code: "lost", phase: "response", refused: false });
  });

  it("holds the server up where nobody consumes it", async () => {
    const { address, connections } = await server(({ socket }) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n");
      const part = Buffer.alloc(500_000, "x");
      for (let count = 0; count < 100; count++) socket.write(part);
    });
    const heard = new Heard();
    let received = 0;
    let free = false;
    heard.onData = (chunk) => {
      received += chunk.length;
      if (free) heard.stream.consume(chunk.length);
    };
    const bench = new Bench(address);
    heard.stream = bench.client.open(request("GET", 0), null, true, heard);
    await until(() => received > 256 * 1024, "the window is full");
    await turns();
    const held = received;
    expect(held).toBeLessThanOrEqual(256 * 1024 + 65_536);
    free = true;
    heard.stream.consume(held);
    await over(heard);
    expect(received).toBe(50_000_000);
    const next = bench.send();
    await until(() => connections[0]!.pieces.length === 2, "the connection is used again");
    next.stream.reset("cancelled");
  });

  it("that comes before the request was sent whole ends the connection", async () => {
    const { address, connections } = await server(({ socket, pieces }) => {
      if (pieces.length === 1) socket.write("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    });
    const bench = new Bench(address);
    const heard = bench.begin("PUT", 1_000);
    heard.stream.write(Buffer.from("part"));
    await over(heard);
    expect([heard.status, heard.text]).toEqual([413, "no"]);
    expect(heard.stream.write(Buffer.from("rest"))).toBe(true);
    heard.stream.end();
    await until(() => connections[0]!.closed, "the connection is closed");
    expect(connections[0]!.text.endsWith("part")).toBe(true);
    bench.send();
    await until(() => connections.length === 2, "the next has a connection of its own");
  });

  it.each([
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"],
    ["a 204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc"],
    ["an endless head", `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(20_000)}`],
    ["a storm of interim responses", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1_000)],
  ])("with %s is refused, and its connection closed", async (_what, bytes) => {
    const { address, connections } = await server(({ socket }) => socket.write(bytes));
    const heard = new Bench(address).send();
    await over(heard);
    expect(heard.error).toMatchObject({ code: "protocol", phase: "request", refused: false });
    await until(() => connections[0]!.closed, "the connection is closed");
  });
});

describe("a connection", () => {
  const answering = (more = ""): ReturnType<typeof server> =>
    server(({ socket }) => socket.write(`HTTP/1.1 200 OK\r\n${more}Content-Length: 2\r\n\r\nok`));

  it("is used again, the last used first", async () => {
    const { address, connections } = await answering();
    const bench = new Bench(address);
    const both = [bench.send(), bench.send()];
    await Promise.all(both.map(over));
    for (let count = 0; count < 5; count++) await over(bench.send());
    expect(connections.map(({ pieces }) => pieces.length).toSorted((a, b) => a - b)).toEqual([1, 6]);
  });

  it.each([
    ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"],
    ["GET", "HTTP/1.1 204 No Content\r\n\r\n"],
    ["GET", 'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 1000\r\n\r\n'],
  ])("is used again after %s, %j", async (method, bytes) => {
    const { address, connections } = await server(({ socket }) => socket.write(bytes));
    const bench = new Bench(address);
    for (let count = 0; count < 3; count++) {
      const heard = bench.send(method);
      await over(heard);
      expect([heard.text, heard.error]).toEqual(["", undefined]);
    }
    expect(connections).toHaveLength(1);
  });

  it.each(["Connection: close\r\n", "Keep-Alive: timeout=1\r\n"])("is not used again after %j", async (field) => {
    const { address, connections } = await answering(field);
    const bench = new Bench(address);
    await over(bench.send());
    await over(bench.send());
    expect(connections).toHaveLength(2);
    await until(() => connections.every(({ closed }) => closed), "both are closed");
  });

  it.each([
    ["", 60_000],
    ["Keep-Alive: timeout=5, max=100\r\n", 4_000],
    ["Keep-Alive: timeout=300\r\n", 60_000],
  ])("is kept while idle, after %j, for %i ms", async (field, ms) => {
    const { address, connections } = await answering(field);
    const bench = new Bench(address);
    await over(bench.send());
    bench.pass(ms - 100);
    await over(bench.send());
    expect(connections).toHaveLength(1);
    bench.pass(ms - 100);
    await turns();
    expect(connections[0]!.closed).toBe(false);
    // The wheel is up to two ticks late; a request that comes first must not get it all the same.
    bench.now += 100;
    await over(bench.send());
    expect(connections).toHaveLength(2);
    bench.pass(ms + 100);
    await until(() => connections.every(({ closed }) => closed), "both are closed");
  });

  it("on which the server says more than the response is never used again", async () => {
    const { address, connections } = await server(({ socket }) => socket.write(`${OK}HTTP/1.1 200 OK\r\n\r\nevil`));
    const bench = new Bench(address);
    const heard = bench.send();
    await over(heard);
    expect(heard.text).toBe("ok");
    await until(() => connections[0]!.closed, "it is closed");
    const late = await server(({ socket }) => {
      socket.write(OK);
      setTimeout(() => socket.write("HTTP/1.1 200 OK\r\n\r\nevil"), 20);
    });
    const other = new Bench(late.address);
    await over(other.send());
    await until(() => late.connections[0]!.closed, "it is closed");
    const next = other.send();
    await over(next);
    expect([next.text, late.connections.length]).toEqual(["ok", 2]);
  });

  it("that the server closed while it was idle is not used", async () => {
    const { address, connections } = await server(({ socket }, index) => {
      socket.write(OK);
      if (index === 0) setTimeout(() => socket.end(), 10);
    });
    const bench = new Bench(address);
    await over(bench.send());
    await until(() => connections[0]!.closed, "it is closed");
    const heard = bench.send("POST", "x");
    await over(heard);
    expect(heard.error).toBeUndefined();
  });

  it("that the server closes instead of answering takes the other idle ones with it, and says that it may have been processed", async () => {
    const { address, connections } = await server(({ socket, pieces }) => {
      if (pieces.length === 1) socket.write(OK);
      else socket.end();
    });
    const bench = new Bench(address);
    await Promise.all([bench.send(), bench.send(), bench.send()].map(over));
    const heard = bench.send();
    await over(heard);
    expect(heard.error).toMatchObject({ code: "lost", phase: "request", refused: false });
    const retry = bench.send();
    await over(retry);
    expect([retry.text, connections.length]).toEqual(["ok", 4]);
  });

  it("that cannot be made fails the request as never sent", async () => {
    const { address, connections } = await server(() => {});
    const silent = new Bench(address);
    const late = silent.send("POST", "x");
    silent.pass(5_100);
    await over(late);
    expect(late.error).toMatchObject({ code: "connect-timeout", phase: "connect", refused: true });
    expect(silent.failures).toEqual([["no connection within 5000 ms", true]]);
    const gone = new Bench("http+unix:/nonexistent/socket");
    const refused = gone.send("POST", "x");
    expect(refused.over).toBe(false);
    await over(refused);
    expect(refused.error).toMatchObject({ code: "connect", phase: "connect", refused: true });
    expect(gone.failures).toEqual([[expect.stringContaining("ENOENT"), false]]);
    expect([silent.client.inFlight, gone.client.inFlight]).toEqual([0, 0]);
    expect(connections.every(({ text }) => text === "")).toBe(true);
  });

  it("is destroyed when its request is given up, and says nothing more", async () => {
    const { address, connections } = await server(({ socket }) => socket.write("HTTP/1.1 200 OK\r\n\r\nbegin"));
    const bench = new Bench(address);
    const [connecting, answered] = [bench.send(), bench.send()];
    connecting.stream.reset("cancelled");
    await until(() => answered.status === 200, "an answer has begun");
    answered.stream.reset("timeout");
    await until(() => connections.every(({ closed }) => closed), "both are closed");
    expect([connecting.over, connecting.status, answered.over]).toEqual([false, 0, false]);
    expect([bench.client.inFlight, bench.failures]).toEqual([0, []]);
  });
});

describe("a tunnel", () => {
  it("carries bytes both ways, those that came with the 101 too, and ends half by half", async () => {
    const { address, connections } = await server(({ socket, pieces }) => {
      if (pieces.length === 1) {
        socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nfirst ");
      } else socket.write(pieces.at(-1)!);
    });
    const bench = new Bench(address);
    const heard = bench.send("GET", null, { upgrade: "echo" });
    await until(() => heard.text === "first ", "the tunnel is open");
    expect(heard.status).toBe(101);
    expect(connections[0]!.text).toContain("Connection: Upgrade\r\nUpgrade: echo\r\n");
    heard.stream.write(Buffer.from("second"));
    await until(() => heard.text === "first second", "it is echoed");
    heard.stream.end();
    await over(heard);
    expect([heard.error, bench.client.inFlight]).toEqual([undefined, 0]);
    await until(() => connections[0]!.closed, "it is closed");
  });

  it("takes what is written after the server has ended its half", async () => {
    const { address, connections } = await server(({ socket, pieces }) => {
      if (pieces.length > 1) return;
      socket.end("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
    });
    const bench = new Bench(address);
    const heard = bench.send("GET", null, { upgrade: "echo" });
    await over(heard);
    expect(bench.client.inFlight).toBe(1);
    heard.stream.write(Buffer.from("last words"));
    heard.stream.end();
    await until(() => connections[0]!.closed, "it is closed");
    expect(connections[0]!.text.endsWith("last words")).toBe(true);
    expect(bench.client.inFlight).toBe(0);
  });
});

describe("the client", () => {
  it("takes no requests while it closes", async () => {
    const held: Socket[] = [];
    const { address, connections } = await server(({ socket }) => held.push(socket));
    const bench = new Bench(address);
    const both = [bench.send(), bench.send()];
    expect(bench.client.load()).toBe(3);
    await until(() => held.length === 2, "both have arrived");
    held[0]!.write(OK);
    await until(() => both.some((heard) => heard.over), "one is answered");
    expect(bench.client.load()).toBe(2);
    let closed = false;
    const closing = bench.client.close().then(() => {
      closed = true;
    });
    await turns();
    expect([closed, bench.client.load()]).toEqual([false, Infinity]);
    held[1]!.write(OK);
    await closing;
    expect(both.map((heard) => heard.text)).toEqual(["ok", "ok"]);
    await until(() => connections.every(({ closed: gone }) => gone), "every connection is closed");
  });

  it.each(["onResponse", "onData", "onEnd"] as const)("lives on where a receiver throws in %s", async (event) => {
    const { address } = await server(({ socket }, index) => {
      if (index > 0) {
        socket.write(OK);
        return;
      }
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
      setTimeout(() => socket.write("1\r\nb\r\n0\r\n\r\n"), 20);
    });
    const bench = new Bench(address);
    const heard = new Heard();
    const fault = new TypeError("a fault");
    heard[event] = () => {
      throw fault;
    };
    heard.stream = bench.client.open(request("GET", 0), null, true, heard);
    await until(() => bench.faults.length > 0, "it is reported");
    expect(bench.faults).toEqual([fault]);
    // At the end nothing is left to be reset.
    expect(heard.error?.code).toBe(event === "onEnd" ? undefined : "internal");
    expect(bench.client.inFlight).toBe(0);
    const other = bench.send();
    await over(other);
    if (event !== "onEnd") expect(other.text).toBe("ok");
  });

  it("that is destroyed tells every request", async () => {
    const { address, connections } = await server(() => {});
    const bench = new Bench(address);
    const sent = bench.send();
    await until(() => connections[0]?.text !== undefined && connections[0].text !== "", "it has arrived");
    const connecting = bench.send();
    bench.client.destroy();
    await Promise.all([over(sent), over(connecting)]);
    expect([sent.error?.code, connecting.error?.code]).toEqual(["lost", "connect"]);
    expect([bench.client.inFlight, bench.failures]).toEqual([0, []]);
  });
});
