import { createServer } from "node:http";
import { expect, test } from "vitest";
import { recognise } from "./application-kind.ts";

test.each([
  ["a fetch object", { fetch: () => new Response() }, "fetch"],
  ["a function of request and context", (_request: unknown, _ctx: unknown) => ({}), "tsgi"],
  ["a function without parameters", () => ({}), "tsgi"],
  ["an async function", async (request: unknown) => request, "tsgi"],
  ["(req, res)", (_req: unknown, res: { end(): void }) => res.end(), "node listener"],
  [
    "function (request, response)",
    function handler(_request: unknown, response: { end(): void }) {
      response.end();
    },
    "node listener",
  ],
  ["three parameters", (_a: unknown, _b: unknown, _c: unknown) => {}, "node listener"],
  ["a server", createServer(), "http.Server"],
])("%s", (_what, value, kind) => {
  expect(recognise(value, "auto")?.kind).toBe(kind);
});

test("the setting decides for plain functions alone", () => {
  expect(recognise((_a: unknown, _b: unknown) => {}, "node")?.kind).toBe("node listener");
  expect(recognise((_req: unknown, _res: unknown) => {}, "tsgi")?.kind).toBe("tsgi");
  expect(recognise({ fetch: () => ({}) }, "node")?.kind).toBe("fetch");
});

test.each([undefined, null, 42, "text", {}, [], { listen: 1 }])("%j is no application", (value) => {
  expect(recognise(value, "auto")).toBeUndefined();
});
