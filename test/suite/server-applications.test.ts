/** Applications of every kind, unmodified, over TCP and over a unix socket. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { ServerUnderTest } from "../support/server.ts";

/** File → name it greets with → what the ready line calls it. */
const applications = [
  ["express-esm.mjs", "express-esm", "express"],
  ["express-cjs.cjs", "express-cjs", "express"],
  ["express-listen.ts", "express-listen", "express"],
  ["express4.cjs", "express4", "express"],
  ["fastify-export.ts", "fastify-export", "fastify"],
  ["fastify-listen.mjs", "fastify-listen", "http.Server"],
  ["koa.mjs", "koa", "koa"],
  ["hono.ts", "hono", "fetch"],
  ["hono-node.mjs", "hono-node", "http.Server"],
  ["nest.cjs", "nest", "express"],
  ["h3.mjs", "h3", "fetch"],
  ["plain-listen.cjs", "plain-listen", "http.Server"],
  ["plain-export.cjs", "plain-export", "http.Server"],
  ["node-handler.cjs", "node-handler", "node listener"],
  ["tsgi.ts", "tsgi", "fetch"],
] as const;

describe.each(applications)("%s", (file, name, kind) => {
  let server: ServerUnderTest;
  beforeAll(async () => {
    server = await ServerUnderTest.start(file);
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  test("the ready line says what it is", () => {
    expect(server.ready).toContain(`(1 worker, ${file}, ${kind})`);
    expect(server.ready).toContain(`unix:${server.socket}`);
  });

  describe.each(["tcp", "unix"] as const)("over %s", (over) => {
    test("answers, with its own target, and 404", async () => {
      const ask = server.client(over);
      expect(await ask("/")).toMatchObject({ status: 200, text: `hello from ${name}` });
      expect((await ask("/query?a=%2Fb&c=d+e")).text).toBe("/query?a=%2Fb&c=d+e");
      expect((await ask("/missing")).status).toBe(404);
    });

    test("takes bodies, small and large, with and without a length", async () => {
      const ask = server.client(over);
      const body = randomBytes(3_000_000).toString("base64");
      for (const sent of ["small", body]) {
        const answer = await ask("/echo", { method: "POST", body: sent, headers: { "content-type": "text/x-thing" } });
        expect(answer.headers["content-type"]).toMatch(/^text\/x-thing/);
        expect(answer.text === sent).toBe(true);
      }
      const parts = (): Readable => Readable.from([Buffer.from("in "), Buffer.from("parts")]);
      expect(
        (await ask("/echo", { method: "POST", body: parts(), headers: { "content-type": "text/plain" } })).text,
      ).toBe("in parts");
    });

    test("streams, and 20 requests at once each get their own answer", async () => {
      const ask = server.client(over);
      expect((await ask("/stream")).text).toBe("onetwothree");
      const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => ask(`/query?n=${index}`)));
      expect(answers.map(({ text }) => text)).toEqual(Array.from({ length: 20 }, (_, index) => `/query?n=${index}`));
    });
  });

  test("TERM while a request is under way: it is answered, and the exit code is 0", async () => {
    const slow = server.ask("/slow?ms=400");
    await new Promise((resolve) => setTimeout(resolve, 150));
    const exit = server.command.stop("SIGTERM");
    expect(await slow).toMatchObject({ status: 200, text: "slow" });
    expect(await exit).toEqual({ code: 0, signal: null });
  });
});

test("a program's own listen is logged, and opens nothing", async () => {
  await using server = await ServerUnderTest.start("express-listen.ts");
  expect(server.command.output).toContain("the application asked to listen on port 3000; it serves 127.0.0.1:0");
  await expect(fetch("http://127.0.0.1:3000/")).rejects.toThrow("fetch failed");
});

test("a WebSocket server of the ws package echoes", async () => {
  await using server = await ServerUnderTest.start("ws-echo.mjs");
  expect((await server.ask("/")).text).toBe("hello from ws-echo");
  const socket = new WebSocket(`${server.url.replace("http", "ws")}/chat`);
  const [welcome] = (await once(socket, "message")) as [Buffer];
  expect(String(welcome)).toBe("welcome");
  for (const message of ["one", "x".repeat(100_000)]) {
    socket.send(message);
    const [echo] = (await once(socket, "message")) as [Buffer];
    expect(String(echo) === message).toBe(true);
  }
  socket.close();
  await once(socket, "close");
});

test("an export that is named, and a factory", async () => {
  await using named = await ServerUnderTest.start("factory.ts:nested.app");
  expect((await named.ask("/")).text).toBe("hello from nested");
  await using made = await ServerUnderTest.start("factory:create()");
  expect((await made.ask("/")).text).toBe("hello from factory");
});

test("who the client is comes from a trusted front alone", async () => {
  const told = { "x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https", "x-request-id": "front-1" };
  await using trusting = await ServerUnderTest.start("tsgi.ts");
  expect(JSON.parse((await trusting.ask("/connection", { headers: told })).text)).toMatchObject({
    id: "front-1",
    scheme: "https",
    client: { address: "203.0.113.9", vouchedBy: "forwarded" },
  });
  await using wary = await ServerUnderTest.start("tsgi.ts", ["--forwarded-allow-ips", "10.0.0.1"]);
  const seen = JSON.parse((await wary.ask("/connection", { headers: told })).text);
  expect(seen).toMatchObject({ scheme: "http", client: { address: "127.0.0.1", vouchedBy: "socket" } });
  expect(seen.id).not.toBe("front-1");
});
