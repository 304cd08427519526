import { Buffer } from "node:buffer";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MALFORMED, MORE, readProxyHeader } from "./proxy-protocol.ts";

const line = (text: string): Buffer => Buffer.from(text, "latin1");
const SIGNATURE = "0d0a0d0a000d0a515549540a";
const block = (hex: string): Buffer => Buffer.from(SIGNATURE + hex.replaceAll(" ", ""), "hex");
const ends = (address: string, port: number): object => ({ address, port });

describe("version 1", () => {
  it.each([
    [
      "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
      { source: ends("192.0.2.1", 56324), destination: ends("198.51.100.1", 443) },
    ],
    ["PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", { source: ends("2001:db8::1", 1), destination: ends("::1", 65535) }],
    ["PROXY UNKNOWN\r\n", { source: undefined, destination: undefined }],
    ["PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", { source: undefined, destination: undefined }],
  ])("%j", (text, expected) => {
    expect(readProxyHeader(line(`${text}GET / HTTP/1.1\r\n`))).toEqual({ length: text.length, ...expected });
  });

  it.each([
    "GET / HTTP/1.1\r\n",
    "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    "PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
    "PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n",
    "PROXY TCP4 ::1 ::1 1 2\r\n",
    "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n",
    "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
    "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\nGET",
    `PROXY UNKNOWN ${"x".repeat(107)}`,
  ])("refuses %j", (text) => expect(readProxyHeader(line(text))).toBe(MALFORMED));
});

describe("version 2", () => {
  it("IPv4, and what is added to it", () => {
    const bytes = block("21 11 0010 c0000201 c6336401 dc04 01bb 0400 01 00 474554");
    expect(readProxyHeader(bytes)).toEqual({
      length: 32,
      source: ends("192.0.2.1", 56324),
      destination: ends("198.51.100.1", 443),
    });
  });

  it.each([
    ["20010db8000000000000000000000001", "2001:db8::1"],
    ["00000000000000000000000000000000", "::"],
    ["00000000000000000000000000000001", "::1"],
    ["00010000000000020000000000000003", "1:0:0:2::3"],
    ["00010000000200000003000000040005", "1:0:2:0:3:0:4:5"],
    ["00010002000300040005000600000000", "1:2:3:4:5:6::"],
    ["00000000000000000000ffffc0000201", "192.0.2.1"],
  ])("IPv6 %s is %s", (hex, address) => {
    const bytes = block(`21 21 0024 ${hex} ${hex} 0001 0002`);
    expect(readProxyHeader(bytes)).toMatchObject({ source: ends(address, 1), destination: ends(address, 2) });
  });

  it.each([
    ["a health check of the balancer's own", "20 00 0000"],
    ["a family it does not say", "21 00 0004 00000000"],
    ["unix", `21 31 00d8 ${"00".repeat(216)}`],
  ])("%s leaves the socket's addresses", (_name, hex) => {
    const bytes = block(hex);
    expect(readProxyHeader(bytes)).toEqual({ length: bytes.length, source: undefined, destination: undefined });
  });

  it.each([
    ["another version", "31 11 000c 00"],
    ["another command", "22 11 000c 00"],
    ["another family", "21 41 000c 00"],
    ["addresses that do not fit", "21 11 000b 0000000000000000000000"],
    ["more than 4 KiB", "21 11 1001 00"],
  ])("refuses %s", (_name, hex) => expect(readProxyHeader(block(hex))).toBe(MALFORMED));
});

describe("in parts", () => {
  const whole = [
    line("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"),
    line("PROXY UNKNOWN\r\n"),
    block("21 11 000f c0000201 c6336401 dc04 01bb 040000"),
    block("20 00 0000"),
  ];
  it("asks for more until it is whole, and never takes a part for the whole", () => {
    for (const bytes of whole) {
      for (let length = 0; length < bytes.length; length++)
        expect(readProxyHeader(bytes.subarray(0, length))).toBe(MORE);
      expect(readProxyHeader(bytes)).toMatchObject({ length: bytes.length });
    }
  });

  it("has an answer for anything, and the same once it is malformed", () => {
    const signed = fc.uint8Array({ maxLength: 60 }).map((rest) => Buffer.concat([Buffer.from(SIGNATURE, "hex"), rest]));
    const worded = fc.string({ maxLength: 120 }).map((rest) => line(`PROXY ${rest}`));
    const anything = fc.oneof(fc.uint8Array({ maxLength: 200 }), signed, worded);
    fc.assert(
      fc.property(anything, fc.uint8Array({ maxLength: 50 }), (bytes, rest) => {
        const answer = readProxyHeader(bytes);
        const longer = readProxyHeader(Buffer.concat([bytes, rest]));
        if (answer === MALFORMED) expect(longer).toBe(MALFORMED);
        else if (answer !== MORE) expect(longer).toEqual(answer);
      }),
      { numRuns: 2000 },
    );
  });
});
