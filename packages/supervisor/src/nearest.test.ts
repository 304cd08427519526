import { expect, test } from "vitest";
import { nearest, suggestion } from "./nearest.ts";

const settings = ["root", "hosts", "proxy", "listen", "gracefulTimeout", "timeout", "bind", "backlog"];

test.each([
  ["rooot", "root"],
  ["HOSTS", "hosts"],
  ["pxoy", "proxy"],
  ["lsiten", "listen"],
  ["graceful-timout", "gracefulTimeout"],
  ["graceful_timeout", "gracefulTimeout"],
  ["bnid", "bind"],
  ["banana", undefined],
  ["xyzzy", undefined],
  ["x", undefined],
])("%s means %s", (name, meant) => expect(nearest(name, settings)).toBe(meant));

test("the suggestion is a clause, or nothing", () => {
  expect(suggestion("bnid", settings)).toBe(' (did you mean "bind"?)');
  expect(suggestion("xyzzy", settings)).toBe("");
});
