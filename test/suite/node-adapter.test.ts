// oxlint-disable oxc/no-async-endpoint-handlers -- Fastify and Express 5 take them
/**
 * Frameworks and plain listeners written for `node:http`, each run twice: on `node:http` itself, which is the oracle,
 * and on exchanges behind `@portico/http1`. The answers must be the same.
 */
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http, { type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { serve as serveHono } from "@hono/node-server";
import express, { type NextFunction, type Request, type Response } from "express";
import fastify from "fastify";
import { H3, readBody } from "h3";
import { toNodeHandler } from "h3/node";
import { Hono } from "hono";
import Koa from "koa";
import type { ExchangeHandler } from "@portico/gateway/exchange";
import { captureListen, detectNodeApplication, fromNode, nodeHandler, serverHandler } from "@portico/gateway/node";
import { HttpListener } from "@portico/http1/socket";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket, WebSocketServer } from "ws";

interface Served {
  readonly port: number;
  close(): Promise<void>;
}

/** The exchange side: our HTTP/1.1 engine on a plain socket. */
async function serveExchanges(handler: ExchangeHandler): Promise<Served> {
  const listener = new HttpListener(handler, {});
  const server = net.createServer({ allowHalfOpen: true }, (socket) => listener.attach(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      listener.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

async function serveNode(server: Server): Promise<Served> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

interface Ask {
  readonly path: string;
  readonly method?: string;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string;
}

interface Answer {
  readonly status: number | undefined;
  readonly headers: Record<string, unknown>;
  readonly trailers: NodeJS.Dict<string>;
  readonly body: string;
  readonly interim: unknown[];
  readonly broken: boolean;
}

/** Fields that belong to the connection or the moment; the two sides may differ in them. */
const TRANSPORT_FIELDS = ["date", "connection", "keep-alive", "transfer-encoding"];

function ask(port: number, { path, method = "GET", headers = {}, body }: Ask): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const interim: unknown[] = [];
    const request = http.request({
      port,
      host: "127.0.0.1",
      path,
      method,
      headers: { ...headers, connection: "close" },
    });
    request.on("information", (info) => interim.push({ status: info.statusCode, headers: info.headers }));
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      let broken = false;
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", () => (broken = true));
      response.on("close", () => {
        const kept: Record<string, unknown> = { ...response.headers };
        const known = kept["content-length"];
        for (const name of TRANSPORT_FIELDS) {
          delete kept[name];
        }
        const whole = Buffer.concat(chunks);
        if (method !== "HEAD" && response.statusCode !== 304) {
          // Whether a length is announced is framing; that it is true is not.
          if (known !== undefined && !broken) {
            expect(Number(known)).toBe(whole.length);
          }
          delete kept["content-length"];
        }
        resolve({
          status: response.statusCode,
          headers: kept,
          trailers: response.trailers,
          body: whole.toString("latin1"),
          interim,
          broken,
        });
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** Declares one test per request: both sides, same answer. */
function compare(
  make: () => Promise<{ oracle: Server; handler: ExchangeHandler; close?: () => unknown }>,
  asks: readonly Ask[],
): void {
  let oracle: Served;
  let ours: Served;
  let close: (() => unknown) | undefined;
  beforeAll(async () => {
    const made = await make();
    oracle = await serveNode(made.oracle);
    ours = await serveExchanges(made.handler);
    close = made.close;
  });
  afterAll(async () => {
    await Promise.all([oracle.close(), ours.close()]);
    await close?.();
  });
  it.each(asks.map((one) => [`${one.method ?? "GET"} ${one.path}`, one] as const))("%s", async (_name, one) => {
    const [expected, actual] = [await ask(oracle.port, one), await ask(ours.port, one)];
    expect(actual).toEqual(expected);
  });
}

describe("a plain listener", () => {
  const behaviours: Record<string, (request: IncomingMessage, response: ServerResponse) => unknown> = {
    "/end": (_request, response) => response.end("hello"),
    "/empty": (_request, response) => response.end(),
    "/status": (_request, response) => {
      response.statusCode = 418;
      response.end("teapot");
    },
    "/head-array": (_request, response) =>
      response.writeHead(201, ["X-A", "1", "X-A", "2", "Set-Cookie", "a=1", "Set-Cookie", "b=2"]).end("x"),
    "/head-object": (_request, response) =>
      response.writeHead(200, "Fine", { "X-A": ["1", "2"], "Content-Length": 3 }).end("abc"),
    "/head-over-set": (_request, response) => {
      response.setHeader("X-A", "set");
      response.setHeader("X-B", "kept");
      response.writeHead(200, { "x-a": "head" });
      response.end("x");
    },
    "/head-array-over-set": (_request, response) => {
      response.setHeader("X-A", "set");
      response.writeHead(200, ["x-a", "1", "x-a", "2"]).end("x");
    },
    "/append": (_request, response) => {
      response.setHeader("X-A", "1");
      response.appendHeader("X-A", "2");
      response.appendHeader("Set-Cookie", ["a=1", "b=2"]);
      response.removeHeader("X-Never");
      response.end(
        JSON.stringify([
          response.getHeaders(),
          (response as unknown as { getRawHeaderNames(): string[] }).getRawHeaderNames(),
          response.hasHeader("x-a"),
        ]),
      );
    },
    "/set-headers": (_request, response) => {
      response.setHeaders(
        new Headers([
          ["a", "1"],
          ["set-cookie", "x=1"],
          ["set-cookie", "y=2"],
        ]),
      );
      response.end("x");
    },
    "/latin1": (_request, response) => {
      response.setHeader("X-Latin", "caf\u00e9");
      response.end(Buffer.from("x"));
    },
    "/utf8": (_request, response) => response.end("grüße 😀"),
    "/encodings": (_request, response) => {
      response.write("aGVsbG8=", "base64");
      response.write("20", "hex");
      response.write("h\u00e9", "latin1");
      response.end("AB", "utf16le");
    },
    "/chunks": async (_request, response) => {
      for (let index = 0; index < 20; index++) {
        response.write(`chunk ${index} `);
        await new Promise((resolve) => setImmediate(resolve));
      }
      response.end();
    },
    "/big": (_request, response) => response.end("x".repeat(3_000_000)),
    "/big-stream": (_request, response) =>
      pipeline(Readable.from(Array.from({ length: 100 }, (_, index) => Buffer.alloc(50_000, index))), response),
    "/declared-stream": (_request, response) => {
      response.setHeader("Content-Length", 6);
      response.write("abc");
      setImmediate(() => response.end("def"));
    },
    "/no-content": (_request, response) => response.writeHead(204).end(),
    "/not-modified": (_request, response) => response.writeHead(304, { ETag: '"x"' }).end("ignored"),
    "/connection": (_request, response) => {
      response.setHeader("Connection", "close");
      response.setHeader("Keep-Alive", "timeout=1");
      response.end("x");
    },
    "/chunked": (_request, response) => {
      response.setHeader("Transfer-Encoding", "chunked");
      response.end("x");
    },
    "/hints": (_request, response) => {
      response.writeEarlyHints({ link: "</a.css>; rel=preload; as=style" });
      response.writeProcessing();
      response.end("x");
    },
    "/trailers": (_request, response) => {
      response.setHeader("Trailer", "X-Sum");
      response.write("x");
      response.addTrailers({ "X-Sum": "1" });
      response.end();
    },
    "/echo": (request, response) => request.pipe(response),
    "/gzip": (_request, response) => {
      response.setHeader("Content-Encoding", "gzip");
      Readable.from(["hello ".repeat(1000)])
        .pipe(createGzip())
        .pipe(response);
    },
    "/request": (request, response) => {
      const { method, url, headers, headersDistinct, rawHeaders, httpVersion, complete, aborted } = request;
      const picked = { ...headers, host: undefined };
      const raw = rawHeaders.filter((_one, index) => rawHeaders[index - (index % 2)]?.toLowerCase() !== "host");
      response.end(
        JSON.stringify({
          method,
          url,
          picked,
          raw,
          httpVersion,
          aborted,
          completeIsBoolean: typeof complete === "boolean",
          distinct: headersDistinct["x-twice"],
          readable: request.readable,
          remote: request.socket.remoteAddress,
          family: request.socket.remoteFamily,
          encrypted: "encrypted" in request.socket && request.socket.encrypted === true,
        }),
      );
    },
    "/errors": (_request, response) => {
      const codes: unknown[] = [];
      const attempt = (act: () => unknown): void => {
        try {
          act();
          codes.push("none");
        } catch (error) {
          codes.push((error as NodeJS.ErrnoException).code);
        }
      };
      attempt(() => response.setHeader("bad name", "x"));
      attempt(() => response.setHeader("X", "a\nb"));
      attempt(() => response.setHeader("X", undefined as never));
      attempt(() => response.writeHead(99));
      attempt(() => response.writeHead(200, ["odd"]));
      attempt(() => response.writeHead(200, { "bad name": "x" }));
      attempt(() => response.write(null));
      attempt(() => response.write(7));
      response.flushHeaders();
      attempt(() => response.setHeader("X", "late"));
      attempt(() => response.writeHead(200));
      attempt(() => response.removeHeader("x"));
      attempt(() => response.writeEarlyHints({ link: "</a>; rel=preload" }));
      response.end(JSON.stringify(codes));
    },
    "/strict": (_request, response) => {
      response.strictContentLength = true;
      response.writeHead(200, { "Content-Length": 5 });
      let code = "none";
      try {
        response.write("too long");
      } catch (error) {
        code = (error as NodeJS.ErrnoException).code ?? "";
      }
      response.end(code.slice(0, 5));
    },
    "/states": (request, response) => {
      const states: unknown[] = [];
      const note = (what: string): void => {
        states.push([
          what,
          response.headersSent,
          response.writableEnded,
          response.writableFinished,
          response.finished,
          response.destroyed,
          response.writable,
          response.closed,
          request.destroyed,
          response.socket === null,
          response.writableNeedDrain,
        ]);
      };
      response.on("prefinish", () => note("prefinish"));
      response.on("finish", () => note("finish"));
      response.on("close", () => {
        note("close");
        seen.set(String(request.headers["x-run"]), states);
      });
      response.on("pipe", () => note("pipe"));
      note("begin");
      Readable.from(["piped"])
        .pipe(response, { end: false })
        .on("unpipe", () => {
          note("unpipe");
          response.end("rest", () => note("callback"));
          note("end returned");
        });
    },
    "/seen": (request, response) => response.end(JSON.stringify(seen.get(String(request.headers["x-run"])) ?? null)),
    "/destroy": (_request, response) => {
      response.write("part");
      setImmediate(() => response.destroy());
    },
    "/head-implicit": (_request, response) => {
      response.setHeader("Content-Length", 12);
      response.end();
    },
    "/late-write": (_request, response) => {
      response.end("x");
      response.on("error", () => {});
      response.write("y");
    },
    "/unread": (_request, response) => response.end("did not read"),
    "/await": async (request, response) => {
      let length = 0;
      for await (const chunk of request) {
        length += (chunk as Buffer).length;
      }
      response.end(String(length));
    },
  };
  const seen = new Map<string, unknown>();
  const listener: RequestListener = (request, response) =>
    behaviours[request.url?.split("?")[0] ?? ""]?.(request, response);
  const post = { method: "POST", body: "posted body ".repeat(10_000) };

  compare(
    async () => ({ oracle: http.createServer(listener), handler: nodeHandler(listener) }),
    [
      ...Object.keys(behaviours)
        .filter((path) => !["/seen", "/destroy", "/head-implicit", "/trailers"].includes(path))
        .map((path) => ({ path })),
      ...["/end", "/empty", "/head-implicit", "/chunks", "/big"].map((path) => ({ path, method: "HEAD" })),
      { path: "/destroy" },
      { path: "/trailers", headers: { te: "trailers" } },
      { path: "/echo", ...post },
      { path: "/await", ...post },
      { path: "/unread", ...post },
      { path: "/await", method: "PUT", headers: { "transfer-encoding": "chunked" }, body: "chunked" },
      { path: "/request?a=%20b&c", headers: { "X-Twice": ["1", "2"], Cookie: ["a=1", "b=2"], "X-Mixed-Case": "v" } },
      { path: "/states", headers: { "x-run": "1" } },
      { path: "/seen", headers: { "x-run": "1" } },
    ],
  );

  it("answers Expect: 100-continue when the body is read", async () => {
    const ours = await serveExchanges(nodeHandler(listener));
    const request = http.request({
      port: ours.port,
      path: "/await",
      method: "POST",
      headers: { expect: "100-continue" },
    });
    request.flushHeaders();
    await once(request, "continue");
    request.end("body");
    const [response] = (await once(request, "response")) as [IncomingMessage];
    expect((await response.setEncoding("utf8").toArray()).join("")).toBe("4");
    await ours.close();
  });

  it("sees the client leave", async () => {
    const events: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const ours = await serveExchanges(
      nodeHandler((request, response) => {
        request.on("aborted", () => events.push("aborted"));
        request.on("close", () => events.push("request close"));
        response.on("finish", () => events.push("finish"));
        response.on("close", () => {
          events.push("close");
          setImmediate(resolve);
        });
        response.write("data: 1\n\n");
      }),
    );
    const request = http.get({ port: ours.port });
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.on("error", () => {});
    await once(response, "data");
    response.socket.resetAndDestroy();
    await promise;
    expect(events.toSorted()).toEqual(["aborted", "close", "request close"]);
    await ours.close();
  });

  it("stops a writer that is faster than its client, and lets it go on", async () => {
    let written = 0;
    const full = Promise.withResolvers<void>();
    const ours = await serveExchanges(
      nodeHandler((_request, response) => {
        const chunk = Buffer.alloc(65_536);
        const fill = (): void => {
          while (written < 400) {
            written++;
            if (!response.write(chunk)) {
              full.resolve();
              response.once("drain", fill);
              return;
            }
          }
          response.end();
        };
        fill();
      }),
    );
    const socket = net.connect(ours.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    await full.promise;
    expect(written).toBeLessThan(400);
    let received = 0;
    socket.on("data", (chunk: Buffer) => (received += chunk.length));
    await once(socket, "end");
    expect(written).toBe(400);
    expect(received).toBeGreaterThan(400 * 65_536);
    await ours.close();
  });
});

describe("Express 5", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "portico-express-"));
    await writeFile(join(folder, "file.txt"), "0123456789".repeat(100));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const make = (): express.Express => {
    const app = express();
    app.set("trust proxy", false);
    app.use("/static", (request, response, next) => express.static(folder)(request, response, next));
    app.get("/", (_request, response) => void response.send("hello"));
    app.get(
      "/json",
      (request, response) => void response.json({ ip: request.ip, protocol: request.protocol, q: request.query }),
    );
    app.get("/redirect", (_request, response) => response.redirect(301, "/elsewhere"));
    app.get(
      "/cookie",
      (_request, response) => void response.cookie("a", "b", { httpOnly: true }).cookie("c", "d").sendStatus(201),
    );
    app.get("/user/:id", (request, response) => void response.status(202).type("text").send(request.params["id"]));
    app.get("/stream", (_request, response) => void Readable.from(["a", "b", "c"]).pipe(response));
    app.get("/file", (_request, response) => response.sendFile(join(folder, "file.txt")));
    app.get("/download", (_request, response) => response.download(join(folder, "file.txt"), "näme.txt"));
    app.get("/throws", () => {
      throw Object.assign(new TypeError("broken"), { expose: false });
    });
    app.get("/rejects", async () => {
      throw new TypeError("broken");
    });
    app.post(
      "/body",
      express.json(),
      express.urlencoded({ extended: true }),
      (request, response) => void response.json(request.body),
    );
    app.get(
      "/format",
      (_request, response) => void response.format({ json: () => response.json({}), html: () => response.send("<p>") }),
    );
    const sub = express();
    sub.get("/x", (request, response) => void response.json([request.baseUrl, request.originalUrl]));
    app.use("/sub", sub);
    app.use((error: Error, _request: Request, response: Response, next: NextFunction) =>
      error instanceof TypeError ? void response.status(500).json({ error: error.message }) : next(error),
    );
    return app;
  };

  compare(async () => {
    const found = detectNodeApplication(make());
    expect(found?.kind).toBe("express");
    return { oracle: http.createServer(make()), handler: (await found?.open()) as ExchangeHandler };
  }, [
    { path: "/" },
    { path: "/", method: "HEAD" },
    { path: "/", headers: { "if-none-match": 'W/"5-qvTGHdzF6KLavt4PO0gs2a6pQ00"' } },
    { path: "/json?a=1&b[c]=2" },
    { path: "/redirect" },
    { path: "/cookie" },
    { path: "/user/42" },
    { path: "/stream" },
    { path: "/file" },
    { path: "/file", method: "HEAD" },
    { path: "/file", headers: { range: "bytes=10-19" } },
    { path: "/file", headers: { range: "bytes=99999-" } },
    { path: "/download" },
    { path: "/static/file.txt" },
    { path: "/static/missing.txt" },
    { path: "/throws" },
    { path: "/rejects" },
    { path: "/body", method: "POST", headers: { "content-type": "application/json" }, body: '{"a":[1]}' },
    {
      path: "/body",
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: "a=1&b=2",
    },
    { path: "/body", method: "POST", headers: { "content-type": "application/json" }, body: "{" },
    {
      path: "/body",
      method: "POST",
      headers: { "content-type": "application/json" },
      body: `"${"x".repeat(200_000)}"`,
    },
    { path: "/format", headers: { accept: "text/html" } },
    { path: "/sub/x" },
    { path: "/missing" },
    { path: "/", method: "OPTIONS" },
  ]);
});

describe("Koa 3", () => {
  const make = (): Koa => {
    const app = new Koa();
    app.silent = true;
    app.use(async (context, next) => {
      await next();
      context.set("X-After", "1");
    });
    app.use(async (context) => {
      switch (context.path) {
        case "/json":
          context.body = { ip: context.ip, secure: context.secure, query: context.query };
          break;
        case "/stream":
          context.body = Readable.from(["a", "b"]);
          break;
        case "/fetch":
          context.body = new Blob(["blob"]).stream();
          break;
        case "/throws":
          context.throw(403, "no");
          break;
        case "/empty":
          context.body = null;
          break;
        case "/read":
          context.body = String((await Readable.from(context.req).toArray()).length > 0);
          break;
        case "/text":
          context.body = "text";
          break;
        default:
      }
    });
    return app;
  };
  compare(async () => {
    const found = detectNodeApplication(make());
    expect(found?.kind).toBe("koa");
    return {
      oracle: http.createServer(make().callback() as RequestListener),
      handler: (await found?.open()) as ExchangeHandler,
    };
  }, [
    { path: "/json?x=1" },
    { path: "/stream" },
    { path: "/fetch" },
    { path: "/throws" },
    { path: "/empty" },
    { path: "/text" },
    { path: "/text", method: "HEAD" },
    { path: "/read", method: "POST", body: "abc" },
    { path: "/missing" },
  ]);
});

describe("Fastify 5", () => {
  const make = () => {
    const app = fastify();
    app.get("/", async () => ({ hello: "world" }));
    app.get("/stream", (_request, reply) => reply.type("text/plain").send(Readable.from(["a", "b"])));
    app.get("/web", () => new globalThis.Response("web", { status: 201, headers: { "x-web": "1" } }));
    app.post("/echo", async (request) => request.body);
    app.get("/throws", async () => {
      throw new TypeError("broken");
    });
    app.get("/raw", (_request, reply) => {
      reply.hijack();
      reply.raw.writeHead(200, { "x-raw": "1" });
      reply.raw.end("raw");
    });
    app.get("/ip", async (request) => ({ ip: request.ip, protocol: request.protocol, host: typeof request.host }));
    app.get("/trailers", (_request, reply) => {
      void reply.trailer("x-sum", async () => "1");
      void reply.send("x");
    });
    return app;
  };
  compare(async () => {
    const oracle = make();
    await oracle.ready();
    const ours = make();
    const found = detectNodeApplication(ours);
    expect(found?.kind).toBe("fastify");
    return {
      oracle: oracle.server,
      handler: (await found?.open()) as ExchangeHandler,
      close: () => found?.close(),
    };
  }, [
    { path: "/" },
    { path: "/", method: "HEAD" },
    { path: "/stream" },
    { path: "/web" },
    { path: "/throws" },
    { path: "/raw" },
    { path: "/ip" },
    { path: "/trailers", headers: { te: "trailers" } },
    { path: "/missing" },
    { path: "/echo", method: "POST", headers: { "content-type": "application/json" }, body: '{"a":1}' },
    { path: "/echo", method: "POST", headers: { "content-type": "application/json" }, body: "{" },
    { path: "/echo", method: "POST", headers: { "content-type": "text/unknown" }, body: "?" },
  ]);
});

describe("h3 2 and Hono 4 through their node adapters", () => {
  const h3 = (): RequestListener => {
    const app = new H3();
    app.get("/", () => "h3");
    app.get("/json", () => ({ a: 1 }));
    app.get("/stream", () => new globalThis.Response(new Blob(["a", "b"]).stream()));
    app.post("/echo", async (event) => (await readBody(event)) as object);
    return toNodeHandler(app);
  };
  compare(
    async () => ({ oracle: http.createServer(h3()), handler: nodeHandler(h3()) }),
    [
      { path: "/" },
      { path: "/json" },
      { path: "/stream" },
      { path: "/echo", method: "POST", headers: { "content-type": "application/json" }, body: '{"a":1}' },
      { path: "/missing" },
    ],
  );

  const hono = (): Hono => {
    const app = new Hono();
    app.get("/hono", (context) => context.text("hono"));
    app.get("/hono/json", (context) => context.json({ a: 1 }, 201, { "x-a": "1" }));
    app.get("/hono/stream", () => new globalThis.Response(new Blob(["a".repeat(100_000)]).stream()));
    app.post("/hono/echo", async (context) => context.text(await context.req.text()));
    return app;
  };
  compare(async () => {
    const oracle = serveHono({ fetch: hono().fetch, port: 0 }) as Server;
    await once(oracle, "listening");
    oracle.close();
    await once(oracle, "close");
    const capture = captureListen();
    let told: AddressInfo | undefined;
    serveHono({ fetch: hono().fetch, port: 3000, hostname: "127.0.0.1" }, (info) => (told = info));
    capture.release();
    const captured = await capture.application;
    await once(captured.server, "listening");
    expect(told?.port).toBe(3000);
    return { oracle, handler: captured.handler, close: () => captured.close() };
  }, [
    { path: "/hono" },
    { path: "/hono/json" },
    { path: "/hono/stream" },
    { path: "/hono/echo", method: "POST", body: "posted" },
    { path: "/hono/missing" },
  ]);
});

describe("captureListen", () => {
  it("takes a plain program, and counts what is under way when it closes", async () => {
    const capture = captureListen();
    const events: string[] = [];
    let finish: (() => void) | undefined;
    const server = http
      .createServer((_request, response) => {
        response.write("part ");
        finish = () => response.end("whole");
      })
      .listen(3000, () => events.push("callback"));
    server.on("listening", () => events.push("listening"));
    capture.release();
    expect(server.listening).toBe(true);
    expect(server.address()).toEqual({ address: "::", family: "IPv6", port: 3000 });
    await once(server, "listening");
    expect(events).toEqual(["callback", "listening"]);
    const captured = await capture.application;
    expect(captured.asked).toEqual({ port: 3000, host: undefined, path: undefined });

    const ours = await serveExchanges(captured.handler);
    const answer = ask(ours.port, { path: "/" });
    await expect.poll(() => finish).toBeDefined();
    const closing = captured.close().then(() => events.push("closed"));
    await new Promise(setImmediate);
    expect(events).not.toContain("closed");
    finish?.();
    expect((await answer).body).toBe("part whole");
    await closing;
    expect(server.listening).toBe(false);
    expect((await ask(ours.port, { path: "/" })).status).toBe(503);
    await ours.close();
  });

  it("takes Fastify's listen with every server it makes, and no other port", async () => {
    const elsewhere: unknown[] = [];
    const capture = captureListen({ onElsewhere: (_server, asked) => elsewhere.push(asked.port) });
    const app = fastify();
    app.get("/", async () => "fastify");
    const address = await app.listen({ port: 3456 });
    const metrics = http.createServer((_request, response) => response.end("metrics")).listen(0, "127.0.0.1");
    await once(metrics, "listening");
    capture.release();
    expect(address).toContain(":3456");
    expect(elsewhere).toEqual([0]);
    const captured = await capture.application;
    expect(captured.server).toBe(app.server);
    const port = (metrics.address() as AddressInfo).port;
    expect((await ask(port, { path: "/" })).body).toBe("metrics");
    const ours = await serveExchanges(captured.handler);
    expect((await ask(ours.port, { path: "/" })).body).toBe("fastify");
    await expect(fetch("http://127.0.0.1:3456/")).rejects.toThrow("fetch failed");
    await ours.close();
    await app.close();
    metrics.close();
  });

  it("leaves errors of listen to node", async () => {
    const capture = captureListen();
    const server = http.createServer();
    expect(() => server.listen(70_000)).toThrow(RangeError);
    server.listen("/never/made.sock");
    expect(server.address()).toBe("/never/made.sock");
    expect(() => server.listen(1)).toThrow(/listen/i);
    capture.release();
    server.close();
    await once(server, "close");
  });
});

describe("detectNodeApplication", () => {
  it("tells what is node's from what is TSGI's", () => {
    const bare = (): void => {};
    expect(detectNodeApplication(bare)).toBeUndefined();
    expect(detectNodeApplication(new Hono())).toBeUndefined();
    expect(detectNodeApplication(new H3())).toBeUndefined();
    expect(detectNodeApplication({ fetch: () => new globalThis.Response() })).toBeUndefined();
    expect(detectNodeApplication(null)).toBeUndefined();
    expect(detectNodeApplication(fromNode((_request, response) => response.end()))?.kind).toBe("node listener");
    expect(detectNodeApplication(http.createServer())?.kind).toBe("http.Server");
  });
});

describe("upgrades", () => {
  const start = async (): Promise<{ port: number; close: () => Promise<void> }> => {
    const server = http.createServer((_request, response) => response.end("plain"));
    const sockets = new WebSocketServer({ noServer: true });
    sockets.on("connection", (socket, request) => {
      socket.send(`hello ${request.url}`);
      socket.on("message", (data, binary) => socket.send(data, { binary }));
    });
    server.on("upgrade", (request, socket, head) => {
      if (request.url === "/refused") {
        socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nnot you");
        return;
      }
      if (request.url === "/garbage") {
        socket.end("HTTP/1.1 OK\nnonsense\n\n");
        return;
      }
      sockets.handleUpgrade(request, socket, head, (ws) => sockets.emit("connection", ws, request));
    });
    return serveExchanges(serverHandler(server));
  };

  it("carries WebSockets of the ws package", async () => {
    const ours = await start();
    const client = new WebSocket(`ws://127.0.0.1:${ours.port}/chat?x=1`);
    const messages: string[] = [];
    client.on("message", (data: Buffer) => messages.push(data.toString()));
    await once(client, "open");
    client.send("one");
    client.send("x".repeat(1_000_000));
    await expect.poll(() => messages.length, { timeout: 5000 }).toBe(3);
    expect(messages.map((message) => message.length)).toEqual([15, 3, 1_000_000]);
    client.ping();
    await once(client, "pong");
    client.close(4001, "bye");
    const [code] = (await once(client, "close")) as [number];
    expect(code).toBe(4001);
    await ours.close();
  });

  it("carries CONNECT, and refuses it without a listener", async () => {
    const server = http.createServer((_request, response) => response.end("plain"));
    const ours = await serveExchanges(serverHandler(server));
    const connect = async (): Promise<[IncomingMessage, net.Socket, Buffer]> => {
      const request = http.request({ port: ours.port, method: "CONNECT", path: "example.test:443" }).end();
      return (await once(request, "connect")) as [IncomingMessage, net.Socket, Buffer];
    };
    expect((await connect())[0].statusCode).toBe(501);
    server.on("connect", (request, socket) => {
      socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      socket.write(`to ${request.url} `);
      socket.pipe(socket);
    });
    const [response, socket, first] = await connect();
    expect(response.statusCode).toBe(200);
    socket.end("echoed");
    expect(first.toString() + (await socket.setEncoding("utf8").toArray()).join("")).toBe("to example.test:443 echoed");
    await ours.close();
  });

  it("closes quietly when the client of a tunnel is gone", async () => {
    const server = http.createServer();
    const closed = Promise.withResolvers<void>();
    server.on("upgrade", (_request, socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
      socket.on("close", () => closed.resolve()); // and nobody listens for errors
    });
    const ours = await serveExchanges(serverHandler(server));
    const request = http.get({ port: ours.port, headers: { connection: "upgrade", upgrade: "echo" } });
    const [, socket] = (await once(request, "upgrade")) as [unknown, net.Socket];
    socket.resetAndDestroy();
    await closed.promise;
    await ours.close();
  });

  it("turns a refusal that was written by hand into a response", async () => {
    const ours = await start();
    const client = new WebSocket(`ws://127.0.0.1:${ours.port}/refused`);
    const [, response] = (await once(client, "unexpected-response")) as [unknown, IncomingMessage];
    expect(response.statusCode).toBe(401);
    expect((await response.setEncoding("utf8").toArray()).join("")).toBe("not you");
    await ours.close();
  });

  it("turns nonsense that was written by hand into 500", async () => {
    const ours = await start();
    const client = new WebSocket(`ws://127.0.0.1:${ours.port}/garbage`);
    const [, response] = (await once(client, "unexpected-response")) as [unknown, IncomingMessage];
    expect(response.statusCode).toBe(500);
    response.resume();
    await ours.close();
  });

  it("refuses a bad handshake as ws does", async () => {
    const ours = await start();
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      http
        .get({
          port: ours.port,
          headers: { connection: "upgrade", upgrade: "websocket", "sec-websocket-version": "12" },
        })
        .on("response", resolve)
        .on("error", reject);
    });
    expect(answer.statusCode).toBe(400);
    answer.resume();
    await ours.close();
  });
});
