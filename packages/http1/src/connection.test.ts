import type { Exchange, ExchangeHandler, ExchangeObserver, HeaderList } from "@portico/gateway/exchange";
import { describe, expect, test } from "vitest";
import { Clock } from "./clock.ts";
import { ServerConnection, type ServerConnectionOptions } from "./connection.ts";
import { Http1Error } from "./error.ts";
import type { ConnectionFacts } from "./facts.ts";
import type { ByteSink } from "./sink.ts";

class FakeSink implements ByteSink {
  text = "";
  writes = 0;
  full = false;
  paused = false;
  ended = false;
  destroyed = false;
  write(data: Uint8Array | string): boolean {
    expect(this.ended || this.destroyed, "write after the end").toBe(false);
    this.text += typeof data === "string" ? data : Buffer.from(data).toString("latin1");
    this.writes++;
    return !this.full;
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  end(): void {
    this.ended = true;
  }
  destroy(): void {
    this.destroyed = true;
  }
  take(): string {
    const { text } = this;
    this.text = "";
    return text;
  }
}

class Recorder implements ExchangeObserver {
  readonly events: string[] = [];
  onData(chunk: Uint8Array): void {
    this.events.push(`data ${Buffer.from(chunk).toString("latin1")}`);
  }
  onEnd(trailers: HeaderList): void {
    this.events.push(trailers.length === 0 ? "end" : `end ${trailers.join(" ")}`);
  }
  onDrain(): void {
    this.events.push("drain");
  }
  onFinish(): void {
    this.events.push("finish");
  }
  onAbort(reason: string): void {
    this.events.push(`abort ${reason}`);
  }
}

const FACTS: ConnectionFacts = {
  peer: { address: "192.0.2.1", port: 1234 },
  local: { address: "127.0.0.1", port: 80 },
  client: { address: "192.0.2.1", port: 1234, vouchedBy: "socket" },
  tls: undefined,
  scheme: "http",
};
const DATE = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

interface Rig {
  readonly sink: FakeSink;
  readonly connection: ServerConnection;
  readonly exchanges: Exchange[];
  readonly recorders: Recorder[];
  readonly errors: unknown[];
  send(text: string): void;
  readonly exchange: Exchange;
  readonly events: string[];
}

/** A connection on a fake sink. `answer` runs inside the handler; without it, exchanges wait in `exchanges`. */
function rig(answer?: ExchangeHandler, options: ServerConnectionOptions = {}, facts = FACTS): Rig {
  const sink = new FakeSink();
  const exchanges: Exchange[] = [];
  const recorders: Recorder[] = [];
  const errors: unknown[] = [];
  let ids = 0;
  const connection = new ServerConnection(
    sink,
    (exchange) => {
      const recorder = new Recorder();
      exchanges.push(exchange);
      recorders.push(recorder);
      exchange.observer = recorder;
      answer?.(exchange);
    },
    { clock: new Clock(() => 0), nextId: () => `id-${ids++}`, onError: (error) => errors.push(error), ...options },
    facts,
  );
  return {
    sink,
    connection,
    exchanges,
    recorders,
    errors,
    send: (text) => connection.receive(Buffer.from(text, "latin1")),
    get exchange() {
      return exchanges.at(-1) as Exchange;
    },
    get events() {
      return (recorders.at(-1) as Recorder).events;
    },
  };
}

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ok = (exchange: Exchange): void => exchange.respond(200, [], "ok");
const OK = `HTTP/1.1 200 OK\r\n${DATE}Content-Length: 2\r\n\r\nok`;
const OK_CLOSE = `HTTP/1.1 200 OK\r\n${DATE}Connection: close\r\nContent-Length: 2\r\n\r\nok`;

describe("plain exchanges", () => {
  test("one request, one write, then idle again", () => {
    const it = rig(ok);
    it.send(GET);
    expect(it.sink.take()).toBe(OK);
    expect(it.sink.writes).toBe(1);
    expect(it.events).toEqual(["finish"]);
    expect(it.exchange.ended).toBe(true);
    expect(it.connection.idle).toBe(true);
    it.send(GET);
    expect(it.sink.take()).toBe(OK);
  });

  test("the head is as received", () => {
    const it = rig();
    it.send("PUT /a?b HTTP/1.1\r\nhOsT: Example:81\r\nX: 1\r\nx:  2 \r\nContent-Length: 3\r\n\r\n");
    const { head } = it.exchange;
    expect({ ...head, connection: undefined }).toMatchObject({
      method: "PUT",
      target: "/a?b",
      authority: "Example:81",
      version: "1.1",
      bodyLength: 3,
      upgrade: undefined,
      headers: ["hOsT", "Example:81", "X", "1", "x", "2", "Content-Length", "3"],
    });
    expect(head.scheme).toBe("http");
  });

  test.each([
    ["ASCII text", "text", 1],
    ["text beyond ASCII", "grüß €", 1],
    ["bytes", Buffer.from("bytes"), 1],
    ["nothing", null, 1],
    ["large bytes", Buffer.alloc(600_000, 97), 4],
    ["large text", "ä".repeat(300_000), 4],
  ])("respond with %s", (_, body, writes) => {
    const it = rig((exchange) => exchange.respond(200, [], body));
    it.send(GET);
    const bytes = Buffer.from(body ?? "");
    const head = `HTTP/1.1 200 OK\r\n${DATE}Content-Length: ${bytes.length}\r\n\r\n`;
    expect(it.sink.take()).toBe(head + bytes.toString("latin1"));
    expect(it.sink.writes).toBe(writes);
    expect(it.events).toEqual(["finish"]);
  });

  test.each([
    ["HEAD with a body", "HEAD", 200, [], "12345", "Content-Length: 5\r\n"],
    ["HEAD with a length", "HEAD", 200, ["Content-Length", "9"], null, "Content-Length: 9\r\n"],
    ["HEAD without either", "HEAD", 200, [], null, ""],
    ["204", "GET", 204, ["Content-Length", "0"], "lost", ""],
    ["205", "GET", 205, [], "lost", "Content-Length: 0\r\n"],
    ["304", "GET", 304, [], null, ""],
    ["304 with a length", "GET", 304, ["content-length", "7"], null, "Content-Length: 7\r\n"],
  ] as const)("no body: %s", (_, method, status, headers, body, length) => {
    for (const whole of [true, false]) {
      const it = rig((exchange) => {
        if (whole) return exchange.respond(status, [...headers], body);
        exchange.start(status, [...headers]);
        exchange.write("lost");
        exchange.end();
      });
      it.send(GET.replace("GET", method));
      const text = it.sink.take();
      const kept = whole || headers.length > 0 || status === 205 ? length : "";
      expect(text.slice(text.indexOf(DATE))).toBe(`${DATE}${kept}\r\n`);
      expect(it.connection.idle).toBe(true);
    }
  });

  test("streams chunked, with trailers for those who take them", () => {
    for (const te of ["", "TE: trailers\r\n"]) {
      const it = rig();
      it.send(`GET / HTTP/1.1\r\nHost: a\r\n${te}\r\n`);
      it.exchange.start(200, ["X", "y"]);
      expect(it.exchange.write("abc")).toBe(true);
      expect(it.exchange.write("")).toBe(true);
      it.exchange.write(Buffer.from("0123456789abcdef"));
      it.exchange.write("ü");
      it.exchange.end(["Checksum", "1"]);
      const trailer = te === "" ? "" : "Checksum: 1\r\n";
      expect(it.sink.take()).toBe(
        `HTTP/1.1 200 OK\r\nX: y\r\n${DATE}Transfer-Encoding: chunked\r\n\r\n` +
          `3\r\nabc\r\n10\r\n0123456789abcdef\r\n2\r\n\xc3\xbc\r\n0\r\n${trailer}\r\n`,
      );
      expect(it.events).toEqual(["finish"]);
    }
  });

  test("streams a given length", () => {
    const it = rig();
    it.send(GET);
    it.exchange.start(200, ["Content-Length", "4"]);
    it.exchange.write("abc");
    expect(() => it.exchange.write("de")).toThrow("misuse-body-too-long");
    it.exchange.write("d");
    it.exchange.end();
    expect(it.sink.take()).toBe(`HTTP/1.1 200 OK\r\n${DATE}Content-Length: 4\r\n\r\nabcd`);
    expect(it.connection.idle).toBe(true);
  });

  test("a body that is too short breaks the connection", () => {
    const it = rig();
    it.send(GET);
    it.exchange.start(200, ["Content-Length", "4"]);
    it.exchange.write("abc");
    it.exchange.end();
    expect(it.sink.destroyed).toBe(true);
    expect(it.events).toEqual(["abort protocol-error"]);
    expect(it.errors).toMatchObject([{ rule: "misuse-body-too-short" }]);
  });
});

describe("frozen lists: the answer is kept for the next time", () => {
  const headers = Object.freeze(["Content-Type", "text/plain"]) as HeaderList;
  const whole = (text: string, close = false): string =>
    `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n${DATE}${close ? "Connection: close\r\n" : ""}Content-Length: ${text.length}\r\n\r\n${text}`;

  /** What a request gets, on a connection of its own, at a time. */
  function ask(request: string, body: Uint8Array, list = headers, now = 0, status = 200): string {
    const it = rig((exchange) => exchange.respond(status, list, body), { clock: new Clock(() => now) });
    it.send(request);
    return it.sink.take();
  }

  test.each([1, 8_192, 8_193, 20_000])("%i bytes: the same bytes each time", (size) => {
    const body = Buffer.alloc(size, "ab\xff", "latin1");
    const expected = whole(body.toString("latin1"));
    const sent = [1, 2, 3].map(() => ask(GET, body));
    expect(sent.every((text) => text === expected)).toBe(true);
  });

  test("Date goes on, HEAD has no body, the end of the connection is announced, HTTP/1.0 is asked", () => {
    const body = Buffer.from("kept");
    expect(ask(GET, body)).toBe(whole("kept"));
    expect(ask(GET, body)).toBe(whole("kept"));
    expect(ask(GET, body, headers, 1000)).toContain("Date: Thu, 01 Jan 1970 00:00:01 GMT");
    expect(ask(GET, body)).toBe(whole("kept"));
    expect(ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", body)).toBe(whole("kept").slice(0, -4));
    expect(ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", body)).toBe(whole("kept", true));
    expect(ask("GET / HTTP/1.0\r\n\r\n", body)).toBe(whole("kept", true));
    expect(ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", body)).toContain("Connection: keep-alive\r\n");
    expect(ask(GET, body)).toBe(whole("kept"));
  });

  test("another body or status with the same list is another answer", () => {
    expect(ask(GET, Buffer.from("one"))).toBe(whole("one"));
    expect(ask(GET, Buffer.from("other"))).toBe(whole("other"));
    expect(ask(GET, Buffer.from("other"), headers, 0, 404)).toContain("HTTP/1.1 404 Not Found\r\n");
  });

  test("a list that can change is read again each time", () => {
    const open = ["Content-Type", "text/plain"];
    const body = Buffer.from("body");
    expect(ask(GET, body, open)).toBe(whole("body"));
    open[1] = "text/html";
    body.write("BODY");
    expect(ask(GET, body, open)).toBe(whole("BODY").replace("text/plain", "text/html"));
  });
});

describe("HTTP/1.0", () => {
  test("closes after the response", () => {
    const it = rig(ok);
    it.send("GET / HTTP/1.0\r\n\r\n");
    expect(it.sink.text).toBe(OK_CLOSE);
    expect(it.sink.ended).toBe(true);
  });

  test("keeps alive where asked", () => {
    const it = rig(ok);
    it.send("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    expect(it.sink.text).toContain("Connection: keep-alive\r\n");
    expect(it.connection.idle).toBe(true);
  });

  test("an unknown length ends with the connection", () => {
    const it = rig();
    it.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    it.exchange.inform(103, []);
    it.exchange.start(200, []);
    it.exchange.write("abc");
    it.exchange.end();
    expect(it.sink.text).toBe(`HTTP/1.1 200 OK\r\n${DATE}Connection: close\r\n\r\nabc`);
    expect(it.sink.ended).toBe(true);
  });
});

describe("request bodies", () => {
  const POST = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n";

  test("nothing flows before resume, and never inside the handler", () => {
    let inside: string[] = [];
    const it = rig((exchange) => {
      exchange.resume();
      inside = [...it.events];
    });
    it.send(`${POST}abc`);
    expect(inside).toEqual([]);
    expect(it.events).toEqual(["data abc"]);
    it.send("def");
    expect(it.events).toEqual(["data abc", "data def", "end"]);
  });

  test("pause holds, resume goes on", () => {
    const it = rig();
    it.send(`${POST}abc`);
    expect(it.events).toEqual([]);
    it.exchange.resume();
    it.exchange.pause();
    it.send("def");
    expect(it.events).toEqual(["data abc"]);
    it.exchange.resume();
    expect(it.events).toEqual(["data abc", "data def", "end"]);
  });

  test("a request without body ends too", () => {
    const it = rig((exchange) => exchange.resume());
    it.send(GET);
    expect(it.events).toEqual(["end"]);
    ok(it.exchange);
    expect(it.events).toEqual(["end", "finish"]);
  });

  test("chunks and trailers", () => {
    const it = rig((exchange) => exchange.resume());
    it.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
    expect(it.events).toEqual(["data abc", "end X-Sum 1"]);
  });

  test("back-pressure reaches the sink and lets go again", () => {
    const it = rig();
    it.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    it.connection.receive(Buffer.alloc(65_536));
    expect(it.sink.paused).toBe(false);
    it.connection.receive(Buffer.alloc(1));
    expect(it.sink.paused).toBe(true);
    it.exchange.resume();
    expect(it.sink.paused).toBe(false);
    expect(it.events.length).toBe(1);
  });

  test("100 Continue when the body is first wanted, once", () => {
    const it = rig();
    it.send(POST.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n"));
    expect(it.sink.take()).toBe("");
    it.exchange.resume();
    it.exchange.pause();
    it.exchange.resume();
    expect(it.sink.take()).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    it.send("abcdef");
    ok(it.exchange);
    expect(it.sink.take()).toBe(OK);
  });

  test("an answer instead of 100 Continue ends the connection", () => {
    const it = rig(ok);
    it.send(POST.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n"));
    expect(it.sink.text).toBe(OK_CLOSE);
    expect(it.sink.ended).toBe(true);
  });

  test("a small unread body is thrown away and the connection kept", () => {
    const it = rig(ok);
    it.send(POST);
    expect(it.sink.take()).toBe(OK);
    expect(it.connection.idle).toBe(false);
    it.send(`abcdef${GET}`);
    expect(it.sink.take()).toBe(OK);
    expect(it.exchanges.map((exchange) => exchange.head.method)).toEqual(["POST", "GET"]);
  });

  test("a large unread body ends the connection, which lingers", () => {
    const it = rig(ok);
    it.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n");
    expect(it.sink.text).toBe(OK_CLOSE);
    expect(it.sink.ended).toBe(true);
    it.connection.receive(Buffer.alloc(65_537));
    it.send(GET);
    expect(it.exchanges.length).toBe(1);
    it.connection.tick(1);
    it.connection.tick(5000);
    expect(it.sink.destroyed).toBe(false);
    it.connection.tick(5001);
    expect(it.sink.destroyed).toBe(true);
  });

  test("an early answer to a body that was read in part discards up to the bound", () => {
    const it = rig((exchange) => exchange.resume());
    it.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc");
    ok(it.exchange);
    expect(it.sink.text).toBe(OK);
    it.connection.receive(Buffer.alloc(65_536));
    expect(it.sink.ended).toBe(false);
    it.connection.receive(Buffer.alloc(1));
    expect(it.sink.ended).toBe(true);
    expect(it.events).toEqual(["data abc", "finish"]);
  });

  test("a malformed body is refused, and the observer told", () => {
    const it = rig((exchange) => exchange.resume());
    it.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc");
    expect(it.events).toEqual(["abort protocol-error"]);
    expect(it.sink.text).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n.*Connection: close\r\n/s);
    expect(it.sink.ended).toBe(true);
    expect(() => ok(it.exchange)).not.toThrow();
  });

  test("a malformed body after the answer began breaks the connection", () => {
    const it = rig((exchange) => exchange.resume());
    it.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    it.exchange.start(200, []);
    const before = it.sink.text;
    it.send("x\r\n");
    expect(it.sink.text).toBe(before);
    expect(it.sink.destroyed).toBe(true);
    expect(it.events).toEqual(["abort protocol-error"]);
  });
});

describe("pipelining", () => {
  test("one at a time, in order", () => {
    const it = rig();
    it.send(GET + GET.replace("/", "/2") + GET.replace("/", "/3"));
    expect(it.exchanges.length).toBe(1);
    ok(it.exchange);
    expect(it.exchanges.map((exchange) => exchange.head.target)).toEqual(["/", "/2"]);
    ok(it.exchange);
    ok(it.exchange);
    expect(it.sink.text).toBe(OK + OK + OK);
  });

  test("many at once do not recurse", () => {
    const it = rig(ok);
    it.send(GET.repeat(999));
    expect(it.sink.text).toBe(OK.repeat(999));
  });

  test("a bad one is refused only after the good ones were answered", () => {
    const it = rig();
    it.send(`${GET}GET / HTTP/1.1\r\n\r\n`);
    expect(it.sink.text).toBe("");
    ok(it.exchange);
    expect(it.sink.text).toMatch(/^HTTP\/1\.1 200 OK.*okHTTP\/1\.1 400 Bad Request\r\n/s);
  });

  test("a client that does not read gets no further answers", () => {
    const it = rig(ok);
    it.sink.full = true;
    it.send(GET + GET);
    expect(it.exchanges.length).toBe(1);
    expect(it.events).toEqual([]);
    it.sink.full = false;
    it.connection.writable();
    expect(it.exchanges.length).toBe(2);
    expect(it.recorders.map((recorder) => recorder.events)).toEqual([["finish"], ["finish"]]);
  });

  test("what is held is bounded", () => {
    const it = rig();
    it.send(GET);
    it.connection.receive(Buffer.from(GET.repeat(3000)));
    expect(it.sink.paused).toBe(true);
    for (let count = 0; count < 990; count++) ok(it.exchange);
    expect(it.sink.paused).toBe(false);
  });
});

describe("persistence", () => {
  test.each([
    ["Connection: close\r\n", OK_CLOSE],
    ["Connection: keep-alive\r\n", OK],
    ["Connection: foo, CLOSE\r\n", OK_CLOSE],
    ["Connection: keep-alive\r\nConnection: close\r\n", OK_CLOSE],
  ])("%j", (field, answer) => {
    const it = rig(ok);
    it.send(GET.replace("\r\n\r\n", `\r\n${field}\r\n`));
    expect(it.sink.text).toBe(answer);
    expect(it.sink.ended).toBe(answer === OK_CLOSE);
  });

  test("the last of the allowed requests says so", () => {
    const it = rig(ok, { limits: { requests: 2 } });
    it.send(GET + GET + GET);
    expect(it.sink.text).toBe(OK + OK_CLOSE);
    expect(it.exchanges.length).toBe(2);
  });

  test("drain: what is under way is answered with close", () => {
    const it = rig();
    it.send(GET);
    it.connection.drain();
    ok(it.exchange);
    expect(it.sink.text).toBe(OK_CLOSE);
    expect(it.sink.ended).toBe(true);
  });

  test("drain: an idle connection goes once it was idle for a while", () => {
    const it = rig(ok);
    it.send(GET);
    it.connection.drain();
    it.connection.tick(100);
    it.connection.tick(1099);
    expect(it.sink.ended).toBe(false);
    it.connection.tick(1100);
    expect(it.sink.ended).toBe(true);
  });

  test("drain: a request that was on its way is still answered", () => {
    const it = rig(ok);
    it.send(GET);
    it.connection.drain();
    it.connection.tick(100);
    it.sink.take();
    it.send(GET);
    expect(it.sink.text).toBe(OK_CLOSE);
  });
});

describe("times", () => {
  test("an unused connection is closed without a word", () => {
    const it = rig();
    it.connection.tick(0);
    it.connection.tick(14_999);
    expect(it.sink.ended).toBe(false);
    it.connection.tick(15_000);
    expect(it.sink).toMatchObject({ ended: true, text: "" });
  });

  test("a slow head gets 408, however busily it trickles", () => {
    const it = rig();
    it.connection.tick(0);
    for (let now = 1000; now < 15_000; now += 1000) {
      it.send("GET / HTTP/1.1\r\n".charAt(now / 1000 - 1));
      it.connection.tick(now);
    }
    expect(it.sink.text).toBe("");
    it.connection.tick(15_000);
    expect(it.sink.text).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/);
    expect(it.errors).toMatchObject([{ rule: "timeout-head" }]);
  });

  test("the head time of a later request runs from its first byte", () => {
    const it = rig(ok);
    it.send(GET);
    it.connection.tick(0);
    it.connection.tick(70_000);
    it.send("G");
    it.connection.tick(71_000);
    it.connection.tick(85_999);
    expect(it.errors).toEqual([]);
    it.connection.tick(86_000);
    expect(it.errors).toMatchObject([{ rule: "timeout-head" }]);
  });

  test("keep-alive idle", () => {
    const it = rig(ok);
    it.send(GET);
    it.sink.take();
    it.connection.tick(0);
    it.connection.tick(74_999);
    expect(it.sink.ended).toBe(false);
    it.connection.tick(75_000);
    expect(it.sink).toMatchObject({ ended: true, text: "" });
  });

  test("a body below the minimum rate", () => {
    const it = rig((exchange) => exchange.resume());
    it.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    let now = 0;
    // 240 bytes a second are enough…
    for (; now <= 60_000; now += 1000) {
      it.connection.tick(now);
      it.send("x".repeat(240));
    }
    expect(it.errors).toEqual([]);
    // …239 are not for ever, one is not for long.
    for (; now <= 70_000; now += 1000) {
      it.connection.tick(now);
      it.send("x");
    }
    expect(it.errors).toMatchObject([{ rule: "timeout-body-rate", status: 408 }]);
    expect(it.events.at(-1)).toBe("abort timeout");
    expect(it.sink.text).toMatch(/^HTTP\/1\.1 408 /);
  });

  test("a silent body", () => {
    const it = rig((exchange) => exchange.resume());
    it.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n${"x".repeat(50_000)}`);
    it.connection.tick(0);
    it.connection.tick(29_999);
    expect(it.errors).toEqual([]);
    it.connection.tick(30_000);
    expect(it.errors).toMatchObject([{ rule: "timeout-body-gap" }]);
  });

  test("no body time passes while the application does not read", () => {
    const it = rig();
    it.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    for (let now = 0; now < 100_000; now += 1000) it.connection.tick(now);
    expect(it.errors).toEqual([]);
    expect(it.sink.destroyed).toBe(false);
  });

  test("a client that stops reading", () => {
    const it = rig();
    it.send(GET);
    it.sink.full = true;
    it.exchange.start(200, []);
    expect(it.exchange.write("x")).toBe(false);
    it.connection.tick(0);
    it.connection.tick(59_999);
    expect(it.sink.destroyed).toBe(false);
    it.connection.tick(60_000);
    expect(it.sink.destroyed).toBe(true);
    expect(it.events).toEqual(["abort timeout"]);
  });

  test("a slow reader of a large body is not a stalled one", () => {
    const it = rig((exchange) => exchange.respond(200, [], Buffer.alloc(1_200_000)));
    it.sink.full = true;
    it.send(GET);
    for (let now = 0; now < 300_000 && it.events.length === 0; now += 50_000) {
      it.connection.tick(now);
      it.connection.writable();
    }
    expect(it.events).toEqual(["finish"]);
  });
});

describe("back-pressure of responses", () => {
  test("a slow reader of one large part is not a stalled one, as long as the system says that it takes something", () => {
    const it = rig();
    let pending = 1_000_000;
    Object.assign(it.sink, { pending: () => pending });
    it.send(GET);
    it.exchange.start(200, []);
    it.sink.full = true;
    it.exchange.write("x");
    for (let now = 0; now < 600_000; now += 50_000) {
      pending -= 1;
      it.connection.tick(now);
    }
    expect(it.events).toEqual([]);
    it.connection.tick(650_000);
    expect(it.events).toEqual(["abort timeout"]);
  });

  test("the last bytes have the time that any have, then the client has its own to close", () => {
    const it = rig((exchange) => exchange.respond(200, [], "x"));
    let pending = 100;
    Object.assign(it.sink, { pending: () => pending });
    it.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    expect([it.events, it.sink.ended]).toEqual([["finish"], true]);
    let now = 0;
    for (; pending > 0; now += 10_000) {
      pending -= 10;
      it.connection.tick(now);
      expect(it.sink.destroyed).toBe(false);
    }
    now -= 10_000; // when the last were gone
    it.connection.tick(now + 4_000);
    expect(it.sink.destroyed).toBe(false);
    it.connection.tick(now + 6_000);
    expect(it.sink.destroyed).toBe(true);
  });

  test("a client that has closed its half and takes nothing of the last bytes is given up", () => {
    const it = rig((exchange) => exchange.respond(200, [], "x"));
    Object.assign(it.sink, { pending: () => 100 });
    it.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    it.connection.receiveEnd();
    it.connection.tick(0);
    it.connection.tick(59_000);
    expect(it.sink.destroyed).toBe(false);
    it.connection.tick(61_000);
    expect([it.sink.destroyed, it.events]).toEqual([true, ["finish"]]);
  });

  test("write says no, onDrain says go", () => {
    const it = rig();
    it.send(GET);
    it.exchange.start(200, []);
    it.sink.full = true;
    expect(it.exchange.write("a")).toBe(false);
    it.sink.full = false;
    it.connection.writable();
    expect(it.events).toEqual(["drain"]);
    expect(it.exchange.write("b")).toBe(true);
    it.exchange.end();
    expect(it.events).toEqual(["drain", "finish"]);
  });

  test("onFinish waits until the sink has taken all", () => {
    const it = rig();
    it.send(GET);
    it.sink.full = true;
    ok(it.exchange);
    expect(it.events).toEqual([]);
    it.sink.full = false;
    it.connection.writable();
    expect(it.events).toEqual(["finish"]);
  });
});

describe("ends", () => {
  test("a client that leaves is reported once", () => {
    const it = rig();
    it.send(GET);
    it.connection.closed();
    it.connection.closed();
    it.exchange.abort("reset");
    expect(it.events).toEqual(["abort client-disconnected"]);
    expect(it.exchange.ended).toBe(true);
    expect(it.exchange.write("x")).toBe(false);
    expect(() => it.exchange.respond(200, [], null)).not.toThrow();
    expect(it.sink.text).toBe("");
  });

  test("half-closed after a complete request: answered, then closed", () => {
    const it = rig();
    it.send(GET);
    it.connection.receiveEnd();
    ok(it.exchange);
    expect(it.sink.text).toBe(OK_CLOSE);
    expect(it.sink.ended).toBe(true);
    expect(it.events).toEqual(["finish"]);
  });

  test("half-closed pipelined requests are all answered", () => {
    const it = rig();
    it.send(GET + GET);
    it.connection.receiveEnd();
    ok(it.exchange);
    expect(it.sink.text).toBe(OK_CLOSE);
  });

  test("half-closed and never answered: let go after a while", () => {
    const it = rig();
    it.send(GET);
    it.connection.receiveEnd();
    it.connection.tick(0);
    it.connection.tick(49);
    expect(it.events).toEqual([]);
    it.connection.tick(50);
    expect(it.events).toEqual(["abort client-disconnected"]);
  });

  test("half-closed in the middle of a body", () => {
    const it = rig((exchange) => exchange.resume());
    it.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    it.connection.receiveEnd();
    expect(it.events).toEqual(["data abc", "abort client-disconnected"]);
    expect(it.sink.destroyed).toBe(true);
  });

  test("half-closed in the middle of a head: closed without a word", () => {
    const it = rig();
    it.send("GET / HT");
    it.connection.receiveEnd();
    expect(it.sink).toMatchObject({ ended: true, text: "" });
  });

  test("abort breaks what was begun", () => {
    const it = rig();
    it.send(GET);
    it.exchange.start(200, []);
    it.exchange.abort("reset");
    expect(it.sink.destroyed).toBe(true);
    expect(it.events).toEqual(["abort reset"]);
  });
});

describe("misuse throws and sends nothing", () => {
  const lists: [string, HeaderList][] = [
    ["misuse-connection-field", ["Connection", "close"]],
    ["misuse-connection-field", ["keep-alive", "timeout=5"]],
    ["misuse-connection-field", ["Transfer-Encoding", "chunked"]],
    ["misuse-connection-field", ["UPGRADE", "h2c"]],
    ["misuse-connection-field", ["Proxy-Connection", "close"]],
    ["misuse-field-value", ["X", "a\r\nb"]],
    ["misuse-field-value", ["X", "a\0"]],
    ["misuse-field-value", ["X", "a\nb"]],
    ["misuse-field-value", ["X", "\u{1F600}"]],
    ["misuse-field-name", ["X Y", "a"]],
    ["misuse-field-name", ["", "a"]],
    ["misuse-field-name", ["X:", "a"]],
    ["misuse-field-name", ["Ä", "a"]],
    ["misuse-field-list", ["X"]],
    ["misuse-content-length", ["Content-Length", "3"]],
    ["misuse-content-length", ["Content-Length", "2", "content-length", "2"]],
    ["misuse-content-length", ["Content-Length", "+2"]],
  ];
  test.each(lists)("%s: %j", (rule, headers) => {
    const it = rig();
    it.send(GET);
    expect(() => it.exchange.respond(200, headers, "ok")).toThrow(rule);
    expect(it.sink.text).toBe("");
    expect(it.exchange.started).toBe(false);
    ok(it.exchange);
    expect(it.sink.text).toBe(OK);
  });

  test("status codes", () => {
    const it = rig();
    it.send(GET);
    for (const status of [99, 100, 101, 199, 600, 200.5, NaN]) {
      expect(() => it.exchange.respond(status, [], null)).toThrow("misuse-status");
    }
    for (const status of [99, 101, 200]) expect(() => it.exchange.inform(status, [])).toThrow("misuse-status");
  });

  test("order", () => {
    const it = rig();
    it.send(GET);
    const { exchange } = it;
    expect(() => exchange.write("x")).toThrow("misuse-order");
    expect(() => exchange.end()).toThrow("misuse-order");
    expect(() => exchange.upgrade(101, [])).toThrow("misuse-order");
    exchange.start(200, []);
    expect(() => exchange.respond(200, [], null)).toThrow("misuse-order");
    expect(() => exchange.start(200, [])).toThrow("misuse-order");
    expect(() => exchange.inform(103, [])).toThrow("misuse-order");
    expect(() => exchange.end(["Content-Length", "3"])).toThrow("misuse-trailer-field");
    expect(exchange.write("x")).toBe(true);
    expect(it.sink.text.endsWith("1\r\nx\r\n")).toBe(true);
  });
});

describe("errors", () => {
  test("the answer to a bad request has an id and no more", () => {
    const it = rig();
    it.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    expect(it.sink.text).toBe(
      "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n" +
        `${DATE}Connection: close\r\nContent-Length: 33\r\n\r\n400 Bad Request\nRequest id: id-0\n`,
    );
    expect(it.errors).toMatchObject([{ rule: "rfc9112-3.2-host-repeated", code: "HTTP1_PROTOCOL", side: "peer" }]);
    expect(it.sink.ended).toBe(true);
  });

  test("an unsupported version hears which are supported", () => {
    const it = rig();
    it.send("GET / HTTP/1.9\r\nHost: a\r\n\r\n");
    expect(it.sink.text).toMatch(/^HTTP\/1\.1 505 [^]*Connection: close[^]*speaks HTTP\/1\.1 and HTTP\/1\.0\.\n/);
    expect(it.sink.ended).toBe(true);
  });

  test("a page may be rendered instead", () => {
    const it = rig(undefined, {
      onProtocolError: (error, facts) => ({ headers: ["X-Id", facts.id], body: `${error.rule} ü` }),
    });
    it.send("GET  / HTTP/1.1\r\n");
    expect(it.sink.text).toContain("X-Id: id-0\r\n");
    expect(it.sink.text).toContain("Content-Length: 31\r\n\r\nrfc9112-3.2-target-character \xc3\xbc");
  });

  test("a handler that throws: 500, reported, connection goes on", () => {
    const it = rig((exchange) => {
      if (exchange.head.target === "/") throw new Http1Error("misuse-order");
      ok(exchange);
    });
    it.send(GET + GET.replace("/", "/2"));
    expect(it.sink.text).toMatch(/^HTTP\/1\.1 500 Internal Server Error\r\n[^]*Request id: id-0\nHTTP\/1\.1 200 OK/);
    expect(it.sink.text).not.toContain("misuse");
    expect(it.errors.length).toBe(1);
  });

  test("a handler that throws in the middle of its answer: broken connection", () => {
    const it = rig((exchange) => {
      exchange.start(200, []);
      throw new Http1Error("misuse-order");
    });
    it.send(GET);
    expect(it.sink.destroyed).toBe(true);
    expect(it.events).toEqual(["abort reset"]);
  });

  test("an observer that throws ends its own exchange only", () => {
    const it = rig((exchange) => {
      exchange.resume();
      exchange.observer = Object.assign(new Recorder(), {
        onData: () => {
          throw new Http1Error("misuse-order");
        },
      });
    });
    expect(() => it.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")).not.toThrow();
    expect(it.errors.length).toBe(1);
    expect(it.sink.destroyed).toBe(true);
  });

  test("an absolute-form target of another scheme is misdirected", () => {
    const it = rig();
    it.send("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(it.sink.text).toMatch(/^HTTP\/1\.1 421 /);
  });
});

describe("interim responses and tunnels", () => {
  test("early hints", () => {
    const it = rig();
    it.send(GET);
    it.exchange.inform(103, ["Link", "</a.css>; rel=preload"]);
    ok(it.exchange);
    expect(it.sink.text).toBe(`HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n${OK}`);
  });

  const UPGRADE = GET.replace("\r\n\r\n", "\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n");

  test("upgrade: raw bytes both ways, also those that came with the request", () => {
    const it = rig((exchange) => {
      expect(exchange.head.upgrade).toBe("websocket");
      exchange.resume();
      exchange.upgrade(101, ["Sec-WebSocket-Accept", "x"]);
      exchange.write("hello");
    });
    it.send(`${UPGRADE}early`);
    expect(it.sink.take()).toBe(
      `HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n${DATE}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello`,
    );
    it.send("GET / HTTP/1.1\r\n\r\n");
    expect(it.events).toEqual(["data early", "data GET / HTTP/1.1\r\n\r\n"]);
    it.connection.receiveEnd();
    expect(it.events.at(-1)).toBe("end");
    it.exchange.write("bye");
    it.exchange.end();
    expect(it.sink.ended).toBe(true);
    expect(it.events.at(-1)).toBe("finish");
    expect(() => it.exchange.write("x")).not.toThrow();
  });

  test("tunnel: our half first", () => {
    const it = rig((exchange) => exchange.upgrade(101, []));
    it.send(UPGRADE);
    it.exchange.resume();
    it.exchange.end();
    it.exchange.end();
    expect(() => it.exchange.write("x")).toThrow("misuse-order");
    it.send("more");
    it.connection.receiveEnd();
    expect(it.events).toEqual(["data more", "end", "finish"]);
  });

  test("tunnel: no time runs in it", () => {
    const it = rig((exchange) => exchange.upgrade(101, []));
    it.send(UPGRADE);
    it.exchange.resume();
    for (let now = 0; now < 1e6; now += 10_000) it.connection.tick(now);
    expect(it.events).toEqual([]);
    it.connection.closed();
    expect(it.events).toEqual(["abort client-disconnected"]);
  });

  test("an upgrade may be refused, and the connection goes on", () => {
    const it = rig(ok);
    it.send(UPGRADE + GET);
    expect(it.sink.text).toBe(OK + OK);
  });

  test("CONNECT", () => {
    const it = rig((exchange) => {
      exchange.upgrade(200, []);
      exchange.resume();
    });
    it.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nraw");
    expect(it.sink.text).toBe(`HTTP/1.1 200 OK\r\n${DATE}\r\n`);
    expect(it.events).toEqual(["data raw"]);
  });
});

describe("facts", () => {
  const FORWARDED = GET.replace(
    "\r\n\r\n",
    "\r\nX-Forwarded-For: 198.51.100.9, 203.0.113.7, 10.0.0.2\r\nX-Forwarded-Proto: https\r\nX-Request-Id: given\r\n" +
      "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n\r\n",
  );

  test("strangers are not believed", () => {
    const it = rig();
    it.send(FORWARDED);
    expect(it.exchange.facts).toMatchObject({ id: "id-0", client: { address: "192.0.2.1", vouchedBy: "socket" } });
    expect(it.exchange.facts.id).toBe("id-0");
    expect(it.exchange.head.scheme).toBe("http");
    expect(it.exchange.facts.traceparent).toMatch(/^00-0af7/);
    expect(it.exchange.facts.tracestate).toBe("a=b");
  });

  test("trusted hops are, up to the first stranger", () => {
    const it = rig(undefined, { trust: (address) => address === "192.0.2.1" || address.startsWith("10.") });
    it.send(FORWARDED);
    expect(it.exchange.facts).toMatchObject({
      id: "given",
      client: { address: "203.0.113.7", port: 0, vouchedBy: "forwarded" },
    });
    expect(it.exchange.head.scheme).toBe("https");
  });
});

test("an error of onFinish after an answer given later ends the connection, not the process", () => {
  const it = rig();
  it.send(GET);
  (it.exchange.observer as Recorder).onFinish = () => {
    throw new Http1Error("misuse-order");
  };
  expect(() => ok(it.exchange)).not.toThrow();
  expect(it.errors.length).toBe(1);
  expect(it.sink.destroyed).toBe(true);
});

test("an idle connection holds nothing of the last request", () => {
  const it = rig(ok);
  it.send(GET.replace("\r\n\r\n", `\r\nX: ${"v".repeat(5000)}\r\n\r\n`));
  const { parser } = it.connection as unknown as { parser: { headers: string[]; target: string; input: Buffer } };
  expect([parser.headers.length, parser.target, parser.input.length]).toEqual([0, "", 0]);
});

test("a half-closed client that is still taking its answer has not left", () => {
  const it = rig((exchange) => exchange.respond(200, [], Buffer.alloc(200_000)));
  it.sink.full = true;
  it.send(GET);
  it.connection.receiveEnd();
  for (let now = 0; it.events.length === 0 && now < 100_000; now += 10_000) {
    it.connection.tick(now);
    it.connection.tick(now + 5000);
    it.connection.writable();
  }
  expect(it.events).toEqual(["finish"]);
});
