import { expect, test } from "vitest";
import { trustTest } from "./trust.ts";

test("loopback and unix by default, nobody else", () => {
  const trusted = trustTest(["127.0.0.0/8", "::1", "unix"]);
  for (const peer of ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "", "/run/x.sock"])
    expect([peer, trusted(peer)]).toEqual([peer, true]);
  for (const peer of ["10.0.0.1", "::2", "128.0.0.1"]) expect([peer, trusted(peer)]).toEqual([peer, false]);
});

test("star trusts all, an empty list none", () => {
  expect(trustTest(["*"])("9.9.9.9")).toBe(true);
  expect(trustTest([])("127.0.0.1")).toBe(false);
  expect(trustTest(["127.0.0.1"])("")).toBe(false);
});

test.each(["10.0.0.0/33", "localhost", "1.2.3", "10.0.0.0/", "::1/129", "10.0.0.0/8/8", ""])("refuses %j", (entry) => {
  expect(() => trustTest([entry])).toThrow("is not an address");
});
