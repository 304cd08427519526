/** One version of one file: its validators, its fields and, where it is small, its bytes. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import type { HeaderList } from "@portico/gateway/exchange";
import type { Validators } from "./conditions.ts";
import type { Coding } from "./encoding.ts";
import { type CacheControl, cacheControlOf, contentType } from "./type.ts";

/** What is known of a file on disk: any of it changes when its content does. */
function sameStats(a: Stats, b: Stats): boolean {
  return a.ino === b.ino && a.dev === b.dev && a.size === b.size && a.mtimeMs === b.mtimeMs && a.ctimeMs === b.ctimeMs;
}

export interface FieldRules {
  readonly cacheControl: CacheControl | undefined;
  /** Configured fields, for every answer that carries the file. */
  readonly fields: HeaderList;
  /** Whether files may lie there in other codings: then every answer varies by Accept-Encoding. */
  readonly varies: boolean;
}

/** What a file that is the encoded form of another stands for. */
export interface Encoded {
  readonly coding: Coding;
  /** Name of the other. */
  readonly of: string;
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
  /** The same content in other codings, in the order of preference; each with validators of its own (RFC 9110 §8.8.3.3). */
  variants: readonly FileVersion[] = [];
  readonly encoded: Encoded | undefined;
  /** Below the root, as it was looked up. */
  readonly path: string;
  /** Media type. */
  readonly type: string;
  /** {@link coarseClock} time when the file was last looked at on disk. */
  checkedAt: number;

  constructor(
    real: string,
    path: string,
    stats: Stats,
    body: Buffer | null,
    rules: FieldRules,
    now: number,
    encoded?: Encoded,
  ) {
    this.encoded = encoded;
    this.path = path;
    this.real = real;
    this.stats = stats;
    this.size = stats.size;
    this.body = body;
    this.etag = body === null ? FileVersion.#tagOfStats(stats) : FileVersion.#tagOfContent(body);
    // A file from the future was modified now, as far as clients are told (RFC 9110 §8.8.2.1).
    this.modifiedSeconds = Math.floor(Math.min(stats.mtimeMs, Date.now()) / 1000);
    this.lastModified = new Date(this.modifiedSeconds * 1000).toUTCString();
    // A link's target may have another name; what an encoded file contains is said by the name of the other.
    const name = encoded?.of ?? basename(real);
    const cache = cacheControlOf(rules.cacheControl, path, name);
    const shared = ["ETag", this.etag, ...(cache === undefined ? [] : ["Cache-Control", cache])];
    if (rules.varies) shared.push("Vary", "Accept-Encoding");
    shared.push(...rules.fields);
    const coding = encoded === undefined ? [] : ["Content-Encoding", encoded.coding];
    this.type = contentType(name);
    // Frozen: neither the fields nor the body of a version ever change, so transports may keep what they make of them.
    this.headers = Object.freeze([
      "Content-Type",
      this.type,
      ...coding,
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

  /** Bytes in memory, those of the variants included. */
  get keptBytes(): number {
    return this.variants.reduce((sum, { body }) => sum + (body?.length ?? 0), this.body?.length ?? 0);
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
