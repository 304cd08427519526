import { describe, expect, it } from "vitest";
import type { Exchange } from "@portico/gateway/exchange";
import { TestExchange, type TestRequest } from "../test-exchange.ts";
import { AccessLog } from "./access-log.ts";

/** The line of one exchange. */
function lineOf(request: TestRequest, handle: (exchange: Exchange, log: AccessLog) => void): Record<string, unknown> {
  const lines: string[] = [];
  const log = new AccessLog((line) => lines.push(line));
  log.watch((exchange) => handle(exchange, log))(new TestExchange(request));
  expect(lines).toHaveLength(1);
  expect(lines[0]!.endsWith("}\n")).toBe(true);
  expect(lines[0]!.indexOf("\n")).toBe(lines[0]!.length - 1);
  return JSON.parse(lines[0]!) as Record<string, unknown>;
}

describe("the access log", () => {
  it("has a line for a whole answer", () => {
    const line = lineOf(
      { id: "r-1", target: "/a?b", headers: ["Referer", "http://x/", "User-Agent", "test"] },
      (exchange) => exchange.respond(200, [], "grün"),
    );
    expect(line).toMatchObject({
      log: "access",
      id: "r-1",
      client: "127.0.0.1",
      method: "GET",
      scheme: "http",
      host: "example.com",
      target: "/a?b",
      version: "1.1",
      status: 200,
      bytesIn: 0,
      bytesOut: 5,
      ended: "completed",
      referer: "http://x/",
      userAgent: "test",
    });
    expect(new Date(line["time"] as string).toISOString()).toBe(line["time"]);
    expect(line).not.toHaveProperty("upstream");
  });

  it("counts what comes and goes in parts, and passes it on", () => {
    const seen: string[] = [];
    const line = lineOf({ method: "POST", bodyLength: 5 }, (exchange) => {
      exchange.observer = {
        onData: (chunk) => seen.push(`data ${chunk.length}`),
        onEnd: () => seen.push("end"),
        onDrain: () => seen.push("drain"),
        onFinish: () => seen.push("finish"),
        onAbort: () => seen.push("abort"),
      };
      exchange.start(201, []);
      exchange.write("abc");
      exchange.write(new Uint8Array(4));
      exchange.end();
    });
    expect(line).toMatchObject({ status: 201, bytesOut: 7, ended: "completed" });
    expect(seen).toEqual(["finish"]);
  });

  it("says how an exchange ended that was not answered", () => {
    expect(lineOf({}, (exchange) => exchange.abort("client-disconnected"))).toMatchObject({
      status: 0,
      ended: "client-disconnected",
    });
  });

  it("cannot be broken by what a client sends", () => {
    const nasty = 'a"b\\c\x01\x1f\x7f\xff\u2028{}\n';
    const line = lineOf({ target: nasty, authority: nasty, headers: ["User-Agent", nasty] }, (exchange) =>
      exchange.respond(200, [], null),
    );
    expect([line["target"], line["host"], line["userAgent"]]).toEqual([nasty, nasty, nasty]);
  });

  it("tells what the upstream did", () => {
    const line = lineOf({}, (exchange, log) => {
      log.noteUpstream(exchange, {
        upstream: "app",
        server: "http://10.0.0.1",
        attempts: 2,
        queuedMs: 1.23456,
        headMs: undefined,
        status: undefined,
        failure: 'connect: "refused"',
      });
      exchange.respond(502, [], null);
    });
    expect(line).toMatchObject({
      upstream: "app",
      server: "http://10.0.0.1",
      attempts: 2,
      queuedMs: 1.235,
      failure: 'connect: "refused"',
    });
    expect(line).not.toHaveProperty("headMs");
  });
});
