/**
 * Serves files: the handler of `static` routes.
 *
 * The usual request, a small file that is kept, never leaves this turn of the event loop: one map lookup, one look for
 * conditional fields, one `respond` with a field list and a buffer made beforehand. Everything else goes through
 * {@link StaticFiles.#resolve}, once for all who ask for the same path meanwhile.
 */
import { basename } from "node:path";
import { LRUCache } from "lru-cache";
import type { Exchange, HeaderList } from "@portico/gateway/exchange";
import { preferred } from "../answer/error-text.ts";
import { respondError } from "../answer/error.ts";
import { fieldList, fieldValue } from "../answer/fields.ts";
import { coarseClock } from "../clock.ts";
import type { StaticSettings } from "../config/schema.ts";
import type { ProxyLog } from "../deps.ts";
import { queryOf } from "../router/path.ts";
import { type Route, type RouteHandler, type Unmatched, passOn } from "../router/route.ts";
import type { FileCache } from "./cache.ts";
import { conditionFields, judge } from "./conditions.ts";
import { SUFFIXES, chooseCoding } from "./encoding.ts";
import { listDirectory } from "./listing.ts";
import { type Located, type LocateRules, failure, locate, openRegular } from "./locate.ts";
import { type Segment, contentRange, joinSegments, multipart, withType } from "./multipart.ts";
import type { ByteRange } from "./ranges.ts";
import { FileStream } from "./stream.ts";
import { type Encoded, type FieldRules, FileVersion, readWhole } from "./version.ts";

const ALLOW = "GET, HEAD";

// Paths that are remembered to have no file, for each route and thread: about a megabyte at the most.
const ABSENT_PATHS = 10_000;

/** What a path turned out to be: a version of a file, or a status. */
type Resolution = FileVersion | { readonly status: 403 | 404 | 503 } | "directory";

const STATUS_OF: Readonly<Record<"absent" | "unlisted" | "forbidden" | "busy", { readonly status: 403 | 404 | 503 }>> =
  {
    absent: { status: 404 },
    unlisted: { status: 403 },
    forbidden: { status: 403 },
    busy: { status: 503 },
  };

/** One try of `tryFiles`. */
type Try = { readonly before: string; readonly after: string; readonly path: boolean } | { readonly status: number };

function parseTry(text: string): Try {
  if (text.startsWith("=")) return { status: Number(text.slice(1)) };
  const at = text.indexOf("$path");
  return at === -1
    ? { before: text, after: "", path: false }
    : { before: text.slice(0, at), after: text.slice(at + 5), path: true };
}

/** What serving files needs of the thread. */
export interface StaticDeps {
  readonly log: ProxyLog;
  readonly files: FileCache;
  /** How long a kept file is believed, milliseconds. */
  readonly checkMs: number;
  readonly unmatched: Unmatched;
}

class StaticFiles {
  readonly #settings: StaticSettings;
  readonly #deps: StaticDeps;
  readonly #rules: LocateRules;
  readonly #fields: FieldRules;
  readonly #tries: readonly Try[];
  /** Length of what is removed from the front of a path, so that a slash stays. */
  readonly #strip: number;
  readonly #kept = new Map<string, FileVersion>();
  readonly #pending = new Map<string, Promise<Resolution | number>>();
  /**
   * With `fallthrough`: paths without a file, and when that was seen, so that what the next route answers does not cost
   * a look at the disk each time.
   */
  readonly #absent: LRUCache<string, number> | undefined;

  constructor(settings: StaticSettings, routePath: string, deps: StaticDeps) {
    this.#settings = settings;
    this.#deps = deps;
    this.#rules = {
      root: settings.root.replace(/\/+$/, ""),
      index: settings.index,
      dotfiles: settings.dotfiles,
      symlinks: settings.symlinks,
    };
    this.#fields = {
      cacheControl: settings.cacheControl,
      fields: fieldList(settings.headers),
      varies: settings.precompressed.length > 0,
    };
    this.#tries = settings.tryFiles.map(parseTry);
    this.#absent = settings.fallthrough ? new LRUCache({ max: ABSENT_PATHS }) : undefined;
    this.#strip = settings.stripPrefix && routePath.endsWith("/*") ? routePath.length - 2 : 0;
  }

  /** HOT up to the first `return`: no promise, no closure, nothing allocated but what `respond` takes. */
  handle(exchange: Exchange, path: string, match: readonly Route[], position: number): void {
    const method = exchange.head.method;
    if (method === "GET" || method === "HEAD") {
      const version = this.#kept.get(path);
      if (version !== undefined && coarseClock.now - version.checkedAt < this.#deps.checkMs) {
        this.#answerKept(exchange, version);
        return;
      }
      if (this.#absent !== undefined && this.#isAbsent(path)) {
        passOn(exchange, path, match, position + 1, this.#deps.unmatched);
        return;
      }
      this.#lookUp(exchange, path, match, position);
      return;
    }
    if (this.#settings.fallthrough) passOn(exchange, path, match, position + 1, this.#deps.unmatched);
    else respondError(exchange, 405, undefined, ["Allow", ALLOW]);
  }

  #isAbsent(path: string): boolean {
    const checkedAt = this.#absent!.get(path);
    return checkedAt !== undefined && coarseClock.now - checkedAt < this.#deps.checkMs;
  }

  /** HOT for files without variants and requests without conditions. */
  #answerKept(exchange: Exchange, identity: FileVersion): void {
    const version = identity.variants.length === 0 ? identity : variantFor(exchange, identity);
    const { body } = version;
    if (body === null) {
      this.#stream(exchange, version);
      return;
    }
    const fields = conditionFields(exchange.head.headers);
    if (fields === undefined) {
      exchange.respond(200, version.headers, body);
      return;
    }
    const verdict = judge(fields, exchange.head.method, version);
    if (verdict.status === 200) exchange.respond(200, version.headers, body);
    else if (verdict.status === 206) respondParts(exchange, version, verdict.ranges, body);
    else answerCondition(exchange, version, verdict.status);
  }

  /** Sends a file that is not in memory. */
  #stream(exchange: Exchange, version: FileVersion): void {
    this.#answerLarge(exchange, version).catch((error: unknown) => this.#failed(exchange, version.real, error));
  }

  #failed(exchange: Exchange, path: string, error: unknown): void {
    this.#deps.log.error({ err: error, id: exchange.facts.id, path }, "serving a file failed");
    respondError(exchange, 500);
  }

  #lookUp(exchange: Exchange, path: string, match: readonly Route[], position: number): void {
    let pending = this.#pending.get(path);
    if (pending === undefined) {
      pending = this.#resolve(path).finally(() => this.#pending.delete(path));
      this.#pending.set(path, pending);
    }
    pending
      .then((resolution) => this.#answer(exchange, path, match, position, resolution))
      .catch((error: unknown) => this.#failed(exchange, path, error));
  }

  async #answer(
    exchange: Exchange,
    path: string,
    match: readonly Route[],
    position: number,
    resolution: Resolution | number,
  ): Promise<void> {
    if (exchange.ended) return;
    if (this.#absent !== undefined && (await this.#isNoFile(path, resolution))) {
      this.#absent.set(path, coarseClock.now);
      passOn(exchange, path, match, position + 1, this.#deps.unmatched);
    } else if (resolution === "directory") {
      // `path` has no repeated slashes, so this can never name another host.
      exchange.respond(308, ["Location", `${asTarget(path)}/${queryOf(exchange.head.target)}`], null);
    } else if (resolution instanceof FileVersion) {
      this.#answerKept(exchange, resolution);
    } else if (resolution === STATUS_OF.unlisted && this.#settings.listing) {
      await this.#list(exchange, path);
    } else {
      respondError(exchange, typeof resolution === "number" ? resolution : resolution.status);
    }
  }

  /** Whether the next route shall have it: nothing there, or a directory without an index. */
  async #isNoFile(path: string, resolution: Resolution | number): Promise<boolean> {
    if (resolution === "directory") return !((await this.#resolve(`${path}/`)) instanceof FileVersion);
    return resolution === 404 || resolution === STATUS_OF.absent || resolution === STATUS_OF.unlisted;
  }

  async #answerLarge(exchange: Exchange, version: FileVersion): Promise<void> {
    const fields = conditionFields(exchange.head.headers);
    const verdict = fields === undefined ? ({ status: 200 } as const) : judge(fields, exchange.head.method, version);
    if (verdict.status !== 200 && verdict.status !== 206) {
      answerCondition(exchange, version, verdict.status);
      return;
    }
    const answer = largeAnswer(version, verdict.status === 206 ? verdict.ranges : undefined);
    if (exchange.head.method === "HEAD") {
      exchange.respond(200, answer.headers, null);
      return;
    }
    const opened = await openRegular(version.real);
    if (opened === undefined || exchange.ended) {
      if (opened === undefined) respondError(exchange, 404);
      else await opened.handle.close();
      return;
    }
    if (!version.isStill(version.real, opened.stats)) {
      // Replaced in the moment between: what was promised no longer holds, what is there now does.
      await opened.handle.close();
      await this.#answerLarge(
        exchange,
        new FileVersion(version.real, version.path, opened.stats, null, this.#fields, coarseClock.now, version.encoded),
      );
      return;
    }
    exchange.start(verdict.status, answer.headers);
    // It keeps itself alive by the read under way and by being the exchange's observer.
    void new FileStream(exchange, opened.handle, answer.segments);
  }

  async #list(exchange: Exchange, path: string): Promise<void> {
    const below = this.#strip === 0 ? path : path.slice(this.#strip);
    const format = preferred(fieldValue(exchange.head.headers, "accept")) === "json" ? "json" : "html";
    try {
      const { headers, body } = await listDirectory(below, path, this.#rules, format);
      if (!exchange.ended) exchange.respond(200, [...headers, ...this.#fields.fields], body);
    } catch (error) {
      const { kind } = failure(error);
      respondError(exchange, kind === "busy" ? 503 : kind === "forbidden" ? 403 : 404);
    }
  }

  /** Walks `tryFiles`. Rejects only for what should never happen. */
  async #resolve(path: string): Promise<Resolution | number> {
    const below = this.#strip === 0 ? path : path.slice(this.#strip);
    let last: Resolution = STATUS_OF.absent;
    for (const one of this.#tries) {
      if ("status" in one) return one.status;
      const tried = one.path ? one.before + below + one.after : one.before;
      // A fixed file answers for countless paths: it is kept once, under its own name, which no path can have.
      const key = one.path ? path : `=${tried}`;
      const found = await this.#version(tried, key);
      if (found instanceof FileVersion || (found === "directory" && one.path && one.after === "")) return found;
      if (found !== "directory") last = found.status === 404 ? last : found;
    }
    return last;
  }

  async #version(tried: string, key: string): Promise<Resolution> {
    const kept = this.#kept.get(key);
    if (kept !== undefined && coarseClock.now - kept.checkedAt < this.#deps.checkMs) return kept;
    const located = await locate(tried, this.#rules);
    if (located.kind !== "file") {
      this.#deps.files.drop(this.#kept, key);
      return located.kind === "directory" ? "directory" : STATUS_OF[located.kind];
    }
    const encodings = await this.#encodings(located);
    if (kept?.isStill(located.real, located.stats) && sameVariants(kept, encodings)) {
      kept.checkedAt = coarseClock.now;
      this.#deps.files.touch(kept);
      return kept;
    }
    return this.#load(located, encodings, key);
  }

  /** The encoded forms that lie beside a file and are not older than it. */
  async #encodings({ path: of, stats }: LocatedFile): Promise<readonly Variant[]> {
    const found: Variant[] = [];
    for (const coding of this.#settings.precompressed) {
      const located = await locate(of + SUFFIXES[coding], this.#rules);
      if (located.kind === "file" && located.stats.mtimeMs >= stats.mtimeMs)
        found.push({ located, encoded: { coding, of: basename(of) } });
    }
    return found;
  }

  async #load(located: LocatedFile, encodings: readonly Variant[], key: string): Promise<Resolution> {
    try {
      const version = await this.#read(located);
      if (version === undefined) return STATUS_OF.absent;
      const variants = await Promise.all(encodings.map(({ located: file, encoded }) => this.#read(file, encoded)));
      version.variants = variants.filter((variant) => variant !== undefined);
      if (version.body === null) this.#deps.files.drop(this.#kept, key);
      else this.#deps.files.keep(this.#kept, key, version);
      return version;
    } catch (error) {
      const { kind } = failure(error);
      return kind === "file" || kind === "directory" ? STATUS_OF.absent : STATUS_OF[kind];
    }
  }

  /** A file as it is at this moment, with its content where it is small; undefined: it is no file any more. */
  async #read(located: LocatedFile, encoded?: Encoded): Promise<FileVersion | undefined> {
    const now = coarseClock.now;
    const opened = await openRegular(located.real);
    if (opened === undefined) return undefined;
    const { handle, stats } = opened;
    try {
      const body = stats.size <= this.#deps.files.largest ? await readWhole(handle, stats) : null;
      return new FileVersion(located.real, located.path, stats, body, this.#fields, now, encoded);
    } finally {
      await handle.close();
    }
  }
}

type LocatedFile = Located & { kind: "file" };

/** An encoded form of a file, found on disk. */
interface Variant {
  readonly located: LocatedFile;
  readonly encoded: Encoded;
}

function sameVariants(kept: FileVersion, found: readonly Variant[]): boolean {
  return (
    kept.variants.length === found.length &&
    kept.variants.every((variant, at) => variant.isStill(found[at]!.located.real, found[at]!.located.stats))
  );
}

/** The form of a file that a client takes. */
function variantFor(exchange: Exchange, identity: FileVersion): FileVersion {
  const { variants } = identity;
  const codings = variants.map(({ encoded }) => encoded!.coding);
  const coding = chooseCoding(fieldValue(exchange.head.headers, "accept-encoding"), codings);
  return coding === undefined ? identity : variants[codings.indexOf(coding)]!;
}

/** A path in normal form as one would request it. An encoded slash was never decoded. */
function asTarget(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/").replaceAll("%252F", "%2F");
}

/** Parts of a file that is in memory. */
function respondParts(exchange: Exchange, version: FileVersion, ranges: readonly ByteRange[], body: Buffer): void {
  const [first, ...more] = ranges;
  if (more.length === 0) {
    const headers = [...version.headers, "Content-Range", contentRange(first!, version.size)];
    exchange.respond(206, headers, body.subarray(first!.start, first!.end));
    return;
  }
  const { contentType, segments } = multipart(ranges, version.type, version.size);
  exchange.respond(206, withType(version.headers, contentType), joinSegments(segments, body));
}

/** Head and pieces of an answer that is streamed. */
function largeAnswer(
  version: FileVersion,
  ranges: readonly ByteRange[] | undefined,
): { readonly headers: HeaderList; readonly segments: readonly Segment[] } {
  const [first, ...more] = ranges ?? [{ start: 0, end: version.size }];
  if (more.length > 0) {
    const { contentType, length, segments } = multipart(ranges!, version.type, version.size);
    return { headers: [...withType(version.headers, contentType), "Content-Length", String(length)], segments };
  }
  const headers = [...version.headers, "Content-Length", String(first!.end - first!.start)];
  if (ranges !== undefined) headers.push("Content-Range", contentRange(first!, version.size));
  return { headers, segments: [first!] };
}

function answerCondition(exchange: Exchange, version: FileVersion, status: 304 | 412 | 416): void {
  if (status === 304) exchange.respond(304, version.headersNotModified, null);
  else respondError(exchange, status, undefined, status === 416 ? ["Content-Range", `bytes */${version.size}`] : []);
}

/** Compiles a `static` route. */
export function staticHandler(settings: StaticSettings, routePath: string, deps: StaticDeps): RouteHandler {
  const files = new StaticFiles(settings, routePath, deps);
  return (exchange, path, match, position) => files.handle(exchange, path, match, position);
}
