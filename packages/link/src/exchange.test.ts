/** The worker's exchanges keep the rules of packages/gateway/src/exchange.ts. */
import type { AbortReason, Exchange, ExchangeHandler, HeaderList } from "@portico/gateway/exchange";
import { describe, expect, test } from "vitest";
import type { UpstreamStream } from "./client.ts";
import type { LinkRequest } from "./head.ts";
import { Pipe } from "./pipe.ts";
import { Watcher, linkError, requestOf } from "./test-rig.ts";

const base = requestOf({
  scheme: "https",
  authority: "example.test",
  target: "/a?b=c",
  headers: ["Host", "example.test"],
  id: "id-1",
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  tracestate: "a=b",
  client: { address: "192.0.2.7", port: 4711, vouchedBy: "socket" },
  tls: {
    protocol: "TLSv1.3",
    cipher: "TLS_AES_128_GCM_SHA256",
    alpn: "h2",
    serverName: "example.test",
    clientCertificate: undefined,
  },
  receivedAt: 1_700_000_000_123,
  queuedMs: 12,
});

/** What the application saw. */
class Log {
  readonly lines: string[] = [];
  attach(exchange: Exchange): void {
    exchange.observer = {
      onData: (chunk) => this.lines.push(`data ${Buffer.from(chunk).toString()}`),
      onEnd: (trailers) => this.lines.push(`end ${trailers.join(",")}`.trim()),
      onDrain: () => this.lines.push("drain"),
      onFinish: () => this.lines.push("finish"),
      onAbort: (reason) => this.lines.push(`abort ${reason}`),
    };
  }
}

interface Asked {
  pipe: Pipe;
  watcher: Watcher;
  stream: UpstreamStream;
  errors: unknown[];
}

function ask(
  handler: ExchangeHandler,
  request: Partial<LinkRequest> = {},
  body: string | null = null,
  complete = true,
): Asked {
  const errors: unknown[] = [];
  const pipe = new Pipe(handler, {}, { onError: (error) => errors.push(error), peer: { address: "/run/a", port: 0 } });
  pipe.settle();
  const watcher = new Watcher();
  const bytes = body === null ? null : Buffer.from(body);
  const stream = pipe.client.open({ ...base, ...request }, bytes, complete, watcher);
  pipe.settle();
  return { pipe, watcher, stream, errors };
}

test("head and facts are what the proxy said", () => {
  let seen: Exchange | undefined;
  ask((exchange) => {
    seen = exchange;
    exchange.respond(204, [], null);
  });
  expect(seen!.head).toMatchObject({
    method: "GET",
    scheme: "https",
    authority: "example.test",
    target: "/a?b=c",
    version: "1.1",
    bodyLength: 0,
  });
  expect(seen!.head.upgrade).toBeUndefined();
  expect(seen!.facts).toEqual({
    front: ["tunnel", "trailers"],
    id: "id-1",
    traceparent: base.traceparent,
    tracestate: "a=b",
    peer: { address: "/run/a", port: 0 },
    local: { address: "", port: 0 },
    client: { address: "192.0.2.7", port: 4711, vouchedBy: "link" },
    tls: base.tls,
    receivedAt: 1_700_000_000_123,
    queuedMs: 12,
    deadline: undefined,
  });
});

describe("the request body", () => {
  test("is paused until resume, and reports its end where there is none", () => {
    const log = new Log();
    let held: Exchange | undefined;
    const { pipe } = ask((exchange) => {
      log.attach(exchange);
      held = exchange;
    });
    expect(log.lines).toEqual([]);
    held!.resume();
    expect(log.lines).toEqual(["end"]);
    held!.respond(200, [], "ok");
    expect(log.lines).toEqual(["end"]);
    pipe.settle();
    expect(log.lines).toEqual(["end", "finish"]);
  });

  test("does not come from inside resume of a handler that has not returned", () => {
    const log = new Log();
    ask(
      (exchange) => {
        log.attach(exchange);
        exchange.resume();
        log.lines.push("handler returns");
      },
      { method: "POST", bodyLength: 5 },
      "hello",
    );
    expect(log.lines).toEqual(["handler returns", "data hello", "end"]);
  });

  test("stops at pause, within onData too, and brings trailers", () => {
    const log = new Log();
    let held: Exchange | undefined;
    const { pipe, stream } = ask(
      (exchange) => {
        log.attach(exchange);
        exchange.observer!.onData = (chunk) => {
          log.lines.push(`data ${Buffer.from(chunk).toString()}`);
          exchange.pause();
        };
        held = exchange;
        exchange.resume();
      },
      { method: "POST", bodyLength: -1 },
      "one",
      false,
    );
    stream.write(Buffer.from("two"));
    stream.end(["x-sum", "6"]);
    pipe.settle();
    expect(log.lines).toEqual(["data one"]);
    held!.resume();
    expect(log.lines).toEqual(["data one", "data two"]);
    held!.resume();
    expect(log.lines).toEqual(["data one", "data two", "end x-sum,6"]);
  });

  test("a slow application stops the proxy's writer at the window", () => {
    let held: Exchange | undefined;
    let got = 0;
    const { pipe, stream, watcher } = ask(
      (exchange) => {
        held = exchange;
        exchange.observer = {
          onData: (part) => void (got += part.length),
          onEnd() {},
          onDrain() {},
          onFinish() {},
          onAbort() {},
        };
      },
      { method: "POST", bodyLength: -1 },
      null,
      false,
    );
    const chunk = Buffer.alloc(50_000);
    let written = 0;
    while (stream.write(chunk)) written += chunk.length;
    pipe.settle();
    expect(written).toBe(50_000);
    expect([got, watcher.drains]).toEqual([0, 0]);
    held!.resume();
    pipe.settle();
    expect([got, watcher.drains]).toEqual([100_000, 1]);
  });

  test("100 Continue is asked for when the body is first read, and only then", () => {
    let held: Exchange | undefined;
    const { pipe, watcher } = ask(
      (exchange) => void (held = exchange),
      { method: "POST", bodyLength: 5, headers: ["expect", "100-continue"] },
      null,
      false,
    );
    expect(watcher.informs).toEqual([]);
    held!.resume();
    held!.pause();
    held!.resume();
    pipe.settle();
    expect(watcher.informs).toEqual([[100, []]]);
  });

  test("without an observer it is discarded, and the window stays open", () => {
    const { pipe, stream } = ask(() => {}, { method: "POST", bodyLength: -1 }, null, false);
    for (let count = 0; count < 20; count++) {
      stream.write(Buffer.alloc(50_000));
      pipe.settle();
    }
    expect(stream.write(Buffer.alloc(1))).toBe(true);
  });
});

describe("the response", () => {
  test.each<[string, number, string, HeaderList, string | null, HeaderList, string]>([
    ["GET", 200, "a body", [], "body", ["Content-Length", "4"], "body"],
    ["GET", 200, "a given length is kept", ["content-length", "4"], "body", ["content-length", "4"], "body"],
    ["GET", 200, "no body", [], null, ["Content-Length", "0"], ""],
    ["GET", 200, "UTF-8", [], "\u20ac", ["Content-Length", "3"], "\u20ac"],
    ["HEAD", 200, "a body is not sent, its length is", [], "body", ["Content-Length", "4"], ""],
    ["HEAD", 200, "a length of what GET would send", ["Content-Length", "99"], null, ["Content-Length", "99"], ""],
    ["HEAD", 200, "nothing known", [], null, [], ""],
    ["GET", 204, "no body, no length", ["Content-Length", "4"], "body", [], ""],
    ["GET", 304, "a length of what GET would send", ["Content-Length", "99"], null, ["Content-Length", "99"], ""],
    ["GET", 304, "no body", [], "body", [], ""],
  ])("%s %i: %s", (method, status, _what, headers, body, expectedHeaders, expectedBody) => {
    const { watcher, pipe } = ask((exchange) => exchange.respond(status, headers, body), { method });
    expect(watcher).toMatchObject({ status, headers: expectedHeaders, body: expectedBody, complete: true });
    expect(pipe.server.inFlight + pipe.client.inFlight).toBe(0);
  });

  test("start, write and end of one turn are one frame, with the body inline", () => {
    const { watcher } = ask((exchange) => {
      exchange.start(200, ["content-type", "text/plain"]);
      exchange.write("one ");
      exchange.write(Buffer.from("two"));
      exchange.end();
    });
    expect(watcher).toMatchObject({ status: 200, body: "one two", complete: true, trailers: undefined });
  });

  test("HEAD: what is written to a streamed response is dropped", () => {
    const { watcher } = ask(
      (exchange) => {
        exchange.start(200, ["Content-Length", "7"]);
        expect(exchange.write("one two")).toBe(true);
        exchange.end(["x", "y"]);
      },
      { method: "HEAD" },
    );
    expect(watcher).toMatchObject({ status: 200, headers: ["Content-Length", "7"], body: "", complete: true });
  });

  test("trailers and interim responses arrive; HTTP/1.0 gets no interim ones", () => {
    const handler: ExchangeHandler = (exchange) => {
      exchange.inform(103, ["link", "</a>"]);
      exchange.start(200, []);
      exchange.write("x");
      exchange.end(["x-sum", "1"]);
    };
    expect(ask(handler).watcher).toMatchObject({
      informs: [[103, ["link", "</a>"]]],
      body: "x",
      trailers: ["x-sum", "1"],
    });
    expect(ask(handler, { version: "1.0" }).watcher.informs).toEqual([]);
  });

  test("a body larger than window and frame waits for the proxy, and reports drain", () => {
    const log = new Log();
    let refused = 0;
    const { pipe, stream, watcher } = ask((exchange) => {
      log.attach(exchange);
      exchange.start(200, []);
      for (let count = 0; count < 10; count++) if (!exchange.write("x".repeat(50_000))) refused++;
    });
    expect(watcher.body.length).toBe(65_536);
    expect(refused).toBe(9);
    expect(log.lines).toEqual([]);
    // What was read comes again, and the window grows.
    stream.consume(65_536);
    pipe.settle();
    expect(watcher.body.length).toBe(65_536 + 262_144);
    stream.consume(262_144);
    pipe.settle();
    expect(watcher.body.length).toBe(500_000);
    expect(log.lines).toEqual(["drain"]);
  });

  test("finish comes when the frames were handed over, not before", () => {
    const log = new Log();
    const pipe = new Pipe((exchange) => {
      log.attach(exchange);
      exchange.respond(200, [], "ok");
    });
    pipe.settle();
    pipe.client.open(base, null, true, new Watcher());
    pipe.turn("client");
    pipe.deliver("server");
    expect(log.lines).toEqual([]);
    pipe.turn("server");
    expect(log.lines).toEqual(["finish"]);
  });
});

describe("what is out of order or against the rules throws, sends nothing, and can be put right", () => {
  const cases: [string, string, (exchange: Exchange) => void][] = [
    [
      "a Content-Length larger than the body",
      "content-length",
      (exchange) => exchange.respond(200, ["Content-Length", "5"], "body"),
    ],
    [
      "a Content-Length without a body",
      "content-length",
      (exchange) => exchange.respond(200, ["Content-Length", "5"], null),
    ],
    [
      "two Content-Lengths",
      "content-length",
      (exchange) => exchange.respond(200, ["Content-Length", "4", "content-length", "4"], "body"),
    ],
    ["a malformed Content-Length", "content-length", (exchange) => exchange.start(200, ["Content-Length", "4, 4"])],
    ["Transfer-Encoding", "connection-field", (exchange) => exchange.start(200, ["transfer-encoding", "chunked"])],
    ["Connection", "connection-field", (exchange) => exchange.respond(200, ["Connection", "close"], null)],
    ["a line end in a value", "field", (exchange) => exchange.respond(200, ["a", "b\r\nc: d"], null)],
    ["a line end in a name", "field", (exchange) => exchange.respond(200, ["a\r\nb", "c"], null)],
    ["a name without a value", "field", (exchange) => exchange.respond(200, ["a"], null)],
    ["a status of 101", "status", (exchange) => exchange.respond(101, [], null)],
    ["a status of 99", "status", (exchange) => exchange.start(99, [])],
    ["a status of 1000", "status", (exchange) => exchange.start(1000, [])],
    ["a status of 200.5", "status", (exchange) => exchange.start(200.5, [])],
    ["an interim 200", "status", (exchange) => exchange.inform(200, [])],
    ["an interim 101", "status", (exchange) => exchange.inform(101, [])],
    ["a write before the head", "out-of-order", (exchange) => void exchange.write("x")],
    ["an end before the head", "out-of-order", (exchange) => exchange.end()],
    ["an upgrade that was not asked for", "out-of-order", (exchange) => exchange.upgrade(101, [])],
    [
      "a head that fits no frame",
      "head-too-large",
      (exchange) => exchange.respond(200, ["a", "x".repeat(65_535), "b", "c"], null),
    ],
  ];

  test.each(cases)("%s", (_what, expected, call) => {
    const { watcher } = ask((exchange) => {
      expect(() => call(exchange)).toThrow(linkError(expected));
      expect([exchange.started, exchange.ended]).toEqual([false, false]);
      exchange.respond(200, [], "fine");
    });
    expect(watcher).toMatchObject({ status: 200, body: "fine", complete: true, informs: [] });
  });

  test("once a response has begun, there is no second", () => {
    const { watcher } = ask((exchange) => {
      exchange.start(200, ["Content-Length", "4"]);
      expect(() => exchange.respond(200, [], null)).toThrow(linkError("out-of-order"));
      expect(() => exchange.start(200, [])).toThrow(linkError("out-of-order"));
      expect(() => exchange.inform(103, [])).toThrow(linkError("out-of-order"));
      exchange.write("bo");
      expect(() => exchange.write("dy!")).toThrow(linkError("content-length"));
      expect(() => exchange.end()).toThrow(linkError("content-length"));
      exchange.write("dy");
      expect(() => exchange.end(["Content-Length", "4"])).toThrow(linkError("content-length"));
      expect(() => exchange.end(["a", "b\n"])).toThrow(linkError("field"));
      exchange.end();
      expect(() => exchange.end()).toThrow(linkError("out-of-order"));
      expect(() => exchange.write("x")).toThrow(linkError("out-of-order"));
    });
    expect(watcher).toMatchObject({ status: 200, body: "body", complete: true });
  });

  test("a handler that throws is answered by 500, or by a reset where a response had begun", () => {
    const early = ask(() => {
      throw new TypeError("no");
    });
    expect(early.watcher).toMatchObject({ status: 500, complete: true });
    expect(early.errors).toEqual([new TypeError("no")]);
    const late = ask((exchange) => {
      exchange.start(200, []);
      throw new TypeError("no");
    });
    expect(late.watcher).toMatchObject({
      status: 200,
      complete: false,
      reset: { code: "internal", refused: false, phase: "response" },
    });
  });

  test("an observer that throws loses its stream, not the link", () => {
    const log = new Log();
    const { watcher, errors, pipe } = ask(
      (exchange) => {
        log.attach(exchange);
        exchange.observer!.onData = () => {
          throw new TypeError("no");
        };
        exchange.resume();
      },
      { method: "POST", bodyLength: -1 },
      null,
      false,
    );
    const second = pipe.client.open({ ...base, method: "POST", bodyLength: -1 }, null, false, new Watcher());
    pipe.settle();
    second.write(Buffer.from("x"));
    pipe.settle();
    expect(errors).toEqual([new TypeError("no")]);
    expect(log.lines).toEqual(["abort reset"]);
    expect(watcher.reset).toBeUndefined();
    expect(pipe.client.isClosed || pipe.server.isClosed).toBe(false);
  });
});

describe("the end before the end", () => {
  test.each<[Parameters<UpstreamStream["reset"]>[0], AbortReason]>([
    ["cancelled", "client-disconnected"],
    ["timeout", "timeout"],
    ["shutdown", "shutdown"],
    ["protocol", "protocol-error"],
    ["internal", "reset"],
  ])("the proxy's %s is the application's %s; afterwards nothing has an effect", (reset, reason) => {
    const log = new Log();
    let held: Exchange | undefined;
    const { pipe, stream, watcher } = ask((exchange) => {
      log.attach(exchange);
      held = exchange;
    });
    stream.reset(reset);
    pipe.settle();
    expect(log.lines).toEqual([`abort ${reason}`]);
    expect(held!.ended).toBe(true);
    held!.resume();
    held!.inform(103, []);
    held!.respond(200, [], "late");
    held!.start(200, []);
    expect(held!.write("late")).toBe(true);
    held!.end();
    held!.abort("reset");
    stream.write(Buffer.from("late"));
    stream.end();
    stream.reset("cancelled");
    pipe.settle();
    expect(log.lines).toEqual([`abort ${reason}`]);
    expect(watcher).toMatchObject({ status: 0, reset: undefined });
  });

  test.each<[AbortReason, string]>([
    ["timeout", "timeout"],
    ["shutdown", "shutdown"],
    ["reset", "internal"],
    ["protocol-error", "protocol"],
  ])("the application's %s is the proxy's %s", (reason, expected) => {
    const log = new Log();
    const { watcher } = ask((exchange) => {
      log.attach(exchange);
      exchange.start(200, []);
      exchange.abort(reason);
      exchange.abort(reason);
    });
    expect(log.lines).toEqual([`abort ${reason}`]);
    expect(watcher).toMatchObject({ complete: false, reset: { code: expected, refused: false } });
  });

  test("a deadline that passes before the response begins ends the exchange; afterwards it does not", () => {
    const log = new Log();
    const begun = new Log();
    const { pipe, watcher } = ask((exchange) => log.attach(exchange), { deadline: 1_005_000 });
    pipe.now += 4_000;
    pipe.server.tick(pipe.now);
    expect(log.lines).toEqual([]);
    pipe.now += 1_000;
    pipe.server.tick(pipe.now);
    pipe.settle();
    expect(log.lines).toEqual(["abort timeout"]);
    expect(watcher.reset).toMatchObject({ code: "timeout", refused: false, phase: "request" });
    const other = ask(
      (exchange) => {
        begun.attach(exchange);
        exchange.start(200, []);
      },
      { deadline: 1_005_000 },
    );
    other.pipe.now += 60_000;
    other.pipe.server.tick(other.pipe.now);
    other.pipe.settle();
    expect([begun.lines, other.watcher.reset]).toEqual([[], undefined]);
  });

  test("when the link is lost, the application hears that the client is gone, the proxy that nothing is certain", () => {
    const log = new Log();
    const { pipe, watcher } = ask((exchange) => log.attach(exchange));
    pipe.server.closed(new TypeError("ECONNRESET"));
    pipe.client.closed();
    expect(log.lines).toEqual(["abort client-disconnected"]);
    expect(watcher.reset).toMatchObject({ code: "lost", refused: false, phase: "request" });
  });
});

describe("tunnels", () => {
  test("carry bytes both ways, end by halves, and finish once both are over", () => {
    const log = new Log();
    let held: Exchange | undefined;
    const { pipe, watcher, stream } = ask(
      (exchange) => {
        log.attach(exchange);
        held = exchange;
        expect(exchange.head.upgrade).toBe("websocket");
        expect(exchange.head.headers).toEqual([
          "Host",
          "example.test",
          "Connection",
          "Upgrade",
          "Upgrade",
          "websocket",
        ]);
        exchange.upgrade(101, ["Sec-WebSocket-Accept", "x"]);
        exchange.resume();
        exchange.write("hello");
      },
      { upgrade: "websocket" },
    );
    expect(watcher).toMatchObject({
      status: 101,
      headers: ["Sec-WebSocket-Accept", "x"],
      body: "hello",
      complete: false,
    });
    stream.write(Buffer.from("hi"));
    stream.end();
    pipe.settle();
    expect(log.lines).toEqual(["data hi", "end"]);
    held!.write("bye");
    held!.end();
    pipe.settle();
    expect(log.lines).toEqual(["data hi", "end", "finish"]);
    expect(watcher).toMatchObject({ body: "hellobye", complete: true });
    expect([pipe.client.inFlight, pipe.server.inFlight]).toEqual([0, 0]);
  });

  test("CONNECT is accepted by 2xx, and by nothing else", () => {
    const { watcher } = ask(
      (exchange) => {
        expect(() => exchange.upgrade(101, [])).toThrow(linkError("status"));
        exchange.upgrade(200, []);
        exchange.end();
      },
      { method: "CONNECT", target: "a:1" },
    );
    expect(watcher).toMatchObject({ status: 200, complete: true });
  });

  test("a request with a body asks for none", () => {
    const { watcher } = ask(
      (exchange) => {
        expect(exchange.head.upgrade).toBeUndefined();
        exchange.respond(200, [], "plain");
      },
      { method: "POST", bodyLength: 1, upgrade: "websocket" },
      "x",
    );
    expect(watcher.body).toBe("plain");
  });
});
