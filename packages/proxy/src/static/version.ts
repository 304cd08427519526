/** One version of one file: its validators, its fields and, where it is small, its bytes. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import type { HeaderList } from "@portico/gateway/exchange";
import type { Validators } from "./conditions.ts";
import { cacheControl, contentType } from "./type.ts";

/** What is known of a file on disk: any of it changes when its content does. */
function sameStats(a: Stats, b: Stats): boolean {
  return a.ino === b.ino && a.dev === b.dev && a.size === b.size && a.mtimeMs === b.mtimeMs && a.ctimeMs === b.ctimeMs;
}

export interface FieldRules {
  readonly cacheControl: string | undefined;
  /** Configured fields, for every answer that carries the file. */
  readonly fields: HeaderList;
}

export class FileVersion implements Validators {
  readonly real: string;
  readonly stats: Stats;
  readonly size: number;
  readonly etag: string;
  readonly lastModified: string;
  readonly modifiedSeconds: number;
  /** The whole content; null where the file is too large to keep. */
  readonly body: Buffer | null;
  /** Of 200, without Content-Length, which belongs to the transport. */
  readonly headers: HeaderList;
  /** Of 304 (RFC 9110 §15.4.5). */
  readonly headersNotModified: HeaderList;
  /** {@link coarseClock} time when the file was last looked at on disk. */
  checkedAt: number;

  constructor(real: string, stats: Stats, body: Buffer | null, rules: FieldRules, now: number) {
    this.real = real;
    this.stats = stats;
    this.size = stats.size;
    this.body = body;
    this.etag = body === null ? FileVersion.#tagOfStats(stats) : FileVersion.#tagOfContent(body);
    // A file from the future was modified now, as far as clients are told (RFC 9110 §8.8.2.1).
    this.modifiedSeconds = Math.floor(Math.min(stats.mtimeMs, Date.now()) / 1000);
    this.lastModified = new Date(this.modifiedSeconds * 1000).toUTCString();
    const name = basename(real);
    const cache = cacheControl(rules.cacheControl, name);
    const shared = ["ETag", this.etag, ...(cache === undefined ? [] : ["Cache-Control", cache]), ...rules.fields];
    // Frozen: neither the fields nor the body of a version ever change, so transports may keep what they make of them.
    this.headers = Object.freeze([
      "Content-Type",
      contentType(name),
      "Last-Modified",
      this.lastModified,
      "Accept-Ranges",
      "bytes",
      ...shared,
    ]) as HeaderList;
    this.headersNotModified = shared;
    this.checkedAt = now;
  }

  /** Content-derived: the same on every machine of a deployment. 96 bits are beyond accident. */
  static #tagOfContent(body: Buffer): string {
    return `"${createHash("sha256").update(body).digest("base64url").slice(0, 16)}"`;
  }

  /** Strong as far as the file system keeps time: identity, length and change time to the microsecond. */
  static #tagOfStats(stats: Stats): string {
    return `"${stats.ino.toString(36)}-${stats.size.toString(36)}-${Math.round(stats.mtimeMs * 1000).toString(36)}"`;
  }

  isStill(real: string, stats: Stats): boolean {
    return this.real === real && sameStats(this.stats, stats);
  }
}

/** Reads a whole file of a known length; null where it changed meanwhile. */
export async function readWhole(handle: FileHandle, before: Stats): Promise<Buffer | null> {
  const body = Buffer.allocUnsafeSlow(before.size);
  let filled = 0;
  while (filled < body.length) {
    const { bytesRead } = await handle.read(body, filled, body.length - filled, filled);
    if (bytesRead === 0) return null;
    filled += bytesRead;
  }
  return sameStats(before, await handle.stat()) ? body : null;
}
