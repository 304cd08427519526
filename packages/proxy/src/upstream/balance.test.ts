import { describe, expect, it } from "vitest";
import type { HeaderList } from "@portico/gateway/exchange";
import { configSchema } from "../config/schema.ts";
import type { BalancedExchange, Candidate } from "./balance.ts";
import { hashText } from "./hash.ts";
import { createPolicy } from "./policy.ts";

interface Server extends Candidate {
  readonly name: string;
  weight: number;
  busy: number;
  full: boolean;
}

function server(name: string, weight = 1): Server {
  const self: Server = {
    name,
    weight,
    busy: 0,
    full: false,
    turn: 0,
    meanMs: 0,
    measuredAt: 0,
    seed: hashText(name),
    transport: {
      get inFlight() {
        return self.busy;
      },
    },
    load: () => (self.full ? Infinity : self.busy + 1),
  };
  return self;
}

interface Question {
  readonly client?: string;
  readonly target?: string;
  readonly headers?: HeaderList;
  readonly host?: string;
}

const asked = ({
  client = "192.0.2.1",
  target = "/",
  headers = [],
  host = "a.test",
}: Question = {}): BalancedExchange =>
  ({
    head: { target, headers, authority: host },
    facts: { client: { address: client } },
  }) as unknown as BalancedExchange;

/** mulberry32: the same draws each time. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

function policy(balance: string, options: { hash?: object; now?: () => number } = {}) {
  const { upstreams } = configSchema.parse({
    upstreams: { app: { servers: ["http://10.0.0.1"], balance, hash: options.hash ?? {} } },
    sites: [{ hosts: ["*"], routes: [{ path: "/*", respond: {} }] }],
  });
  return createPolicy(upstreams["app"]!, { now: options.now ?? (() => 0), random: seeded(7) });
}

/** How often each is picked for so many requests that are over at once. */
function shares(
  balance: string,
  servers: readonly Server[],
  count: number,
  ask: (at: number) => Question = () => ({}),
) {
  const chosen = policy(balance, { hash: { key: "header:x-key" } });
  chosen.update?.(servers);
  const counts = Object.fromEntries(servers.map(({ name }) => [name, 0]));
  for (let at = 0; at < count; at++) counts[chosen.pick(servers, null, asked(ask(at)))!.name]!++;
  return counts;
}

describe.each(["least-connections", "round-robin", "least-time", "random-two", "ip-hash", "hash"])("%s", (name) => {
  it("leaves out avoided and full servers, and says where there is none", () => {
    const chosen = policy(name);
    const [a, b, c] = [server("a"), server("b"), server("c")];
    chosen.update?.([a, b, c]);
    b.full = true;
    for (let count = 0; count < 20; count++) expect(chosen.pick([a, b, c], [c], asked())).toBe(a);
    expect(chosen.pick([b], null, asked())).toBeNull();
    expect(chosen.pick([a], [a], asked())).toBeNull();
    expect(chosen.pick([], null, asked())).toBeNull();
  });
});

describe("least-connections", () => {
  it("takes the one with the fewest under way for its weight", () => {
    const chosen = policy("least-connections");
    const servers = [server("a"), server("b", 4)];
    chosen.update?.(servers);
    servers[0]!.busy = 2;
    servers[1]!.busy = 7;
    expect(chosen.pick(servers, null, asked())).toBe(servers[1]);
    servers[1]!.busy = 9;
    expect(chosen.pick(servers, null, asked())).toBe(servers[0]);
  });

  it("spreads over equals, by weight", () => {
    expect(shares("least-connections", [server("a"), server("b"), server("c")], 9)).toEqual({ a: 3, b: 3, c: 3 });
    expect(shares("least-connections", [server("a", 3), server("b")], 400)).toEqual({ a: 300, b: 100 });
  });

  it("fills servers to their weights", () => {
    const chosen = policy("least-connections");
    const servers = [server("a", 3), server("b", 1), server("c", 1)];
    chosen.update?.(servers);
    for (let count = 0; count < 100; count++) chosen.pick(servers, null, asked())!.busy++;
    expect(servers.map(({ busy }) => busy)).toEqual([60, 20, 20]);
  });
});

describe("round-robin", () => {
  it("is smooth: 5, 1, 1 never gives the heavy one five in a row", () => {
    const chosen = policy("round-robin");
    const servers = [server("a", 5), server("b"), server("c")];
    const picked = Array.from({ length: 7 }, () => chosen.pick(servers, null, asked())!.name).join("");
    expect(picked).toBe("aabacaa");
  });

  it("shares by weight over a long run", () => {
    expect(shares("round-robin", [server("a", 3), server("b")], 400)).toEqual({ a: 300, b: 100 });
  });
});

describe("least-time", () => {
  function timed() {
    let now = 0;
    const chosen = policy("least-time", { now: () => now });
    const servers = [server("fast"), server("slow")];
    /** So many requests one after the other, each answered after the time of its server. */
    const run = (count: number, slowMs: number): Record<string, number> => {
      const counts: Record<string, number> = { fast: 0, slow: 0 };
      for (let at = 0; at < count; at++) {
        const picked = chosen.pick(servers, null, asked())!;
        counts[picked.name]!++;
        const ms = picked.name === "fast" ? 10 : slowMs;
        now += ms;
        chosen.observe!(picked, ms);
      }
      return counts;
    };
    return { chosen, servers, run, pass: (ms: number) => (now += ms) };
  }

  it("prefers the server that answers sooner, and tries every one", () => {
    const { run } = timed();
    const counts = run(200, 50);
    expect(counts["slow"]).toBeGreaterThan(0);
    expect(counts["fast"]).toBeGreaterThan(180);
  });

  it("weighs time against what is under way", () => {
    const { run, chosen, servers } = timed();
    run(200, 50);
    servers[0]!.busy = 9;
    expect(chosen.pick(servers, null, asked())!.name).toBe("slow");
  });

  it("comes back to a server that was slow once", () => {
    const { run, pass } = timed();
    run(20, 500);
    expect(run(50, 10)["slow"]).toBeLessThan(5);
    pass(60_000);
    expect(run(200, 10)["slow"]).toBeGreaterThan(60);
  });
});

describe("random-two", () => {
  it("shares by weight", () => {
    const counts = shares("random-two", [server("a", 2), server("b"), server("c")], 4_000);
    expect(counts["a"]! / 4_000).toBeCloseTo(0.5, 1);
    expect(counts["b"]! / counts["c"]!).toBeCloseTo(1, 0);
  });

  it("fills servers nearly evenly, far better than one draw does", () => {
    const chosen = policy("random-two");
    const servers = Array.from({ length: 20 }, (_, at) => server(String(at)));
    for (let count = 0; count < 2_000; count++) chosen.pick(servers, null, asked())!.busy++;
    const loads = servers.map(({ busy }) => busy);
    // One draw would differ by about ±30.
    expect(Math.max(...loads) - Math.min(...loads)).toBeLessThan(12);
  });
});

describe("ip-hash", () => {
  it("is the same for a client, and even over clients", () => {
    const servers = ["a", "b", "c", "d"].map((name) => server(name));
    const client = (at: number): Question => ({ client: `10.${at >> 8}.${at & 255}.7`, target: `/${Math.random()}` });
    const counts = shares("ip-hash", servers, 4_000, client);
    for (const { name } of servers) expect(Math.abs(counts[name]! - 1_000)).toBeLessThan(120);
    expect(Object.values(shares("ip-hash", servers, 50))).toContain(50);
  });
});

describe("hash", () => {
  const keys = Array.from({ length: 4_000 }, (_, at) => `key-${at}`);
  const ask = (key: string): BalancedExchange => asked({ headers: ["X-Key", key] });
  const owners = (servers: readonly Server[]): string[] => {
    const chosen = policy("hash", { hash: { key: "header:x-key" } });
    return keys.map((key) => chosen.pick(servers, null, ask(key))!.name);
  };

  it("shares the keys by weight", () => {
    const found = owners([server("a", 2), server("b"), server("c")]);
    const share = (name: string): number => found.filter((one) => one === name).length / keys.length;
    expect(share("a")).toBeCloseTo(0.5, 1);
    expect(share("b")).toBeCloseTo(0.25, 1);
    expect(share("c")).toBeCloseTo(0.25, 1);
  });

  it("moves only the keys of a server that goes, and spreads them over the others", () => {
    const servers = ["a", "b", "c", "d", "e"].map((name) => server(name));
    const before = owners(servers);
    const after = owners(servers.filter(({ name }) => name !== "c"));
    const heirs = new Map<string, number>();
    before.forEach((owner, at) => {
      if (owner !== "c") expect(after[at]).toBe(owner);
      else heirs.set(after[at]!, (heirs.get(after[at]!) ?? 0) + 1);
    });
    expect([...heirs.keys()].sort()).toEqual(["a", "b", "d", "e"]);
    for (const count of heirs.values()) expect(count).toBeGreaterThan(120);
  });

  it("keeps every server below its bound", () => {
    const chosen = policy("hash", { hash: { key: "header:x-key", maxLoad: 1.25 } });
    const servers = ["a", "b", "c", "d"].map((name) => server(name));
    // One key alone would go to one server alone.
    for (let count = 0; count < 400; count++) chosen.pick(servers, null, ask("popular"))!.busy++;
    for (const { busy } of servers) expect(busy).toBeLessThanOrEqual(126);
  });

  it.each([
    ["client", { client: "192.0.2.77" }],
    ["host", { host: "B.test" }],
    ["path", { target: "/b?x=1" }],
    ["target", { target: "/?x=2" }],
    ["header:X-User", { headers: ["x-user", "ann"] }],
    ["cookie:session", { headers: ["Cookie", "a=1; session=77; b=2"] }],
    ["query:id", { target: "/?a=1&id=77" }],
  ] as [string, Question][])("by %s", (key, other) => {
    const servers = Array.from({ length: 64 }, (_, at) => server(String(at)));
    const chosen = policy("hash", { hash: { key } });
    chosen.update?.(servers);
    const first = chosen.pick(servers, null, asked(other));
    for (let count = 0; count < 5; count++) expect(chosen.pick(servers, null, asked(other))).toBe(first);
    expect(chosen.pick(servers, null, asked())).not.toBe(first);
  });

  it("spreads what has no key", () => {
    const servers = [server("a"), server("b")];
    expect(shares("hash", servers, 100)).toEqual({ a: 50, b: 50 });
  });
});
