/**
 * What a front takes from a message and what it adds (RFC 9110 §7.6), told once more and apart from the front's code:
 * the rest must arrive as it was sent.
 */
import { expect } from "vitest";
import type { EngineReading } from "./engine.ts";
import { valuesOf } from "./forwarded.ts";
import type { Reading } from "./reading.ts";

/** Of the connection (RFC 9110 §7.6.1), written anew (§7.6.3, RFC 7239), or answered by the front itself. */
const NOT_END_TO_END = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "proxy-authenticate",
  "proxy-authorization",
  "expect",
  "content-length",
  "host",
  "via",
  "forwarded",
  "x-real-ip",
  "x-request-id",
  "max-forwards",
  "date",
]);

/** The fields that no hop may touch, in their order. */
export function endToEnd(fields: readonly string[]): string[] {
  const named = valuesOf(fields, "connection").join(",").toLowerCase().split(",");
  const dropped = new Set(named.map((name) => name.trim()));
  const kept: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at]!.toLowerCase();
    if (NOT_END_TO_END.has(name) || /^x-(forwarded|accel)-/.test(name) || dropped.has(name)) continue;
    kept.push(fields[at]!, fields[at + 1]!);
  }
  return kept;
}

/** The parts of a message that no hop may change. */
export function arrived({ method, target, fields, body }: Reading): object {
  return { method, target, host: valuesOf(fields, "host").join(), fields: endToEnd(fields), body };
}

/** A message as it must arrive behind a front. */
export function unforwarded({ method, target, authority, fields, body }: EngineReading): object {
  // HTTP/1.0 may say none: then the front names the server.
  const host = authority === "" ? expect.any(String) : authority;
  return { method, target, host, fields: endToEnd(fields), body };
}
