import { afterEach, expect, test, vi } from "vitest";
import { consoleLogger } from "./log.ts";

afterEach(() => void vi.restoreAllMocks());

test("one JSON object a line, the message under msg", () => {
  const lines: string[] = [];
  vi.spyOn(console, "error").mockImplementation((line: string) => void lines.push(line));
  const log = consoleLogger({ worker: 1 }).child({ id: "r" });
  log.error("plain");
  log.error({ err: new TypeError("no such user") }, "failed");
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    { level: "error", time: expect.any(Number), worker: 1, id: "r", msg: "plain" },
    {
      level: "error",
      time: expect.any(Number),
      worker: 1,
      id: "r",
      err: { name: "TypeError", message: "no such user", stack: expect.any(String) },
      msg: "failed",
    },
  ]);
});
