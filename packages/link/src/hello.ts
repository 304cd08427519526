/** HELLO and AUTH: who is at the other end, what it takes, and, over TCP, the proof that it may (docs/spec/link.md, sections 4 and 10). */

import { createHmac, timingSafeEqual } from "node:crypto";
import type { HeaderList } from "@portico/gateway/exchange";
import { LinkError } from "./error.ts";

export const LINK_VERSION = "1.0";

/** Shortest secret accepted, bytes: shorter ones can be guessed from one recorded handshake. */
export const MIN_SECRET_BYTES = 16;
const NONCE_BYTES = 32;

export type LinkRole = "proxy" | "worker";

/** What a peer said of itself. */
export interface PeerHello {
  readonly version: string;
  readonly role: LinkRole;
  /** Worker id, generation, and how many workers its server has; 0 from a proxy. */
  readonly worker: number;
  readonly generation: number;
  readonly workers: number;
  /** Streams it takes at once; 0 from a proxy. */
  readonly concurrency: number;
  /** Longest frame payload it accepts, bytes. */
  readonly maxFrame: number;
  /** Body bytes it accepts per stream before its first WINDOW. */
  readonly window: number;
  readonly capabilities: readonly string[];
  /** Challenge, hexadecimal; empty where it asks for no proof. */
  readonly nonce: string;
}

export function helloFields(hello: PeerHello): HeaderList {
  return [
    "version",
    hello.version,
    "role",
    hello.role,
    "worker",
    String(hello.worker),
    "generation",
    String(hello.generation),
    "workers",
    String(hello.workers),
    "concurrency",
    String(hello.concurrency),
    "max-frame",
    String(hello.maxFrame),
    "window",
    String(hello.window),
    "capabilities",
    hello.capabilities.join(","),
    "nonce",
    hello.nonce,
  ];
}

/** A HELLO from its fields; unknown ones are ignored. Throws LinkError `protocol` or `version`. */
export function parseHello(fields: HeaderList, expected: LinkRole): PeerHello {
  const values = new Map<string, string>();
  for (let index = 0; index < fields.length; index += 2) {
    if (values.has(fields[index]!)) throw new LinkError("protocol", `HELLO says ${fields[index]!} twice`);
    values.set(fields[index]!, fields[index + 1]!);
  }
  const version = values.get("version") ?? "";
  if (!/^1\.[0-9]{1,4}$/.test(version)) {
    throw new LinkError("version", `the peer speaks link ${JSON.stringify(version)}, not ${LINK_VERSION}`);
  }
  if (values.get("role") !== expected) throw new LinkError("protocol", `the peer of this link is not a ${expected}`);
  const nonce = values.get("nonce") ?? "";
  if (nonce !== "" && !/^[0-9a-f]{64}$/.test(nonce))
    throw new LinkError("protocol", "the nonce is not 64 hexadecimal digits");
  const capabilities = values.get("capabilities") ?? "";
  return {
    version,
    role: expected,
    worker: integer(values, "worker", 0, 0xffff_ffff, 0),
    generation: integer(values, "generation", 0, 0xffff_ffff, 0),
    workers: integer(values, "workers", 0, 0xffff, 0),
    concurrency: integer(values, "concurrency", expected === "worker" ? 1 : 0, 0xffff_ffff, 0),
    maxFrame: integer(values, "max-frame", 16_384, 0xff_ffff, undefined),
    window: integer(values, "window", 16_384, 0x7fff_ffff, undefined),
    capabilities: capabilities === "" ? [] : capabilities.split(","),
    nonce,
  };
}

function integer(
  values: Map<string, string>,
  name: string,
  low: number,
  high: number,
  absent: number | undefined,
): number {
  const text = values.get(name);
  if (text === undefined && absent !== undefined && absent >= low) return absent;
  if (text !== undefined && /^[0-9]{1,10}$/.test(text)) {
    const value = Number(text);
    if (value >= low && value <= high) return value;
  }
  throw new LinkError("protocol", `HELLO's ${name} is missing or out of its range`);
}

/** A fresh challenge. `random` gives unpredictable bytes. */
export function makeNonce(random: (size: number) => Uint8Array): string {
  return Buffer.from(random(NONCE_BYTES)).toString("hex");
}

/** Checks a secret's length; throws LinkError `option`. */
export function secretBytes(secret: string | Uint8Array): Uint8Array {
  const bytes = typeof secret === "string" ? Buffer.from(secret, "utf8") : secret;
  if (bytes.length < MIN_SECRET_BYTES)
    throw new LinkError("option", `a link secret has at least ${MIN_SECRET_BYTES} bytes`);
  return bytes;
}

/**
 * The proof of `role`: HMAC-SHA-256 under the secret of the role and of both HELLO payloads, the proxy's first. Each
 * contains its sender's challenge, so no proof can be replayed, reflected, or moved to other limits.
 */
export function proof(secret: Uint8Array, role: LinkRole, proxyHello: Uint8Array, workerHello: Uint8Array): string {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(proxyHello.length);
  return createHmac("sha256", secret)
    .update(`portico-link/1 ${role}\n`)
    .update(length)
    .update(proxyHello)
    .update(workerHello)
    .digest("hex");
}

/** Compares proofs in constant time. */
export function sameProof(given: string, expected: string): boolean {
  const a = Buffer.from(given, "latin1");
  const b = Buffer.from(expected, "latin1");
  return a.length === b.length && timingSafeEqual(a, b);
}
