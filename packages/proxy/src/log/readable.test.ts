import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { createErrorLog } from "./error-log.ts";
import { readable } from "./readable.ts";

function written(tell: (log: ReturnType<typeof createErrorLog>) => void): string {
  let lines = "";
  tell(createErrorLog({ access: "off", error: "stderr", level: "info" }, { thread: 1 }, (line) => (lines += line)));
  return stripVTControlCharacters(readable(lines)).replaceAll(/^\d\d:\d\d:\d\d /gm, "");
}

test("one line a line: level, message, facts", () => {
  const text = written((log) => {
    log.info({}, "configuration reloaded");
    log.error({ method: "GET", attempts: 2, reason: "the connection was lost" }, "request failed");
  });
  expect(text).toBe(
    "proxy: configuration reloaded\nproxy: error request failed method=GET attempts=2 reason=the connection was lost\n",
  );
});

test("an error's stack stands beneath", () => {
  const text = written((log) => log.error({ err: new RangeError("too far") }, "accepting connections failed"));
  expect(text).toMatch(
    /^proxy: error accepting connections failed\n {4}RangeError: too far\n {8}at .*readable\.test\.ts/,
  );
});

test("what is no JSON stays as it is", () => {
  expect(readable("plain words\n")).toBe("plain words\n");
});

test("the message is where pino and the server have it", () => {
  let lines = "";
  createErrorLog({ access: "off", error: "stderr", level: "info" }, {}, (line) => (lines += line)).info({}, "reloaded");
  expect(JSON.parse(lines)).toMatchObject({ level: "info", msg: "reloaded" });
});
