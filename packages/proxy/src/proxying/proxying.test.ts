/** Forwarding over real sockets: the same application behind HTTP over TCP, HTTP over a unix socket, and the link. */
import { createHash, randomBytes } from "node:crypto";
import http from "node:http";
import net from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask, Stage, until } from "./test-front.ts";

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.close());

const sha = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** Tells what it was sent. */
const mirror: http.RequestListener = (request, response) => {
  const hash = createHash("sha256");
  let length = 0;
  request.on("data", (chunk: Buffer) => {
    hash.update(chunk);
    length += chunk.length;
  });
  request.on("end", () => {
    response.setHeader("Content-Type", "application/json");
    response.end(
      JSON.stringify({
        method: request.method,
        url: request.url,
        headers: request.headers,
        length,
        sha: hash.digest("hex"),
      }),
    );
  });
};

interface Mirrored {
  method: string;
  url: string;
  headers: Record<string, string>;
  length: number;
  sha: string;
}

describe.each(["tcp", "unix", "link"] as const)("over %s", (transport) => {
  it("passes method, target and fields on, and the answer back", async () => {
    const backend = await stage.backend(transport, mirror);
    const front = await stage.front({ servers: [backend.address] });
    const answer = await ask(front.port, {
      path: "/a%2fb/../c?q=%20&x",
      headers: {
        Host: "shop.example",
        Accept: "text/plain",
        Connection: "close, X-Hop",
        "X-Hop": "1",
        "X-Forwarded-For": "9.9.9.9",
      },
    });
    expect(answer.status).toBe(200);
    const seen = JSON.parse(answer.text) as Mirrored;
    expect(seen).toMatchObject({ method: "GET", url: "/a%2fb/../c?q=%20&x", length: 0 });
    expect(seen.headers).toMatchObject({
      host: "shop.example",
      accept: "text/plain",
      via: "1.1 portico-1",
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-proto": "http",
      "x-forwarded-host": "shop.example",
      "x-forwarded-port": String(front.port),
    });
    expect(seen.headers["x-hop"]).toBeUndefined();
    expect(seen.headers["x-request-id"]).toMatch(/^[\x21-\x7e]{1,128}$/);
    expect(front.records.at(-1)).toMatchObject({ upstream: "app", attempts: 1, status: 200, failure: undefined });
    expect(front.faults).toEqual([]);
  });

  it.each(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])(
    "forwards %s with a body",
    async (method) => {
      const backend = await stage.backend(transport, mirror);
      const front = await stage.front({ servers: [backend.address] });
      const answer = await ask(front.port, { method, body: "hello" });
      expect(JSON.parse(answer.text)).toMatchObject({ method, length: 5, headers: { "content-length": "5" } });
    },
  );

  it("gives a client of HTTP/1.0 without Host an answer, and the application a Host", async () => {
    const backend = await stage.backend(transport, mirror);
    const front = await stage.front({ servers: [backend.address] });
    const socket = net.connect(front.port, "127.0.0.1");
    socket.write("GET /old HTTP/1.0\r\n\r\n");
    let text = "";
    for await (const part of socket) text += String(part);
    const seen = JSON.parse(text.slice(text.indexOf("\r\n\r\n") + 4)) as Mirrored;
    expect(seen.headers["host"]).toMatch(/^(localhost|127\.0\.0\.1:\d+)$/);
    expect(seen.headers["via"]).toBe("1.0 portico-1");
    expect(seen.headers["x-forwarded-host"]).toBeUndefined();
  });

  it("passes OPTIONS * on where the transport can, and says 501 where not", async () => {
    const backend = await stage.backend(transport, mirror);
    const front = await stage.front({ servers: [backend.address] });
    const answer = await ask(front.port, { method: "OPTIONS", path: "*" });
    if (transport === "link") expect(JSON.parse(answer.text)).toMatchObject({ method: "OPTIONS", url: "*" });
    else expect(answer.status).toBe(501);
    expect((await ask(front.port)).status).toBe(200);
  });

  it("answers HEAD without a body and with the length that GET would have", async () => {
    const backend = await stage.backend(transport, (_request, response) => {
      response.setHeader("Content-Length", "1234");
      response.end();
    });
    const front = await stage.front({ servers: [backend.address] });
    const answer = await ask(front.port, { method: "HEAD" });
    expect(answer.headers["content-length"]).toBe("1234");
    expect(answer.body).toHaveLength(0);
  });

  it.each([204, 304])("passes %i on without a body", async (status) => {
    const backend = await stage.backend(transport, (_request, response) => {
      response.writeHead(status, { ETag: '"e"' });
      response.end();
    });
    const front = await stage.front({ servers: [backend.address] });
    const answer = await ask(front.port);
    expect(answer.status).toBe(status);
    expect(answer.headers.etag).toBe('"e"');
  });

  it.each([0, 1, 1_000, 65_535, 65_536, 65_537, 300_000, 5_000_000])("takes a body of %i bytes", async (size) => {
    const backend = await stage.backend(transport, mirror);
    const front = await stage.front({ servers: [backend.address] });
    const body = randomBytes(size);
    const answer = await ask(front.port, { method: "POST", body });
    expect(JSON.parse(answer.text)).toMatchObject({
      length: size,
      sha: sha(body),
      headers: { "content-length": String(size) },
    });
    expect(front.temporaryFiles()).toEqual([]);
  });

  it.each(["full", "stream"] as const)("takes a chunked body, %s", async (mode) => {
    const backend = await stage.backend(transport, mirror);
    const front = await stage.front({ servers: [backend.address], proxy: { request: { mode } } });
    const chunks = Array.from({ length: 20 }, (_, at) => randomBytes(at * 5_000));
    const answer = await ask(front.port, { method: "POST", chunks });
    const whole = Buffer.concat(chunks);
    expect(JSON.parse(answer.text)).toMatchObject({ length: whole.length, sha: sha(whole) });
  });

  it("streams a body of known length through", async () => {
    const backend = await stage.backend(transport, mirror);
    const front = await stage.front({ servers: [backend.address], proxy: { request: { mode: "stream" } } });
    const body = randomBytes(5_000_000);
    const answer = await ask(front.port, { method: "POST", body });
    expect(JSON.parse(answer.text)).toMatchObject({ length: body.length, sha: sha(body) });
  });

  it.each([0, 1, 70_000, 300_000, 5_000_000])("gives a body of %i bytes, of known length", async (size) => {
    const body = randomBytes(size);
    const backend = await stage.backend(transport, (_request, response) => {
      response.setHeader("Content-Length", size);
      response.end(body);
    });
    const front = await stage.front({ servers: [backend.address] });
    const answer = await ask(front.port);
    expect(sha(answer.body)).toBe(sha(body));
    expect(answer.headers["content-length"]).toBe(String(size));
  });

  it("gives a body of unknown length, with trailers", async () => {
    const parts = Array.from({ length: 50 }, () => randomBytes(10_000));
    const backend = await stage.backend(transport, (_request, response) => {
      response.writeHead(200, { Trailer: "X-Sum" });
      for (const part of parts) response.write(part);
      response.addTrailers({ "X-Sum": "42" });
      response.end();
    });
    const front = await stage.front({ servers: [backend.address] });
    const answer = await ask(front.port, { headers: { TE: "trailers", Connection: "TE, close" } });
    expect(sha(answer.body)).toBe(sha(Buffer.concat(parts)));
    expect(answer.trailers).toEqual({ "x-sum": "42" });
  });

  it("passes early hints on, before the answer", async () => {
    const backend = await stage.backend(transport, (_request, response) => {
      response.writeEarlyHints({ link: "</style.css>; rel=preload" });
      setTimeout(() => response.end("ok"), 20);
    });
    const front = await stage.front({ servers: [backend.address] });
    const hints: unknown[] = [];
    const answer = await ask(front.port, { onInformation: (status, headers) => hints.push([status, headers["link"]]) });
    expect(answer.text).toBe("ok");
    expect(hints).toEqual([[103, "</style.css>; rel=preload"]]);
  });

  it("keeps several Set-Cookie fields apart", async () => {
    const backend = await stage.backend(transport, (_request, response) => {
      response.setHeader("Set-Cookie", ["a=1; Path=/", "b=2"]);
      response.end("x");
    });
    const front = await stage.front({ servers: [backend.address] });
    expect((await ask(front.port)).headers["set-cookie"]).toEqual(["a=1; Path=/", "b=2"]);
  });

  it("does not bother the application before the body is whole", async () => {
    let called = 0;
    const backend = await stage.backend(transport, (request, response) => {
      called++;
      mirror(request, response);
    });
    const front = await stage.front({ servers: [backend.address] });
    const { promise, resolve } = Promise.withResolvers<http.IncomingMessage>();
    const request = http.request({ port: front.port, method: "POST", headers: { "Content-Length": 10 } }, resolve);
    request.write("01234");
    await new Promise((wait) => setTimeout(wait, 150));
    expect(called).toBe(0);
    request.end("56789");
    expect((await promise).statusCode).toBe(200);
    expect(called).toBe(1);
  });

  it("answers 413 to a body beyond the limit, announced or counted", async () => {
    let called = 0;
    const backend = await stage.backend(transport, (_request, response) => {
      called++;
      response.end();
    });
    const front = await stage.front({ servers: [backend.address], bodyLimit: 1_000 });
    expect((await ask(front.port, { method: "POST", body: "x".repeat(1_001) })).status).toBe(413);
    expect((await ask(front.port, { method: "POST", chunks: ["x".repeat(600), "x".repeat(600)] })).status).toBe(413);
    expect((await ask(front.port, { method: "POST", body: "x".repeat(1_000) })).status).toBe(200);
    expect(called).toBe(1);
  });

  it("tells the application at once that the client has left", async () => {
    const closed = Promise.withResolvers<void>();
    const arrived = Promise.withResolvers<void>();
    const backend = await stage.backend(transport, (_request, response) => {
      response.on("close", () => closed.resolve());
      arrived.resolve();
    });
    const front = await stage.front({ servers: [backend.address] });
    const socket = net.connect(front.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await arrived.promise;
    const at = performance.now();
    socket.resetAndDestroy();
    await closed.promise;
    expect(performance.now() - at).toBeLessThan(500);
    expect(front.records.at(-1)?.failure).toBe("client-left: wait");
    await until(() => front.upstream.status().servers[0]!.inFlight === 0, "nothing under way");
  });

  it("takes the response off the application while the client reads nothing, and leaves no file", async () => {
    const size = 20_000_000;
    const body = randomBytes(size);
    const finished = Promise.withResolvers<void>();
    const backend = await stage.backend(transport, (_request, response) => {
      response.on("finish", () => finished.resolve());
      response.end(body);
    });
    const front = await stage.front({ servers: [backend.address] });
    const socket = net.connect(front.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await new Promise((resolve) => socket.once("readable", resolve));
    await finished.promise;
    await until(() => front.upstream.status().servers[0]!.inFlight === 0, "the application is free");
    expect(front.temporaryFiles()).toEqual([]);
    const parts: Buffer[] = [];
    for await (const part of socket) parts.push(part as Buffer);
    const all = Buffer.concat(parts);
    const start = all.indexOf("\r\n\r\n") + 4;
    expect(all.length - start).toBeGreaterThanOrEqual(size);
    if (all.subarray(0, start).includes("Content-Length")) expect(sha(all.subarray(start))).toBe(sha(body));
  });

  it("slows the application down for a streaming response that is not read", async () => {
    let written = 0;
    const backend = await stage.backend(transport, (_request, response) => {
      response.setHeader("X-Accel-Buffering", "no");
      const push = (): void => {
        while (written < 60_000_000) {
          written += 100_000;
          if (!response.write(Buffer.alloc(100_000))) break;
        }
        if (written < 60_000_000) response.once("drain", push);
        else response.end();
      };
      push();
    });
    const front = await stage.front({ servers: [backend.address] });
    const socket = net.connect(front.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await new Promise((resolve) => socket.once("readable", resolve));
    await new Promise((resolve) => setTimeout(resolve, 400));
    const stalled = written;
    expect(stalled).toBeLessThan(30_000_000);
    let received = 0;
    for await (const part of socket) received += (part as Buffer).length;
    expect(received).toBeGreaterThan(60_000_000);
    expect(written).toBe(60_000_000);
  });

  it("passes events on as they come", async () => {
    const sent: number[] = [];
    const backend = await stage.backend(transport, (_request, response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      let count = 0;
      const timer = setInterval(() => {
        sent.push(performance.now());
        response.write(`data: ${count}\n\n`);
        if (++count === 5) {
          clearInterval(timer);
          response.end();
        }
      }, 60);
    });
    const front = await stage.front({ servers: [backend.address] });
    const received: number[] = [];
    await new Promise<void>((resolve) => {
      http.get(front.url, (response) => {
        response.on("data", () => received.push(performance.now()));
        response.on("end", () => resolve());
      });
    });
    expect(received).toHaveLength(5);
    // Every event is here before the next is sent.
    for (let at = 0; at < 4; at++) expect(received[at]).toBeLessThan(sent[at + 1]!);
  });

  it("answers 502 when the application dies instead of answering, and never runs a POST twice", async () => {
    let runs = 0;
    let cut = (): void => {};
    const backend = await stage.backend(transport, () => {
      runs++;
      cut();
    });
    cut = () => backend.cut();
    const front = await stage.front({ servers: [backend.address] });
    const answer = await ask(front.port, { method: "POST", body: "x" });
    expect(answer.status).toBe(502);
    expect(runs).toBe(1);
    expect(front.logged.find((line) => line["message"] === "request failed")).toMatchObject({
      code: "closed",
      phase: "request",
      side: "upstream",
      method: "POST",
    });
  });

  it("retries an idempotent request once", async () => {
    let runs = 0;
    let cut = (): void => {};
    const backend = await stage.backend(transport, (_request, response) => {
      runs++;
      if (runs === 1) cut();
      else response.end("second");
    });
    cut = () => backend.cut();
    const front = await stage.front({ servers: [backend.address] });
    const answer = await ask(front.port, { method: "PUT", body: "x" });
    expect(answer.text).toBe("second");
    expect(runs).toBe(2);
    expect(front.records.at(-1)).toMatchObject({ attempts: 2, failure: undefined });
  });

  it("breaks off a response whose end is missing", async () => {
    let cut = (): void => {};
    const backend = await stage.backend(transport, (_request, response) => {
      response.setHeader("Content-Length", 100);
      response.write("half");
      setTimeout(() => cut(), 50);
    });
    cut = () => backend.cut();
    const front = await stage.front({ servers: [backend.address] });
    await expect(ask(front.port)).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(front.records.at(-1)?.failure).toBe("closed: response");
  });

  it("answers 504 when no response comes in time", async () => {
    const backend = await stage.backend(transport, () => {});
    const front = await stage.front({ servers: [backend.address], upstream: { responseTimeout: 200 } });
    const at = performance.now();
    const answer = await ask(front.port, { method: "POST", body: "x" });
    expect(answer.status).toBe(504);
    expect(performance.now() - at).toBeLessThan(1_000);
  });

  it("breaks off a response that stops in the middle", async () => {
    const backend = await stage.backend(transport, (_request, response) => {
      response.write("begin");
    });
    const front = await stage.front({ servers: [backend.address], upstream: { idleTimeout: 200 } });
    await expect(ask(front.port)).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(front.records.at(-1)?.failure).toBe("body-timeout: response");
  });
});
