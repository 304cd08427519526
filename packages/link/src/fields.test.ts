import { describe, expect, test } from "vitest";
import {
  checkNames,
  isToken,
  NO_CONTENT_LENGTH,
  readStrings,
  textEnd,
  withoutContentLength,
  writeLengths,
  writeText,
} from "./fields.ts";
import type { FastBuffer } from "./frame.ts";

const bytes = Buffer.alloc(64) as FastBuffer;
const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);

test("every character is taken or refused by the same rule at every alignment", () => {
  for (let code = 0; code <= 0x180; code++) {
    const allowed = code === 9 || (code >= 0x20 && code <= 0x7e) || (code >= 0x80 && code <= 0xff);
    for (let at = 4; at < 8; at++) {
      for (let place = 0; place < 11; place++) {
        const text = "a".repeat(place) + String.fromCharCode(code) + "b".repeat(10 - place);
        let refused = false;
        try {
          writeText(bytes, words, at, text);
        } catch {
          refused = true;
        }
        if (refused === allowed) throw new RangeError(`character ${code} at ${place}, alignment ${at}`);
      }
    }
  }
  // The words are a view of the same memory, or the loop above says nothing.
  expect(words[1]).toBe(bytes.readInt32LE(4));
});

test("strings come back as they were, and what does not fit is malformed", () => {
  const strings = ["", "a", "caf\u00e9", "", "x y"];
  const at = writeLengths(bytes, 3, strings);
  bytes.latin1Write(strings.join(""), at);
  const end = at + strings.join("").length;
  expect(readStrings(bytes, 3, end, 5)).toEqual(strings);
  expect(textEnd).toBe(end);
  for (let shorter = 3; shorter < end; shorter++) expect(readStrings(bytes, 3, shorter, 5)).toBeUndefined();
});

describe("names", () => {
  test.each([
    "connection",
    "Connection",
    "keep-alive",
    "proxy-connection",
    "Transfer-Encoding",
    "UPGRADE",
    "http2-settings",
  ])("%s belongs to the connection", (name) => {
    expect(() => checkNames(["a", "b", name, "x"])).toThrow(expect.objectContaining({ code: "connection-field" }));
  });

  test.each(["", "a b", "a:", "a\n", "\u00e9", "a\u0100", "(", "a,b"])("%j is no name", (name) => {
    expect(isToken(name)).toBe(false);
    expect(() => checkNames([name, "x"])).toThrow(expect.objectContaining({ code: "field" }));
  });

  test("a name without a value is refused", () => {
    expect(() => checkNames(["a"])).toThrow(expect.objectContaining({ code: "field" }));
  });
});

describe("Content-Length", () => {
  test.each(["", " 1", "+1", "-1", "1e3", "0x1", "1,1", "1.0", "9999999999999999"])("%j is none", (value) => {
    expect(() => checkNames(["Content-Length", value])).toThrow(expect.objectContaining({ code: "content-length" }));
  });

  test("is found, may be absent, and is not given twice", () => {
    expect(checkNames(["a", "b", "content-LENGTH", "12"])).toBe(12);
    expect(checkNames(["a", "b"])).toBe(NO_CONTENT_LENGTH);
    expect(() => checkNames(["content-length", "1", "Content-Length", "1"])).toThrow(
      expect.objectContaining({ code: "content-length" }),
    );
    expect(withoutContentLength(["a", "b", "Content-Length", "1", "c", "d"])).toEqual(["a", "b", "c", "d"]);
  });
});
