import { describe, expect, it } from "vitest";
import { compileTrust } from "./trust.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "./units.ts";

describe("durations and sizes", () => {
  it.each([
    ["250ms", 250],
    ["1.5s", 1500],
    ["2m", 120_000],
    ["1h", 3_600_000],
    ["1d", 86_400_000],
  ])("%s is %i ms", (text, ms) => expect(parseDuration(text)).toBe(ms));
  it.each([
    ["1B", 1],
    ["1kB", 1000],
    ["1KiB", 1024],
    ["1.5MiB", 1_572_864],
    ["2GB", 2_000_000_000],
    ["1TiB", 1024 ** 4],
  ])("%s is %i bytes", (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it("are written as they can be read again", () => {
    for (const ms of [0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000, 86_400_000])
      expect(parseDuration(formatDuration(ms))).toBe(ms);
    for (const bytes of [0, 1, 1000, 1024, 1536, 10 * 1024 ** 2, 10 ** 9])
      expect(parseSize(formatSize(bytes))).toBe(bytes);
    expect([formatDuration(90_000), formatSize(10 * 1024 ** 2)]).toEqual(["90s", "10MiB"]);
  });
});

describe("trust", () => {
  it("is nobody's by default", () => expect(compileTrust([])("127.0.0.1")).toBe(false));

  it.each([
    [["loopback"], "127.0.0.1", true],
    [["loopback"], "::1", true],
    [["loopback"], "::ffff:127.0.0.1", true],
    [["loopback"], "10.0.0.1", false],
    [["private"], "172.31.255.255", true],
    [["private"], "172.32.0.0", false],
    [["192.0.2.0/24"], "192.0.2.77", true],
    [["192.0.2.0/24"], "::ffff:192.0.2.77", true],
    [["2001:db8::/32"], "2001:db8::1", true],
    [["192.0.2.1"], "192.0.2.2", false],
    [["unix"], "unix:", true],
    [["loopback"], "unix:", false],
    [["unix"], "127.0.0.1", false],
  ])("%j for %s is %s", (trusted, peer, expected) => expect(compileTrust(trusted)(peer)).toBe(expected));
});
