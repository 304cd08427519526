import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import { describe, expect, it } from "vitest";
import { nodeHandler, serverHandler } from "../node.ts";
import { FakeExchange } from "./testing/fake-exchange.ts";

const later = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("nodeHandler: the request", () => {
  it("is a real IncomingMessage with what the exchange knows", () => {
    let seen: IncomingMessage | undefined;
    const exchange = new FakeExchange({
      target: "/a%20b?c=d",
      scheme: "https",
      headers: ["Host", "h", "X-One", "1", "x-one", "2", "Cookie", "a=1", "Cookie", "b=2"],
    });
    exchange.run(
      nodeHandler((request, response) => {
        seen = request;
        response.end();
      }),
    );
    expect(seen).toBeInstanceOf(http.IncomingMessage);
    expect(seen?.url).toBe("/a%20b?c=d");
    expect(seen?.headers).toEqual({ host: "h", "x-one": "1, 2", cookie: "a=1; b=2" });
    expect(seen?.headersDistinct["x-one"]).toEqual(["1", "2"]);
    expect(seen?.rawHeaders).toHaveLength(10);
    expect(seen?.httpVersion).toBe("1.1");
    expect(seen?.socket.remoteAddress).toBe("192.0.2.7");
    expect(seen?.connection.remotePort).toBe(4711);
    expect(seen?.socket).toHaveProperty("encrypted", true);
  });

  it("gives its body with back-pressure and its end", async () => {
    const exchange = new FakeExchange({ method: "POST", bodyLength: -1 });
    const text = new Promise<string>((resolve) => {
      exchange.run(
        nodeHandler(async (request, response) => {
          let whole = "";
          for await (const chunk of request) {
            whole += String(chunk);
          }
          expect(request.complete).toBe(true);
          response.end("ok");
          resolve(whole);
        }),
      );
    });
    await later();
    expect(exchange.calls.map(([name]) => name)).toContain("resume");
    exchange.push("one ");
    exchange.push("x".repeat(100_000));
    await later();
    exchange.push(null);
    expect((await text).length).toBe(100_004);
    expect(exchange.calls.map(([name]) => name)).toContain("pause");
  });

  it("ends at once where there is no body, and closes after the response", async () => {
    const exchange = new FakeExchange();
    const events: string[] = [];
    exchange.run(
      nodeHandler((request, response) => {
        request.on("end", () => events.push("end"));
        request.on("close", () => events.push("request close"));
        response.on("finish", () => events.push("finish"));
        response.on("close", () => events.push("close"));
        response.end("x");
      }),
    );
    await later();
    expect(events).toEqual(expect.arrayContaining(["end", "request close", "finish", "close"]));
    expect(events.indexOf("finish")).toBeLessThan(events.indexOf("close"));
    expect(exchange.calls.filter(([name]) => name === "resume")).toEqual([]);
  });

  it("breaks as node's does when the client leaves", async () => {
    const exchange = new FakeExchange({ method: "POST", bodyLength: 100 });
    const events: string[] = [];
    exchange.run(
      nodeHandler((request, response) => {
        request.on("aborted", () => events.push("aborted"));
        request.on("error", (error: NodeJS.ErrnoException) => events.push(`error ${error.code}`));
        request.on("close", () => events.push("request close"));
        request.on("data", () => {});
        response.on("finish", () => events.push("finish"));
        response.on("close", () => events.push("close"));
        response.write("x");
      }),
    );
    await later();
    exchange.disconnect();
    await later();
    expect(events).toEqual(expect.arrayContaining(["aborted", "error ECONNRESET", "request close", "close"]));
    expect(events).not.toContain("finish");
  });
});

describe("nodeHandler: around the messages", () => {
  it("keeps what one listener enters away from the next", async () => {
    const storage = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const handler = nodeHandler((request, response) => {
      seen.push(storage.getStore());
      storage.enterWith(request.url ?? "");
      response.on("finish", () => seen.push(`finish ${storage.getStore()}`));
      response.end();
    });
    new FakeExchange({ target: "/1" }).run(handler);
    const slow = new FakeExchange({ target: "/2" });
    slow.finishesAtOnce = false;
    slow.run(handler);
    await later();
    slow.finish();
    await later();
    expect(seen).toEqual([undefined, undefined, "finish /1", "finish /2"]);
  });

  it("uses the classes and settings a server was created with", () => {
    class OwnRequest extends http.IncomingMessage {
      readonly own = true;
    }
    class OwnResponse extends http.ServerResponse<OwnRequest> {
      hello(): this {
        return this.end("hello");
      }
    }
    const server = http.createServer(
      {
        IncomingMessage: OwnRequest,
        ServerResponse: OwnResponse,
        uniqueHeaders: ["x-one"],
        joinDuplicateHeaders: true,
      },
      (request, response) => {
        expect(request.own).toBe(true);
        expect(request.socket).toHaveProperty("server", server);
        expect(request.headers["referer"]).toBe("a, b");
        response.setHeader("X-One", ["1", "2"]);
        response.hello();
      },
    );
    const exchange = new FakeExchange({ headers: ["Referer", "a", "Referer", "b"] }).run(serverHandler(server));
    expect(exchange.calls).toEqual([["respond", 200, ["X-One", "1; 2"], "hello"]]);
  });

  it("asks checkContinue and checkExpectation listeners first", () => {
    const server = http.createServer((_request, response) => response.end("plain"));
    const ask = (expect: string): FakeExchange =>
      new FakeExchange({ method: "POST", bodyLength: 3, headers: ["Host", "h", "Expect", expect] }).run(
        serverHandler(server),
      );
    expect(ask("100-continue").body).toBe("plain");
    expect(ask("magic").status).toBe(417);
    server.on("checkContinue", (_request, response) => {
      response.writeContinue();
      response.end("checked");
    });
    server.on("checkExpectation", (_request, response) => response.end("expected"));
    const checked = ask("100-continue");
    expect(checked.body).toBe("checked");
    expect(checked.calls[0]).toEqual(["resume"]);
    expect(ask("magic").body).toBe("expected");
  });

  it("names the host of a request that came over HTTP/2", () => {
    const exchange = new FakeExchange({
      version: "2",
      authority: "two.test",
      headers: ["cookie", "a=1", "cookie", "b=2"],
    });
    exchange.run(
      nodeHandler((request, response) =>
        response.end(`${request.headers.host} ${request.headers.cookie} ${request.httpVersion}`),
      ),
    );
    expect(exchange.body).toBe("two.test a=1; b=2 1.1");
  });

  it("publishes on Node's own diagnostics channels", async () => {
    await later(); // exchanges of the tests before are still completing
    const seen: string[] = [];
    const names = ["http.server.request.start", "http.server.response.created", "http.server.response.finish"];
    const listeners = names.map((name) => [name, () => seen.push(name)] as const);
    listeners.forEach(([name, listener]) => subscribe(name, listener));
    new FakeExchange().run(nodeHandler((_request, response) => response.end()));
    await later();
    listeners.forEach(([name, listener]) => unsubscribe(name, listener));
    expect(seen).toEqual(["http.server.response.created", "http.server.request.start", "http.server.response.finish"]);
  });

  it("lets middleware wrap write, end and writeHead, as compression and sessions do", async () => {
    const exchange = new FakeExchange().run(
      nodeHandler((_request, response) => {
        // oxlint-disable-next-line typescript/unbound-method -- as middleware does it
        const { end, write, writeHead } = response;
        response.writeHead = function (...given: unknown[]) {
          response.setHeader("X-Late", "1");
          return Reflect.apply(writeHead, this, given) as typeof response;
        };
        response.write = function (...given: unknown[]) {
          return Reflect.apply(write, this, [String(given[0]).toUpperCase()]) as boolean;
        };
        response.end = function (...given: unknown[]) {
          setImmediate(() => Reflect.apply(end, response, given));
          return response;
        };
        response.write("a");
        response.end("b");
      }),
    );
    await later();
    await later();
    expect(exchange.body).toBe("Ab");
    expect(exchange.headers).toEqual(["X-Late", "1"]);
  });

  it("answers 500 where the transport refuses the response, and reports why", async () => {
    const reported: unknown[] = [];
    let closed = false;
    const exchange = new FakeExchange();
    const respond = exchange.respond.bind(exchange);
    exchange.respond = (status, headers, body) => {
      if (headers.includes("Content-Length")) {
        throw new RangeError("length");
      }
      respond(status, headers, body);
    };
    exchange.run(
      nodeHandler(
        (_request, response) => {
          response.on("close", () => (closed = true));
          response.setHeader("Content-Length", 10);
          response.end("short");
        },
        { onError: (error) => reported.push(error) },
      ),
    );
    await later();
    expect(exchange.status).toBe(500);
    expect(String(reported[0])).toBe("RangeError: length");
    expect(closed).toBe(true);
  });

  it("breaks a body that somebody still reads when the response is out", async () => {
    const events: unknown[] = [];
    const exchange = new FakeExchange({ method: "POST", bodyLength: 100 });
    exchange.run(
      nodeHandler((request, response) => {
        request.on("data", () => {});
        request.on("end", () => events.push("end"));
        request.on("error", (error: NodeJS.ErrnoException) => events.push(error.code));
        setImmediate(() => response.end("early"));
      }),
    );
    exchange.push("part");
    await later();
    await later();
    expect(events).toEqual(["ECONNRESET"]);
  });
});

describe("nodeHandler: the response", () => {
  const run = (listener: (request: IncomingMessage, response: ServerResponse) => unknown, head = {}): FakeExchange =>
    new FakeExchange(head).run(nodeHandler(listener));

  it("is one respond when it is whole", () => {
    const exchange = run((_request, response) => {
      response.setHeader("Content-Type", "text/plain");
      response.setHeader("Set-Cookie", ["a=1", "b=2"]);
      response.end("hello");
    });
    expect(exchange.calls).toEqual([
      ["respond", 200, ["Content-Type", "text/plain", "Set-Cookie", "a=1", "Set-Cookie", "b=2"], "hello"],
    ]);
  });

  it("is one respond when write and end come in one turn", () => {
    const exchange = run((_request, response) => {
      response.write("a");
      response.write(Buffer.from("b"));
      response.end("c");
    });
    expect(exchange.calls).toHaveLength(1);
    expect(exchange.body).toBe("abc");
  });

  it("streams what comes over time", async () => {
    const exchange = run((_request, response) => {
      response.writeHead(201, "Made", { "X-A": "1" });
      response.write("a");
      setImmediate(() => response.end("b"));
    });
    await later();
    await later();
    expect(exchange.calls).toEqual([
      ["start", 201, ["X-A", "1"]],
      ["write", "a"],
      ["write", "b"],
      ["end", []],
    ]);
  });

  it("sends the head alone when flushed", () => {
    const exchange = run((_request, response) => {
      response.setHeader("A", "b");
      response.flushHeaders();
      expect(response.headersSent).toBe(true);
    });
    expect(exchange.calls).toEqual([["start", 200, ["A", "b"]]]);
  });

  it("drops what is about the connection", () => {
    const exchange = run((_request, response) => {
      response.writeHead(200, [
        "Connection",
        "close",
        "Transfer-Encoding",
        "chunked",
        "Keep-Alive",
        "timeout=5",
        "A",
        "b",
      ]);
      response.end("x");
    });
    expect(exchange.headers).toEqual(["A", "b"]);
  });

  it("passes back-pressure on, and drains", async () => {
    const exchange = new FakeExchange();
    exchange.full = true;
    let drained = 0;
    exchange.run(
      nodeHandler((_request, response) => {
        response.flushHeaders();
        response.cork();
        response.uncork();
        response.on("drain", () => drained++);
        setImmediate(() => {
          expect(response.write("x".repeat(100_000))).toBe(false);
          expect(response.writableNeedDrain).toBe(true);
          expect(response.writableLength).toBe(100_000);
        });
      }),
    );
    await later();
    await later();
    expect(drained).toBe(0);
    exchange.drain();
    await later();
    expect(drained).toBe(1);
  });

  it("has no body for HEAD and 304", () => {
    const head = run((_request, response) => response.end("hello"), { method: "HEAD" });
    expect(head.calls[0]?.[3]).toBeNull();
    const unchanged = run((_request, response) => response.writeHead(304).end("hello"));
    expect(unchanged.calls[0]?.slice(0, 4)).toEqual(["respond", 304, [], null]);
  });

  it("sends trailers", () => {
    const exchange = run((_request, response) => {
      response.write("x");
      response.addTrailers({ "X-Sum": "1" });
      response.end();
    });
    expect(exchange.calls.at(-1)).toEqual(["end", ["X-Sum", "1"]]);
  });

  it("sends interim responses", () => {
    const exchange = run((_request, response) => {
      response.writeProcessing();
      response.writeEarlyHints({ link: "</a.css>; rel=preload; as=style", "x-hint": "1" });
      response.end();
    });
    expect(exchange.calls.slice(0, 2)).toEqual([
      ["inform", 102, []],
      ["inform", 103, ["Link", "</a.css>; rel=preload; as=style", "x-hint", "1"]],
    ]);
  });

  it("calls back and emits in node's order, never from inside end", async () => {
    const events: string[] = [];
    run((_request, response) => {
      response.on("prefinish", () => events.push("prefinish"));
      response.on("finish", () => events.push(`finish ${response.writableFinished} ${response.socket === null}`));
      response.on("close", () => events.push("close"));
      response.end("x", () => events.push("callback"));
      events.push("end returned");
      expect(response.writableEnded).toBe(true);
    });
    await later();
    expect(events).toEqual(["prefinish", "end returned", "callback", "finish true true", "close"]);
  });

  it("refuses writes after the end as node does", async () => {
    const errors: unknown[] = [];
    run((_request, response) => {
      response.on("error", (error: NodeJS.ErrnoException) => errors.push(error.code));
      response.end("x");
      response.write("y");
    });
    await later();
    expect(errors).toEqual(["ERR_STREAM_WRITE_AFTER_END"]);
  });

  it("breaks the exchange when it is destroyed", async () => {
    let closed = false;
    const exchange = run((_request, response) => {
      response.on("close", () => (closed = true));
      response.write("x");
      response.destroy();
    });
    await later();
    expect(exchange.calls).toContainEqual(["abort", "reset"]);
    expect(closed).toBe(true);
  });

  it("survives an exchange of prototypes", () => {
    const exchange = run((request, response) => {
      Object.setPrototypeOf(request, Object.create(http.IncomingMessage.prototype) as object);
      Object.setPrototypeOf(response, Object.create(http.ServerResponse.prototype) as object);
      response.end("x");
    });
    expect(exchange.body).toBe("x");
  });

  it("answers 500 for a listener that throws, and reports it", () => {
    const reported: unknown[] = [];
    const exchange = new FakeExchange().run(
      nodeHandler(
        () => {
          throw new TypeError("broken");
        },
        { onError: (error) => reported.push(error) },
      ),
    );
    expect(exchange.status).toBe(500);
    expect(String(reported[0])).toBe("TypeError: broken");
  });

  it("times out when asked to", async () => {
    let response: ServerResponse | undefined;
    run((_request, given) => {
      response = given;
      given.setTimeout(10);
    });
    const [socket] = (await once(response as ServerResponse, "timeout")) as [unknown];
    expect(socket).toBe(response?.socket);
  });
});
