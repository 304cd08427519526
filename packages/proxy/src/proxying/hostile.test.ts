/** Servers that break the protocol, the connection or their promises: the client gets an error or a broken connection, never a wrong message. */
import http from "node:http";
import net from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask, Stage, until } from "./test-front.ts";

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.close());

/** Answers every request on a connection with these bytes. */
async function answering(bytes: string, options: { end?: boolean } = {}) {
  return stage.rawBackend((socket) => {
    socket.on("data", () => {
      socket.write(bytes, "latin1");
      if (options.end === true) socket.end();
    });
  });
}

describe("a hostile server", () => {
  it.each([
    ["garbage", "\u0000\u0001garbage\r\n\r\n"],
    ["another protocol", "SSH-2.0-OpenSSH_9.2\r\n"],
    ["a status of one digit", "HTTP/1.1 2 OK\r\n\r\n"],
    ["a status of 999", "HTTP/1.1 999 Strange\r\nContent-Length: 0\r\n\r\n"],
    ["both framings", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"],
    ["a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\nabcd"],
    ["a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc"],
    ["white space before the colon", "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n"],
    ["a NUL in a value", "HTTP/1.1 200 OK\r\nX-A: b\u0000c\r\nContent-Length: 0\r\n\r\n"],
    ["a bare CR in a value", "HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c\r\nContent-Length: 0\r\n\r\n"],
    ["an endless head", `HTTP/1.1 200 OK\r\nX-A: ${"a".repeat(100_000)}\r\n\r\n`],
    [
      "101 that nobody asked for",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
  ])("answers 502 to %s", async (_what, bytes) => {
    const backend = await answering(bytes);
    const front = await stage.front({ servers: [backend.address] });
    const answer = await ask(front.port, { method: "POST", body: "x" });
    expect(answer.status).toBe(502);
    expect(answer.text).not.toContain("llhttp");
    expect(front.logged.find((line) => line["message"] === "request failed")).toMatchObject({ side: "upstream" });
    expect(front.upstream.status().servers[0]!.inFlight).toBe(0);
  });

  it("answers 502 to a connection that is closed before the head is whole", async () => {
    const backend = await answering("HTTP/1.1 200 OK\r\nContent-Le", { end: true });
    const front = await stage.front({ servers: [backend.address] });
    expect((await ask(front.port, { method: "POST", body: "x" })).status).toBe(502);
  });

  it("breaks off a chunked response that ends too early, and one with a bad chunk", async () => {
    for (const [rest, end] of [
      ["5\r\nhel", true],
      ["zz\r\n", false],
    ] as const) {
      const backend = await answering(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n${rest}`, {
        end,
      });
      const front = await stage.front({ servers: [backend.address] });
      await expect(ask(front.port)).rejects.toMatchObject({ code: "ECONNRESET" });
    }
  });

  it("gives the bytes behind a response to nobody", async () => {
    let requests = 0;
    const backend = await stage.rawBackend((socket) => {
      socket.on("data", () => {
        requests++;
        socket.write(
          requests === 1
            ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            : "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
        );
      });
    });
    const front = await stage.front({ servers: [backend.address] });
    // The first may fail, because the server broke the protocol behind it; the second must never get `evil`.
    await ask(front.port, { method: "POST", body: "1" });
    expect((await ask(front.port, { method: "POST", body: "2" })).text).toBe("good");
  });

  it("takes a response without length until the server closes", async () => {
    const backend = await answering("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end", { end: true });
    const front = await stage.front({ servers: [backend.address] });
    expect((await ask(front.port)).text).toBe("until the end");
  });

  it.each([1, 2, 7, 40, 1_000])("reads the fields of a head that comes in parts of %i bytes", async (size) => {
    const fields = Array.from(
      { length: 20 },
      (_, at) => `X-Field-${at}: value ${"\u00e9".repeat(at)} of ${at}\r\n`,
    ).join("");
    const bytes = Buffer.from(`HTTP/1.1 200 OK\r\n${fields}Content-Length: 2\r\n\r\nok`, "latin1");
    const backend = await stage.rawBackend((socket) => {
      socket.setNoDelay(true);
      socket.once("data", () => {
        let at = 0;
        const next = (): void => {
          socket.write(bytes.subarray(at, (at += size)));
          if (at < bytes.length) setImmediate(next);
        };
        next();
      });
    });
    const front = await stage.front({ servers: [backend.address] });
    const answer = await ask(front.port);
    expect(answer.text).toBe("ok");
    for (let at = 0; at < 20; at++) {
      expect(answer.headers[`x-field-${at}`]).toBe(`value ${"\u00e9".repeat(at)} of ${at}`);
    }
  });

  it("takes a response that comes byte by byte", async () => {
    const backend = await stage.rawBackend((socket) => {
      socket.setNoDelay(true);
      socket.once("data", () => {
        const bytes = Buffer.from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let at = 0;
        const timer = setInterval(() => {
          if (at < bytes.length) socket.write(bytes.subarray(at, ++at));
          else clearInterval(timer);
        }, 1);
      });
    });
    const front = await stage.front({ servers: [backend.address] });
    expect((await ask(front.port)).text).toBe("hello");
  });

  it("passes on an answer that comes before the body was taken", async () => {
    const backend = await stage.backend("tcp", (request, response) => {
      response.writeHead(413, { Connection: "close" });
      response.end("too much");
      request.resume();
    });
    const front = await stage.front({ servers: [backend.address], proxy: { request: { mode: "stream" } } });
    const answer = await ask(front.port, { method: "POST", body: Buffer.alloc(200_000) });
    expect(answer.status).toBe(413);
    expect(answer.text).toBe("too much");
  });
});

describe("a response is taken up to its limit, and no further:", () => {
  const STATUS_LINE = 8192; // bytes, without CRLF
  const HEAD = 64 * 1024; // bytes of all field lines with their CRLFs
  const FIELDS = 1000;
  const INTERIM = 32;
  const CHUNK_EXTENSION = 256;
  const TRAILER = 8192; // bytes of all trailer lines with their CRLFs
  const TRAILERS = 32;
  const OK = "HTTP/1.1 200 OK\r\n";
  const LENGTH = "Content-Length: 2\r\n";
  const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`;

  it.each<[what: string, most: number, response: (amount: number) => string]>([
    ["bytes of the status line", STATUS_LINE, (n) => `HTTP/1.1 200 ${"x".repeat(n - 13)}\r\n${LENGTH}\r\nok`],
    ["bytes of the head, in one field", HEAD, (n) => `${OK}X: ${"x".repeat(n - LENGTH.length - 5)}\r\n${LENGTH}\r\nok`],
    ["fields", FIELDS, (n) => `${OK}${"X: y\r\n".repeat(n - 1)}${LENGTH}\r\nok`],
    ["interim responses", INTERIM, (n) => `${"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(n)}${OK}${LENGTH}\r\nok`],
  ])("%s", async (_what, most, response) => {
    const [at, beyond] = [await answering(response(most)), await answering(response(most + 1))];
    const front = await stage.front({ servers: [at.address] });
    const other = await stage.front({ servers: [beyond.address] });
    expect(await ask(front.port, { method: "POST" })).toMatchObject({ status: 200, text: "ok" });
    expect((await ask(other.port, { method: "POST" })).status).toBe(502);
    expect(other.upstream.status().servers[0]!.inFlight).toBe(0);
  });

  it.each<[what: string, most: number, response: (amount: number) => string]>([
    ["bytes of a chunk extension", CHUNK_EXTENSION, (n) => `${CHUNKED}1;${"x".repeat(n - 1)}\r\n!\r\n0\r\n\r\n`],
    ["bytes of trailers", TRAILER, (n) => `${CHUNKED}1\r\n!\r\n0\r\nX: ${"x".repeat(n - 5)}\r\n\r\n`],
    ["trailers", TRAILERS, (n) => `${CHUNKED}1\r\n!\r\n0\r\n${"X: y\r\n".repeat(n)}\r\n`],
  ])("%s", async (_what, most, response) => {
    const [at, beyond] = [await answering(response(most)), await answering(response(most + 1))];
    const front = await stage.front({ servers: [at.address] });
    const other = await stage.front({ servers: [beyond.address] });
    expect(await ask(front.port, { method: "POST" })).toMatchObject({ status: 200, text: "ok!" });
    // It has begun: only the end of the connection can say that it is not whole.
    await expect(ask(other.port, { method: "POST" })).rejects.toMatchObject({ code: "ECONNRESET" });
  });
});

describe("a client that leaves", () => {
  it("while its body is stored leaves no file and bothers nobody", async () => {
    let called = 0;
    const backend = await stage.backend("tcp", () => {
      called++;
    });
    const front = await stage.front({ servers: [backend.address] });
    const socket = net.connect(front.port, "127.0.0.1");
    socket.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
    socket.write(Buffer.alloc(3_000_000));
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.resetAndDestroy();
    await until(() => front.records.length === 1, "the exchange ended");
    expect(front.records[0]).toMatchObject({ attempts: 0, failure: "client-left: receive" });
    expect(called).toBe(0);
    expect(front.temporaryFiles()).toEqual([]);
  });

  it("in the middle of a response frees the application", async () => {
    const closed = Promise.withResolvers<void>();
    const backend = await stage.backend("tcp", (_request, response) => {
      const timer = setInterval(() => response.write(Buffer.alloc(50_000)), 5);
      response.on("close", () => {
        clearInterval(timer);
        closed.resolve();
      });
    });
    const front = await stage.front({ servers: [backend.address] });
    const request = http.get(front.url, (response) => {
      response.once("data", () => request.destroy());
    });
    request.on("error", () => {});
    await closed.promise;
    await until(() => front.upstream.status().servers[0]!.inFlight === 0, "nothing under way");
  });
});
