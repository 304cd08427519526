/** One suite, three targets: what a client sees must be the same whichever tiers stand in the way. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Agent, request } from "undici";
import { WebSocket } from "ws";
import { RawClient } from "../support/raw.ts";
import { type Target, targets } from "../support/targets.ts";

interface Echo {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly client: string;
  readonly scheme: string;
  readonly body: string;
}

describe.each(targets)("$name", (kind) => {
  let target: Target;
  const dispatcher = new Agent();
  beforeAll(async () => {
    target = await kind.start();
  });
  afterAll(async () => {
    await dispatcher.close();
    await target[Symbol.asyncDispose]();
  });
  const ask = (path: string, options: Parameters<typeof request>[1] = {}) =>
    request(`${target.url}${path}`, { dispatcher, ...options });

  test("a request arrives as it was sent", async () => {
    const { statusCode, body } = await ask("/echo?a=%2F&b=+", {
      method: "PATCH",
      headers: { "x-thing": "Value", "x-client-key": "two" },
      body: "some text",
    });
    const echo = (await body.json()) as Echo;
    expect(statusCode).toBe(200);
    expect(echo).toMatchObject({
      method: "PATCH",
      target: "/echo?a=%2F&b=+",
      body: "some text",
      scheme: "http",
      client: "127.0.0.1",
    });
    expect(echo.headers).toContainEqual(["x-thing", "Value"]);
    expect(echo.headers.filter(([name]) => name === "host")).toHaveLength(1);
  });

  test.each(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])("method %s", async (method) => {
    const raw = await exchange(
      target.url,
      `${method} /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
    );
    expect(raw).toMatch(/^HTTP\/1\.1 200 /);
    expect(raw).toContain(`"method":"${method}"`);
  });

  test("HEAD has the fields of GET and no body", async () => {
    const raw = await exchange(target.url, "HEAD /record HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    expect(raw).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(raw).toMatch(/content-length: 9\r\n/i);
    expect(raw.endsWith("\r\n\r\n")).toBe(true);
  });

  test.each([204, 304])("status %i has no body and the connection goes on", async (code) => {
    const raw = await exchange(
      target.url,
      `GET /status?code=${code} HTTP/1.1\r\nHost: a.test\r\n\r\nGET /record HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`,
    );
    expect(raw.startsWith(`HTTP/1.1 ${code} `)).toBe(true);
    expect(raw.slice(4).indexOf("HTTP/1.1 200")).toBeGreaterThan(0);
    expect(raw.endsWith("a record\n")).toBe(true);
  });

  test("fields sent twice stay two", async () => {
    const { headers } = await ask("/cookies");
    expect(headers["set-cookie"]).toEqual(["a=1; Path=/", "b=2, with comma"]);
  });

  test.each([0, 1, 65_535, 65_536, 5_000_000])("a response of %i bytes is whole", async (size) => {
    const { body } = await ask(`/bytes?n=${size}`);
    const bytes = Buffer.from(await body.arrayBuffer());
    expect(bytes.length).toBe(size);
    expect(bytes.equals(Buffer.alloc(size, "0123456789abcdef"))).toBe(true);
  });

  test.each([0, 1, 16_384, 65_537, 20_000_000])("an upload of %i bytes is whole", async (size) => {
    const bytes = randomBytes(size);
    const { body } = await ask("/digest", { method: "POST", body: bytes });
    expect(await body.json()).toEqual({ size, sha256: createHash("sha256").update(bytes).digest("hex") });
  });

  test("a chunked upload is whole", async () => {
    const parts = Array.from({ length: 50 }, () => randomBytes(10_000));
    const { body } = await ask("/digest", { method: "POST", body: ReadableStream.from(parts) as never });
    const sha256 = createHash("sha256").update(Buffer.concat(parts)).digest("hex");
    expect(await body.json()).toEqual({ size: 500_000, sha256 });
  });

  test("an upload byte by byte is whole", async () => {
    using client = await RawClient.open(target.url);
    client.send("POST /digest HTTP/1.1\r\nHost: a.test\r\nContent-Length: 40\r\nConnection: close\r\n\r\n");
    for (let index = 0; index < 40; index += 1) {
      client.send("x");
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await client.closed()).toContain('"size":40');
  });

  test("100 Continue comes before the body is sent", async () => {
    using client = await RawClient.open(target.url);
    client.send(
      "POST /digest HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
    );
    await client.until(/^HTTP\/1\.1 100 Continue\r\n\r\n/);
    client.send("hello");
    await client.until(/"size":5/);
  });

  test("events arrive as they are sent", async () => {
    const { body, headers } = await ask("/sse");
    expect(headers["content-type"]).toBe("text/event-stream");
    expect(await body.text()).toBe("data: 1\n\ndata: 2\n\ndata: 3\n\n");
  });

  test("early hints come before the response", async () => {
    const raw = await exchange(target.url, "GET /early-hints HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    expect(raw).toMatch(
      /^HTTP\/1\.1 103 [^\r]*\r\nlink: <\/style\.css>; rel=preload; as=style\r\n\r\nHTTP\/1\.1 200 /i,
    );
  });

  test("trailers follow the body", async () => {
    const raw = await exchange(
      target.url,
      "GET /trailers HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n",
    );
    expect(raw).toMatch(/\r\n0\r\nx-checksum: abc\r\n\r\n$/i);
  });

  test("an error of the application gives 500 and an id, not its reason", async () => {
    const { statusCode, body } = await ask("/throws");
    const text = await body.text();
    expect(statusCode).toBe(500);
    expect(text).not.toContain("secret reason");
    expect(text).not.toContain(".ts:");
    expect(text).toMatch(/[\w-]{8,}/);
  });

  test("pipelined requests are answered in order", async () => {
    const one = (path: string, rest = "") => `GET ${path} HTTP/1.1\r\nHost: a.test\r\n${rest}\r\n`;
    const raw = await exchange(target.url, one("/echo?1") + one("/record") + one("/echo?3", "Connection: close\r\n"));
    const order = [...raw.matchAll(/"target":"\/echo\?(\d)"|a record/g)].map(([match, number]) => number ?? match);
    expect(order).toEqual(["1", "a record", "3"]);
  });

  test("HTTP/1.0 gets a response it understands, and the connection ends", async () => {
    using client = await RawClient.open(target.url);
    client.send("GET /bytes?n=100000 HTTP/1.0\r\n\r\n");
    const raw = await client.closed();
    expect(raw).toMatch(/^HTTP\/1\.[01] 200 /);
    expect(raw).not.toMatch(/transfer-encoding/i);
    expect(raw.slice(raw.indexOf("\r\n\r\n") + 4)).toHaveLength(100_000);
  });

  test("a client that leaves is noticed by the application", async () => {
    const name = `left-${Math.random()}`;
    const client = await RawClient.open(target.url);
    client.send(`GET /hangs?name=${name} HTTP/1.1\r\nHost: a.test\r\n\r\n`);
    await client.until(/started/);
    client[Symbol.dispose]();
    // The workers are several processes: ask, several at once, until the one that has the exchange answers.
    const askAll = () =>
      Promise.all(Array.from({ length: 8 }, () => ask(`/left?name=${name}`).then(({ body }) => body.text())));
    let answers = await askAll();
    while (!answers.includes("left\n")) answers = await askAll();
    expect(new Set(answers).isSubsetOf(new Set(["left\n", "elsewhere\n"]))).toBe(true);
  });

  test("WebSocket messages go both ways, small and large", async () => {
    const socket = new WebSocket(`${target.url.replace("http", "ws")}/ws`);
    await once(socket, "open");
    for (const message of [Buffer.from("hello"), randomBytes(1_000_000), Buffer.alloc(0)]) {
      socket.send(message);
      const [echoed] = (await once(socket, "message")) as [Buffer];
      expect(echoed.equals(message)).toBe(true);
    }
    socket.close(1000, "done");
    const [code] = await once(socket, "close");
    expect(code).toBe(1000);
  });

  test("a WebSocket that is denied gets the denial", async () => {
    const socket = new WebSocket(`${target.url.replace("http", "ws")}/elsewhere`);
    const [, response] = (await once(socket, "unexpected-response")) as [unknown, { statusCode: number }];
    expect(response.statusCode).toBe(403);
    socket.on("error", () => {});
    socket.terminate();
  });

  test.each([
    ["two lengths", "POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400],
    [
      "length and chunked",
      "POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    ["no Host", "GET /echo HTTP/1.1\r\n\r\n", 400],
    ["two Hosts", "GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400],
    ["folded field", "GET /echo HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n 2\r\n\r\n", 400],
    ["space before colon", "GET /echo HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n", 400],
    ["bare LF", "GET /echo HTTP/1.1\nHost: a\n\n", 400],
    ["unknown coding", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501],
    ["unknown version", "GET /echo HTTP/3.0\r\nHost: a\r\n\r\n", 505],
    ["long request line", `GET /${"a".repeat(9_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
    ["long field", `GET /echo HTTP/1.1\r\nHost: a\r\nX-A: ${"a".repeat(9_000)}\r\n\r\n`, 431],
  ])("%s: refused, and the connection closed", async (_name, bytes, status) => {
    const raw = await exchange(target.url, bytes);
    expect(raw.startsWith(`HTTP/1.1 ${status} `)).toBe(true);
    expect(raw.match(/^HTTP\/1\.1 /gm)).toHaveLength(1);
    expect(raw).toMatch(/connection: close/i);
  });

  test("one bad request among many harms nobody else", async () => {
    const bad = Array.from({ length: 20 }, () => exchange(target.url, "GARBAGE\r\n\r\n"));
    const good = Array.from({ length: 20 }, () => ask("/record").then(({ body }) => body.text()));
    expect(new Set(await Promise.all(good))).toEqual(new Set(["a record\n"]));
    for (const answer of await Promise.all(bad)) expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  });
});

/** Sends bytes, and gives all that comes back until the server closes. */
async function exchange(url: string, bytes: string): Promise<string> {
  using client = await RawClient.open(url);
  client.send(bytes);
  return await client.closed();
}
