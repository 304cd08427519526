import type { Exchange } from "@portico/gateway/exchange";
import { describe, expect, it } from "vitest";
import { type SplitSettings, configSchema } from "../config/schema.ts";
import { TestExchange } from "../test-exchange.ts";
import { splitHandler } from "./split.ts";

function settings(split: object): SplitSettings {
  const config = configSchema.parse({
    upstreams: {},
    sites: [{ hosts: ["*"], routes: [{ path: "/*", proxy: { split } }] }],
  });
  return config.sites[0]!.routes[0]!.proxy!.split!;
}

/** Who answers, by name. */
function draw(split: object): (exchange: TestExchange) => string {
  const handler = splitHandler(settings(split), (name) => (exchange: Exchange) => exchange.respond(200, [], name));
  return (exchange) => {
    handler(exchange);
    return exchange.text;
  };
}

const from = (address: string, headers: string[] = []): TestExchange => {
  const exchange = new TestExchange({ headers });
  Object.assign(exchange.facts, { client: { address, port: 1, vouchedBy: "socket" } });
  return exchange;
};

function shareOf(name: string, count: number, one: (index: number) => string): number {
  return Array.from({ length: count }, (_, index) => one(index)).filter((drawn) => drawn === name).length / count;
}

const CANARY = { upstreams: { stable: 90, canary: 10 } };

// 20,000 draws of 10 %: six standard deviations are 1.3 points.
const DRAWS = 20_000;
const TOLERANCE = 0.013;

describe("split", () => {
  it.each(["request", "client", "header:X-User", "cookie:release"])("by %s divides as the shares say", (by) => {
    const drawn = draw({ ...CANARY, by });
    const share = shareOf("canary", DRAWS, (index) =>
      drawn(from(`10.0.${index >> 8}.${index & 255}`, by.startsWith("header") ? ["x-user", `u${index}`] : [])),
    );
    expect(Math.abs(share - 0.1)).toBeLessThan(TOLERANCE);
  });

  it("keeps the draw of a client, and of a field's value", () => {
    const byClient = draw({ ...CANARY, by: "client" });
    const byHeader = draw({ ...CANARY, by: "header:X-User" });
    for (let index = 0; index < 100; index++) {
      const address = `192.0.2.${index}`;
      expect(byClient(from(address))).toBe(byClient(from(address)));
      const user = ["x-user", `u${index}`];
      expect(byHeader(from("1.1.1.1", user))).toBe(byHeader(from("2.2.2.2", user)));
      expect(byHeader(from(address))).toBe(byHeader(from(address)));
    }
  });

  it("gives a cookie with the draw, once, and believes it afterwards", () => {
    const drawn = draw({ upstreams: { a: 1, "b b": 1 }, by: "cookie:release", cookieAge: "1h" });
    const first = from("192.0.2.1");
    const name = drawn(first);
    expect(first.field("set-cookie")).toBe(
      `release=${encodeURIComponent(name)}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600`,
    );
    for (const kept of ["a", "b b"]) {
      const again = from("192.0.2.1", ["Cookie", `x=1; release=${encodeURIComponent(kept)}`]);
      expect([drawn(again), again.field("set-cookie")]).toEqual([kept, undefined]);
    }
    const unknown = from("192.0.2.1", ["Cookie", "release=gone"]);
    drawn(unknown);
    expect(unknown.field("set-cookie")).toMatch(/^release=(a|b%20b); /);
  });

  it("a share of nothing is nobody's, not even by cookie", () => {
    const drawn = draw({ upstreams: { stable: 1, canary: 0 }, by: "cookie:r" });
    expect(shareOf("canary", 100, () => drawn(from("192.0.2.1", ["Cookie", "r=canary"])))).toBe(0);
  });
});
