import { describe, expect, it } from "vitest";
import { type Verdict, conditionFields, judge, parseHttpDate } from "./conditions.ts";

const DATE = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT";
const AFTER = "Sun, 06 Nov 1994 08:49:38 GMT";
const FILE = { etag: '"abc"', lastModified: DATE, modifiedSeconds: 784_111_777, size: 1000 };

function verdict(fields: Record<string, string>, method = "GET", size = FILE.size): Verdict {
  const list = Object.entries(fields).flat();
  const found = conditionFields(list);
  return found === undefined ? { status: 200 } : judge(found, method, { ...FILE, size });
}

const status = (fields: Record<string, string>, method?: string): number => verdict(fields, method).status;

describe("preconditions, RFC 9110 §13.2.2", () => {
  it("looks at nothing else", () =>
    expect(conditionFields(["Host", "a", "Referer", "b", "Idempotency-Key", "c"])).toBeUndefined());

  it.each([
    [{ "If-Match": '"abc"' }, 200],
    [{ "If-Match": '"x", "abc"' }, 200],
    [{ "If-Match": "*" }, 200],
    [{ "If-Match": '"x"' }, 412],
    [{ "If-Match": 'W/"abc"' }, 412],
    [{ "If-Match": '"abc"', "If-Unmodified-Since": BEFORE }, 200],
    [{ "If-Unmodified-Since": DATE }, 200],
    [{ "If-Unmodified-Since": AFTER }, 200],
    [{ "If-Unmodified-Since": BEFORE }, 412],
    [{ "If-Unmodified-Since": "yesterday" }, 200],
    [{ "If-None-Match": '"abc"' }, 304],
    [{ "If-None-Match": 'W/"abc"' }, 304],
    [{ "If-None-Match": '"a,b", "abc"' }, 304],
    [{ "If-None-Match": "*" }, 304],
    [{ "If-None-Match": '"x"' }, 200],
    [{ "If-None-Match": '"x"', "If-Modified-Since": DATE }, 200],
    [{ "If-Modified-Since": DATE }, 304],
    [{ "If-Modified-Since": AFTER }, 304],
    [{ "If-Modified-Since": BEFORE }, 200],
    [{ "If-Modified-Since": "2030" }, 200],
    [{ "If-Modified-Since": "Sunday, 06-Nov-94 08:49:37 GMT" }, 304],
    [{ "If-Modified-Since": "Sun Nov  6 08:49:37 1994" }, 304],
    [{ "If-Match": '"x"', "If-None-Match": '"abc"' }, 412],
    [{ "If-None-Match": '"abc"', Range: "bytes=0-1" }, 304],
    [{ "IF-NONE-MATCH": '"abc"' }, 304],
  ])("%j gives %i", (fields, expected) => {
    expect(status(fields as Record<string, string>)).toBe(expected);
    expect(status(fields as Record<string, string>, "HEAD")).toBe(expected);
  });

  it("joins repeated lines", () =>
    expect(judge(conditionFields(["If-None-Match", '"x"', "if-none-match", '"abc"'])!, "GET", FILE).status).toBe(304));
});

describe("ranges, RFC 9110 §14", () => {
  it.each([
    ["bytes=0-0", 0, 1],
    ["bytes=0-", 0, 1000],
    ["bytes=990-2000", 990, 1000],
    ["bytes=-1", 999, 1000],
    ["bytes=-5000", 0, 1000],
    ["BYTES=5-9", 5, 10],
    ["bytes= 5-9 ", 5, 10],
    ["bytes=0-999999999999999", 0, 1000],
  ])("%s is %i up to %i", (range, start, end) =>
    expect(verdict({ Range: range })).toEqual({ status: 206, ranges: [{ start, end }] }),
  );

  it.each(["bytes=1000-", "bytes=1000-2000", "bytes=-0"])("%s cannot be satisfied", (range) =>
    expect(status({ Range: range })).toBe(416),
  );

  it.each([
    "bytes=",
    "bytes=-",
    "bytes=5-4",
    "bytes=a-b",
    "lines=0-1",
    "bytes=0x1-2",
    "bytes=1-2-3",
    "bytes=9999999999999999-",
  ])("%s asks for the whole", (range) => expect(status({ Range: range })).toBe(200));

  it.each([
    ["bytes=0-1,500-501", [0, 2, 500, 502]],
    ["bytes=500-501, 0-1", [0, 2, 500, 502]],
    ["bytes=0-1,,500-501 ,", [0, 2, 500, 502]],
    ["bytes=0-9,5-19", [0, 20]],
    ["bytes=0-9,10-19", [0, 20]],
    ["bytes=0-9,100-109", [0, 110]],
    ["bytes=0-9,-10", [0, 10, 990, 1000]],
    ["bytes=0-9,2000-", [0, 10]],
    ["bytes=0-0,0-0,0-0,900-900", [0, 1, 900, 901]],
  ])("%s is several parts, put together where they touch", (range, expected) => {
    const found = verdict({ Range: range });
    if (found.status !== 206) throw new TypeError(`status ${found.status}`);
    expect(found.ranges.flatMap(({ start, end }) => [start, end])).toEqual(expected);
  });

  it.each([
    "bytes=0-499,500-999",
    "bytes=0-,0-,0-",
    "bytes=0-1,x",
    "bytes=0-1,9-8",
    `bytes=${Array.from({ length: 33 }, (_, at) => `${at * 30}-${at * 30}`).join(",")}`,
    `bytes=0-1${" ".repeat(2000)}`,
  ])("%s, of several, is the whole", (range) => expect(status({ Range: range })).toBe(200));

  it("of which none is there cannot be satisfied", () => expect(status({ Range: "bytes=1000-,2000-" })).toBe(416));

  it("a date that is too young to be strong does not hold", () => {
    const now = Math.floor(Date.now() / 1000);
    const file = { ...FILE, lastModified: new Date(now * 1000).toUTCString(), modifiedSeconds: now };
    const fields = conditionFields(["Range", "bytes=0-1", "If-Range", file.lastModified])!;
    expect(judge(fields, "GET", file).status).toBe(200);
  });

  it("counts only where If-Range names this version", () => {
    const ranged = (ifRange: string): number => status({ Range: "bytes=0-1", "If-Range": ifRange });
    expect(ranged('"abc"')).toBe(206);
    expect(ranged(DATE)).toBe(206);
    expect(ranged('W/"abc"')).toBe(200);
    expect(ranged('"x"')).toBe(200);
    expect(ranged(AFTER)).toBe(200);
  });

  it("means nothing for HEAD", () => expect(status({ Range: "bytes=0-1" }, "HEAD")).toBe(200));

  it("of an empty file", () => {
    expect(verdict({ Range: "bytes=0-" }, "GET", 0).status).toBe(416);
    expect(verdict({ Range: "bytes=-5" }, "GET", 0).status).toBe(200);
  });
});

describe("dates", () => {
  it.each([
    "Sun, 06 Nov 1994 08:49:37",
    "Sun, 32 Nov 1994 08:49:37 GMT",
    "Sun, 06 Foo 1994 08:49:37 GMT",
    "1994-11-06",
    "",
    "Sun, 06 Nov 1994 24:00:00 GMT",
  ])("%j is none", (text) => expect(parseHttpDate(text)).toBeUndefined());
});
