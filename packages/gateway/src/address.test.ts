import * as net from "node:net";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { isIPv4, isIPv6, plainAddress } from "./address.ts";

const pieces = fc
  .array(
    fc.constantFrom("::", ":", "1", "0", "ffff", "12345", "g", "192.0.2.1", "256.1.1.1", ".", "1.2", "00", "01", "AbC"),
    { maxLength: 16 },
  )
  .map((parts) => parts.join(""));
const groups = fc
  .array(fc.stringMatching(/^[0-9a-fA-F]{1,4}$/), { minLength: 1, maxLength: 9 })
  .map((parts) => parts.join(":"));
const candidate = fc.oneof(
  pieces,
  groups,
  fc.ipV6(),
  fc.ipV4(),
  fc.tuple(groups, groups).map(([one, other]) => `${one}::${other}`),
);

test("the same answers as node:net", () => {
  const property = fc.property(candidate, (text) => {
    expect(isIPv4(text), text).toBe(net.isIPv4(text));
    expect(isIPv6(text), text).toBe(net.isIPv6(text));
  });
  fc.assert(property, { numRuns: 5000 });
});

test.each(["::", "::1", "1::", "1:2:3:4:5:6:7:8", "::ffff:192.0.2.1", "1:2:3:4:5:6:192.0.2.1", "1::192.0.2.1"])(
  "IPv6: %s",
  (text) => {
    expect(isIPv6(text)).toBe(true);
  },
);

test.each([
  "",
  ":",
  ":::",
  "1",
  "1:2:3:4:5:6:7",
  "1:2:3:4:5:6:7:8:9",
  "1::2::3",
  "12345::",
  "::192.0.2",
  "fe80::1%eth0",
  "1:2:3:4:5:6:7:8::",
  "192.0.2.1::",
])("not IPv6: %j", (text) => {
  expect(isIPv6(text)).toBe(false);
});

test.each([
  ["::ffff:127.0.0.1", "127.0.0.1"],
  ["::FFFF:192.0.2.1", "192.0.2.1"],
  ["::ffff:1:2", "::ffff:1:2"],
  ["::ffff:127.0.0.1.evil", "::ffff:127.0.0.1.evil"],
  ["::1", "::1"],
  ["127.0.0.1", "127.0.0.1"],
  ["unix:", "unix:"],
  ["", ""],
])("%j is plainly %j", (address, plain) => {
  expect(plainAddress(address)).toBe(plain);
});
