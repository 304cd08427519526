import { describe, expect, it } from "vitest";
import { createPolicy, type Candidate } from "./balance.ts";

interface Server extends Candidate {
  name: string;
  busy: number;
  ejected: boolean;
}

function server(name: string, weight = 1): Server {
  const self: Server = {
    name,
    weight,
    busy: 0,
    ejected: false,
    turn: 0,
    transport: { load: () => (self.busy === Infinity ? Infinity : self.busy + 1) },
  };
  return self;
}

describe("least-connections", () => {
  it("takes the one with the fewest under way for its weight", () => {
    const policy = createPolicy("least-connections");
    const [a, b] = [server("a"), server("b", 4)];
    a.busy = 1;
    b.busy = 6;
    expect(policy.pick([a, b], null)).toBe(b);
    b.busy = 8;
    expect(policy.pick([a, b], null)).toBe(a);
  });

  it("spreads over equals", () => {
    const policy = createPolicy("least-connections");
    const servers = [server("a"), server("b"), server("c")];
    const picked = Array.from({ length: 9 }, () => policy.pick(servers, null)!.name);
    for (const name of ["a", "b", "c"]) expect(picked.filter((one) => one === name)).toHaveLength(3);
  });

  it("leaves out ejected, avoided and full ones", () => {
    const policy = createPolicy("least-connections");
    const [a, b, c, d] = [server("a"), server("b"), server("c"), server("d")];
    a.ejected = true;
    b.busy = Infinity;
    expect(policy.pick([a, b, c, d], [c])).toBe(d);
    expect(policy.pick([a, b], null)).toBeNull();
    expect(policy.pick([], null)).toBeNull();
  });
});

describe("round-robin", () => {
  it("is smooth: 5, 1, 1 never gives the heavy one five in a row", () => {
    const policy = createPolicy("round-robin");
    const servers = [server("a", 5), server("b"), server("c")];
    const picked = Array.from({ length: 7 }, () => policy.pick(servers, null)!.name).join("");
    expect(picked).toBe("aabacaa");
  });

  it("shares by weight over a long run", () => {
    const policy = createPolicy("round-robin");
    const servers = [server("a", 3), server("b", 1)];
    const picked = Array.from({ length: 400 }, () => policy.pick(servers, null)!.name);
    expect(picked.filter((one) => one === "a")).toHaveLength(300);
  });
});
