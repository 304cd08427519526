/** What RFC 9110 and 9112 ask of a server, as far as no other test of this package has it; `docs/reference/http-conformance.md` names each. */
import type { Exchange, ExchangeHandler } from "@portico/gateway/exchange";
import { describe, expect, test } from "vitest";
import { Clock } from "./clock.ts";
import { ServerConnection, type ServerConnectionOptions } from "./connection.ts";
import type { Http1Error } from "./error.ts";

interface Talk {
  readonly connection: ServerConnection;
  /** What the client got, latin1. */
  text: string;
  ended: boolean;
  destroyed: boolean;
  readonly exchanges: Exchange[];
  readonly rules: string[];
  send(text: string): void;
}

function talk(handler: ExchangeHandler, options: ServerConnectionOptions = {}): Talk {
  const endpoint = { address: "192.0.2.1", port: 1 };
  const facts = {
    peer: endpoint,
    local: endpoint,
    client: { ...endpoint, vouchedBy: "socket" },
    tls: undefined,
    scheme: "http",
  } as const;
  const exchanges: Exchange[] = [];
  const rules: string[] = [];
  const sink = {
    write(data: Uint8Array | string): boolean {
      it.text += typeof data === "string" ? data : Buffer.from(data).toString("latin1");
      return true;
    },
    pause() {},
    resume() {},
    end() {
      it.ended = true;
    },
    destroy() {
      it.destroyed = true;
    },
  };
  const connection = new ServerConnection(
    sink,
    (exchange) => {
      exchanges.push(exchange);
      handler(exchange);
    },
    { clock: new Clock(() => 0), onError: (error) => rules.push((error as Http1Error).rule), ...options },
    facts,
  );
  const it: Talk = {
    connection,
    text: "",
    ended: false,
    destroyed: false,
    exchanges,
    rules,
    send: (text) => connection.receive(Buffer.from(text, "latin1")),
  };
  return it;
}

const ok: ExchangeHandler = (exchange) => exchange.respond(200, [], "ok");
const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CLOSE = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const OLD = "GET / HTTP/1.0\r\n\r\n";
const CHUNKED = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

function statuses(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

describe("connections", () => {
  test("nothing after a request with close is processed", () => {
    const it = talk(ok);
    it.send(CLOSE + GET);
    it.send(GET);
    expect([it.exchanges.length, statuses(it.text), it.ended]).toEqual([1, [200], true]);
    expect(it.text).toContain("\r\nConnection: close\r\n");
  });

  test("nothing after a response with close is processed", () => {
    const it = talk(ok, { limits: { requests: 2 } });
    it.send(GET.repeat(5));
    expect([it.exchanges.length, it.ended]).toEqual([2, true]);
    expect(it.text.match(/Connection: close/g)).toHaveLength(1);
  });

  test("nothing after a refused request is processed", () => {
    const it = talk(ok);
    it.send(`GET / HTTP/1.1\r\n\r\n${GET}`);
    it.send(GET);
    expect([it.exchanges.length, statuses(it.text), it.ended]).toEqual([0, [400], true]);
  });

  test("a connection whose time is over ends by FIN, not by a reset", () => {
    const idle = talk(ok);
    idle.send(GET);
    const slow = talk(ok);
    slow.send("GET / HT");
    for (const now of [0, 15_000, 75_000]) {
      idle.connection.tick(now);
      slow.connection.tick(now === 75_000 ? 16_000 : now);
    }
    expect([idle.ended, idle.destroyed, slow.ended, slow.destroyed]).toEqual([true, false, true, false]);
    expect(statuses(slow.text)).toEqual([408]);
  });
});

describe("responses", () => {
  test("carry our version, whatever the request's was", () => {
    for (const request of [GET, OLD, "GET / HTTP/1.7\r\nHost: a\r\n\r\n", "nonsense\r\n"]) {
      const it = talk(ok);
      it.send(request);
      expect(it.text).toMatch(/^HTTP\/1\.1 \d{3} /);
    }
  });

  test("keep the space of the status line where there is no reason", () => {
    const it = talk((exchange) => exchange.respond(599, [], null));
    it.send(GET);
    expect(it.text.slice(0, 15)).toBe("HTTP/1.1 599 \r\n");
  });

  test("have a Date, errors of ours too", () => {
    const thrown = talk(() => {
      throw new RangeError("an error of the application");
    });
    thrown.send(GET);
    const bad = talk(ok);
    bad.send("GET / HTTP/1.1\r\n\r\n");
    const moved = talk((exchange) => exchange.respond(302, ["Location", "/"], null));
    moved.send(GET);
    const streamed = talk((exchange) => exchange.start(404, []));
    streamed.send(GET);
    for (const { text } of [thrown, bad, moved, streamed])
      expect(text.match(/\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n/g)).toHaveLength(1);
  });

  test("keep a Date that the application gives", () => {
    const it = talk((exchange) => exchange.respond(200, ["date", "Sun, 06 Nov 1994 08:49:37 GMT"], null));
    it.send(GET);
    expect(it.text.match(/\r\ndate: .*\r\n/gi)).toEqual(["\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"]);
  });

  test("have one space after each colon, none before, and no folded line", () => {
    const it = talk((exchange) => {
      exchange.inform(103, ["Link", "</a>"]);
      exchange.start(200, ["X-A", "b", "Set-Cookie", "c=d"]);
      exchange.write("body");
      exchange.end(["X-Sum", "1"]);
    });
    it.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    const fields = it.text.split("\r\n").filter((line) => line.includes(":"));
    expect(fields.length).toBe(6);
    for (const line of fields) expect(line).toMatch(/^[\w-]+: [^\s:].*$/);
  });

  test("to HTTP/1.0 are never interim and never chunked", () => {
    const it = talk((exchange) => {
      exchange.inform(103, ["Link", "</a>"]);
      exchange.resume();
      exchange.start(200, []);
      exchange.write("body");
      exchange.end();
    });
    it.send("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx");
    expect(statuses(it.text)).toEqual([200]);
    expect(it.text).not.toMatch(/transfer-encoding/i);
    expect([it.text.endsWith("\r\n\r\nbody"), it.ended]).toEqual([true, true]);
  });

  test("without content have neither length nor coding: 103, 204, 101, 2xx to CONNECT", () => {
    const framing = /content-length|transfer-encoding/i;
    const informed = talk((exchange) => exchange.inform(103, []));
    informed.send(GET);
    const empty = talk((exchange) => {
      exchange.start(204, []);
      exchange.end();
    });
    empty.send(GET);
    const switched = talk((exchange) => exchange.upgrade(101, []));
    switched.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x, y\r\n\r\n");
    const tunnel = talk((exchange) => exchange.upgrade(200, []));
    tunnel.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    for (const { text } of [informed, empty, switched, tunnel]) expect(text).not.toMatch(framing);
    expect([informed, empty, switched, tunnel].map(({ text }) => statuses(text)[0])).toEqual([103, 204, 101, 200]);
    for (const list of [
      ["Content-Length", "1"],
      ["Transfer-Encoding", "chunked"],
    ]) {
      const refused = talk((exchange) => exchange.upgrade(200, list));
      refused.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
      expect(statuses(refused.text)).toEqual([500]);
    }
  });

  test("that switch name the protocol in Upgrade, Upgrade in Connection, and only what was offered", () => {
    const it = talk((exchange) => exchange.upgrade(101, []));
    it.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: WebSocket, other/2\r\n\r\n");
    expect(it.text).toContain("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    const uninvited = talk((exchange) => exchange.upgrade(101, []));
    uninvited.send(GET);
    expect(statuses(uninvited.text)).toEqual([500]);
  });
});

describe("requests", () => {
  test("reach the handler when their head is whole, not before", () => {
    const it = talk(ok);
    for (const byte of GET.slice(0, -1)) it.send(byte);
    expect([it.exchanges.length, it.text]).toEqual([0, ""]);
    it.send("\n");
    expect(it.exchanges.length).toBe(1);
  });

  test("are answered once each and in order, however late", () => {
    const it = talk(() => {});
    it.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(it.exchanges.length).toBe(1);
    it.exchanges[0]!.respond(200, [], "1");
    it.exchanges[1]!.respond(200, [], "2");
    expect(it.text).toMatch(/\r\n\r\n1HTTP[^]*\r\n\r\n2$/);
  });

  test("that switch never take bytes of the tunnel for a request", () => {
    const it = talk((exchange) => {
      exchange.upgrade(101, []);
      exchange.resume();
    });
    it.send(`GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n${GET}`);
    expect(it.exchanges.length).toBe(1);
  });
});

describe("slow clients", () => {
  /** A byte of `text` each second, from when the connection is this old. */
  function trickle(it: Talk, text: string, from = 0): void {
    for (let at = 0; at < text.length && !it.ended && !it.destroyed; at++) {
      it.connection.tick(from + at * 1000);
      it.send(text[at] as string);
    }
  }

  test("a trailer section that trickles is below the minimum rate", () => {
    const it = talk((exchange) => exchange.resume());
    it.send(`${CHUNKED}3\r\nabc\r\n0\r\n`);
    trickle(it, "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n\r\n");
    expect([statuses(it.text), it.rules]).toEqual([[408], ["timeout-body-rate"]]);
  });

  test("the framing of chunks earns no time", () => {
    const it = talk((exchange) => exchange.resume());
    it.send(CHUNKED);
    trickle(it, "1\r\na\r\n".repeat(20));
    expect([statuses(it.text), it.rules]).toEqual([[408], ["timeout-body-rate"]]);
  });

  test("a body that nobody wants must keep the minimum rate too", () => {
    const it = talk(ok);
    it.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    expect(statuses(it.text)).toEqual([200]);
    trickle(it, "x".repeat(60));
    expect(it.rules).toEqual(["timeout-body-rate"]);
    expect(it.ended || it.destroyed).toBe(true);
  });

  test("an empty line that never becomes a head has the head's time", () => {
    const it = talk(ok);
    it.send(`${GET}\r\n`);
    for (const now of [0, 1000, 16_000, 17_000]) it.connection.tick(now);
    expect(it.rules).toEqual(["timeout-head"]);
  });
});
