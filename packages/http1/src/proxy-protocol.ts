/**
 * The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): the line or block that a load balancer puts in
 * front of a connection to say who the client is.
 *
 * Takes all bytes of the connection so far and gives one of three answers: the header and where it ends, *need more*,
 * or *malformed*; then the connection must be closed (§2.2: nothing may be guessed). What a header says is to be
 * believed from trusted peers only; for all others it must not be looked for.
 */
import { Buffer } from "node:buffer";
import type { Endpoint } from "@portico/gateway/exchange";
import { isIPv4, isIPv6, plainAddress } from "@portico/gateway/address";

export interface ProxyHeader {
  /** Bytes of the header; the connection's own begin after it. */
  readonly length: number;
  /** Who connected to the balancer; undefined: the header does not say (`UNKNOWN`, `LOCAL`, a family without addresses), and the socket's own addresses stand. */
  readonly source: Endpoint | undefined;
  readonly destination: Endpoint | undefined;
}

/** The bytes so far are the beginning of a header. */
export const MORE = "more";
/** They are not, whatever follows. */
export const MALFORMED = "malformed";

/** §2.1: the longest line of version 1, with its CRLF. */
const LONGEST_LINE = 107;
/** §2.2: begins version 2. */
const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const FIXED_BYTES = 16;
/** Addresses and additions of version 2: balancers send some hundred bytes (a TLS certificate's name); 64 KiB would be allowed. */
const LONGEST_BLOCK = 4096;
const LINE = /^PROXY (TCP4|TCP6) (\S+) (\S+) (\d{1,5}) (\d{1,5})$/;
const UNKNOWN = /^PROXY UNKNOWN(?: .*)?$/;
const HIGHEST_PORT = 65_535;

const NOTHING = { source: undefined, destination: undefined };

/** @param bytes of the connection, from its first */
export function readProxyHeader(bytes: Uint8Array): ProxyHeader | typeof MORE | typeof MALFORMED {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const first = Math.min(bytes.length, SIGNATURE.length);
  if (buffer.subarray(0, first).equals(SIGNATURE.subarray(0, first)))
    return bytes.length < FIXED_BYTES ? MORE : readBlock(buffer);
  return readLine(buffer);
}

function readLine(buffer: Buffer): ProxyHeader | typeof MORE | typeof MALFORMED {
  const text = buffer.toString("latin1", 0, Math.min(buffer.length, LONGEST_LINE));
  const end = text.indexOf("\r\n");
  if (end === -1) {
    const begins = "PROXY ".startsWith(text.slice(0, 6));
    return begins && text.length < LONGEST_LINE && !text.includes("\n") ? MORE : MALFORMED;
  }
  const line = text.slice(0, end);
  const length = end + 2;
  if (UNKNOWN.test(line)) return { length, ...NOTHING };
  const match = LINE.exec(line);
  if (match === null) return MALFORMED;
  const [, family, from, to, fromPort, toPort] = match as unknown as [string, string, string, string, string, string];
  const valid = family === "TCP4" ? isIPv4 : isIPv6;
  if (!valid(from) || !valid(to) || Number(fromPort) > HIGHEST_PORT || Number(toPort) > HIGHEST_PORT) return MALFORMED;
  return { length, source: endpoint(from, Number(fromPort)), destination: endpoint(to, Number(toPort)) };
}

function endpoint(address: string, port: number): Endpoint {
  return { address: plainAddress(address), port };
}

const LOCAL = 0x20;
const PROXY = 0x21;
/** Bytes of both addresses and ports, by address family (the upper half of the 14th byte). */
const ADDRESS_BYTES: Readonly<Record<number, number>> = { 1: 12, 2: 36, 3: 216 };

function readBlock(buffer: Buffer): ProxyHeader | typeof MORE | typeof MALFORMED {
  const command = buffer[12]!;
  const family = buffer[13]! >> 4;
  const transport = buffer[13]! & 0x0f;
  const size = buffer.readUInt16BE(14);
  if ((command !== LOCAL && command !== PROXY) || family > 3 || transport > 2 || size > LONGEST_BLOCK) return MALFORMED;
  const length = FIXED_BYTES + size;
  if (buffer.length < length) return MORE;
  if (command === LOCAL || family === 0 || transport === 0) return { length, ...NOTHING };
  if (size < ADDRESS_BYTES[family]!) return MALFORMED;
  const block = buffer.subarray(FIXED_BYTES, length);
  if (family === 1) return { length, ...pair(block, 4, (bytes) => bytes.join(".")) };
  if (family === 2) return { length, ...pair(block, 16, ipv6) };
  // A unix socket has no address that anyone could use.
  return { length, ...NOTHING };
}

function pair(
  block: Buffer,
  width: number,
  write: (bytes: Buffer) => string,
): { source: Endpoint; destination: Endpoint } {
  const ports = 2 * width;
  return {
    source: endpoint(write(block.subarray(0, width)), block.readUInt16BE(ports)),
    destination: endpoint(write(block.subarray(width, ports)), block.readUInt16BE(ports + 2)),
  };
}

/** RFC 5952: the longest run of zero groups is `::`. */
function ipv6(bytes: Buffer): string {
  const mapped = bytes.subarray(0, 12).equals(Buffer.from("00000000000000000000ffff", "hex"));
  if (mapped) return `::ffff:${bytes.subarray(12).join(".")}`;
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16));
  const runs = [...groups.join(":").matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)];
  const longest = runs.reduce((best, run) => (run[0].length > best.length ? run[0] : best), "");
  if (longest === "") return groups.join(":");
  const text = groups.join(":");
  const at = text.indexOf(longest);
  return `${text.slice(0, at)}::${text.slice(at + longest.length).replace(/^:/, "")}`;
}
