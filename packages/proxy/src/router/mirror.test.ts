import { Buffer } from "node:buffer";
import type { Exchange } from "@portico/gateway/exchange";
import { describe, expect, it } from "vitest";
import { TestExchange, type TestRequest } from "../test-exchange.ts";
import { mirrorHandler } from "./mirror.ts";

const SETTINGS = { upstream: "m", share: 100, bodySize: 10, concurrency: 2 };
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(() => setImmediate(resolve)));

/** Reads the body, then answers with it. */
function echo(exchange: Exchange): void {
  const parts: Uint8Array[] = [];
  exchange.observer = {
    onData: (chunk) => void parts.push(chunk),
    onEnd: () => exchange.respond(200, [], Buffer.concat(parts)),
    onDrain() {},
    onFinish() {},
    onAbort() {},
  };
  exchange.resume();
}

interface Copy {
  readonly target: string;
  body: string;
  end: string | undefined;
}

/** A mirror that takes copies and answers when told. */
function fixture(settings = SETTINGS): {
  copies: Copy[];
  shadows: Exchange[];
  send: (request: TestRequest) => TestExchange;
} {
  const copies: Copy[] = [];
  const shadows: Exchange[] = [];
  const handler = mirrorHandler(
    settings,
    (shadow) => {
      const copy: Copy = { target: shadow.head.target, body: "", end: undefined };
      copies.push(copy);
      shadows.push(shadow);
      shadow.observer = {
        onData: (chunk) => void (copy.body += Buffer.from(chunk).toString()),
        onEnd: () => (copy.end = "whole"),
        onDrain() {},
        onFinish() {},
        onAbort: (reason) => (copy.end = reason),
      };
      shadow.resume();
    },
    echo,
  );
  return {
    copies,
    shadows,
    send(request) {
      const exchange = new TestExchange({ method: "POST", ...request });
      handler(exchange);
      return exchange;
    },
  };
}

describe("mirror", () => {
  it("gets the request and its body, and its answer goes nowhere", async () => {
    const { copies, shadows, send } = fixture();
    const exchange = send({ target: "/a?b", bodyLength: 5 });
    exchange.observer!.onData(Buffer.from("he"));
    await turn();
    exchange.observer!.onData(Buffer.from("llo"));
    exchange.observer!.onEnd([]);
    expect([exchange.status, exchange.text]).toEqual([200, "hello"]);
    expect(copies).toEqual([{ target: "/a?b", body: "hello", end: "whole" }]);
    shadows[0]!.start(500, []);
    shadows[0]!.write("broken");
    shadows[0]!.abort("reset");
    expect([exchange.status, exchange.text]).toEqual([200, "hello"]);
  });

  it("is given up where a body of unknown length grows too large; the request goes on", async () => {
    const { copies, send } = fixture();
    const exchange = send({ bodyLength: -1 });
    await turn();
    exchange.observer!.onData(Buffer.from("12345678"));
    exchange.observer!.onData(Buffer.from("12345678"));
    exchange.observer!.onEnd([]);
    expect(exchange.text).toBe("1234567812345678");
    expect(copies[0]!.end).toBe("reset");
    expect(copies[0]!.body).toBe("12345678");
  });

  it("gets no request that announces a larger body, no upgrade, and none beyond its bound until one is done", async () => {
    const { copies, shadows, send } = fixture();
    send({ bodyLength: 11 });
    send({ upgrade: "websocket" });
    await turn();
    expect(copies.length).toBe(0);
    for (let index = 0; index < 5; index++) send({ target: `/${index}` });
    await turn();
    expect(copies.map(({ target }) => target)).toEqual(["/0", "/1"]);
    shadows[0]!.respond(200, [], null);
    send({ target: "/after" });
    await turn();
    expect(copies.length).toBe(3);
  });

  it("loses the copy of a request that the client breaks off", async () => {
    const { copies, send } = fixture();
    const exchange = send({ bodyLength: 5 });
    await turn();
    exchange.abort("client-disconnected");
    expect(copies[0]!.end).toBe("client-disconnected");
  });

  it("gets its share", async () => {
    const { copies, send } = fixture({ ...SETTINGS, share: 25, concurrency: 10_000 });
    for (let index = 0; index < 4000; index++) send({});
    await turn();
    // Six standard deviations of 4,000 draws of a quarter.
    expect(Math.abs(copies.length - 1000)).toBeLessThan(165);
  });
});
