import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { readable } from "./log.ts";

const line = (fields: object): string =>
  stripVTControlCharacters(
    readable(
      JSON.stringify({ level: "info", time: "2026-11-21T09:10:11.123Z", name: "portico-server", pid: 1, ...fields }),
    ),
  );

test("a line for people: time, who, message, fields", () => {
  expect(line({ msg: "ready on x", addresses: ["x"] })).toBe("09:10:11 portico-server: ready on x\n");
  expect(line({ worker: 2, level: "warn", msg: "slow", colour: "green", n: 3 })).toBe(
    "09:10:11 portico-server[2]: warn slow colour=green n=3\n",
  );
});

test("stacks stand beneath", () => {
  expect(line({ level: "error", msg: "failed", err: { stack: "Error: a\n    at b" } })).toBe(
    "09:10:11 portico-server: error failed\n    Error: a\n        at b\n",
  );
});

test("what is no JSON passes as it is", () => {
  expect(readable("plain\n")).toBe("plain\n");
});
