/**
 * Serves files: the handler of `static` routes.
 *
 * The usual request, a small file that is kept, never leaves this turn of the event loop: one map lookup, one look for
 * conditional fields, one `respond` with a field list and a buffer made beforehand. Everything else goes through
 * {@link StaticFiles.#resolve}, once for all who ask for the same path meanwhile.
 */
import { LRUCache } from "lru-cache";
import type { Exchange, HeaderList } from "@portico/gateway/exchange";
import { respondError } from "../answer/error.ts";
import { fieldList } from "../answer/fields.ts";
import { coarseClock } from "../clock.ts";
import type { StaticSettings } from "../config/schema.ts";
import type { ProxyLog } from "../deps.ts";
import { queryOf } from "../router/path.ts";
import { type Route, type RouteHandler, type Unmatched, passOn } from "../router/route.ts";
import type { FileCache } from "./cache.ts";
import { conditionFields, judge } from "./conditions.ts";
import { type Located, type LocateRules, failure, locate, openRegular } from "./locate.ts";
import { FileStream } from "./stream.ts";
import { type FieldRules, FileVersion, readWhole } from "./version.ts";

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
    this.#fields = { cacheControl: settings.cacheControl, fields: fieldList(settings.headers) };
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

  #answerKept(exchange: Exchange, version: FileVersion): void {
    const body = version.body!;
    const fields = conditionFields(exchange.head.headers);
    if (fields === undefined) {
      exchange.respond(200, version.headers, body);
      return;
    }
    const verdict = judge(fields, exchange.head.method, version);
    if (verdict.status === 200) exchange.respond(200, version.headers, body);
    else if (verdict.status === 206)
      exchange.respond(206, partFields(version, verdict.start, verdict.end), body.subarray(verdict.start, verdict.end));
    else answerCondition(exchange, version, verdict.status);
  }

  #lookUp(exchange: Exchange, path: string, match: readonly Route[], position: number): void {
    let pending = this.#pending.get(path);
    if (pending === undefined) {
      pending = this.#resolve(path).finally(() => this.#pending.delete(path));
      this.#pending.set(path, pending);
    }
    pending
      .then((resolution) => this.#answer(exchange, path, match, position, resolution))
      .catch((error: unknown) => {
        this.#deps.log.error({ err: error, id: exchange.facts.id, path }, "serving a file failed");
        respondError(exchange, 500);
      });
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
      if (resolution.body === null) await this.#answerLarge(exchange, resolution);
      else this.#answerKept(exchange, resolution);
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
    const [start, end] = verdict.status === 206 ? [verdict.start, verdict.end] : [0, version.size];
    const headers = [
      ...(verdict.status === 206 ? partFields(version, start, end) : version.headers),
      "Content-Length",
      String(end - start),
    ];
    if (exchange.head.method === "HEAD") {
      exchange.respond(200, headers, null);
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
        new FileVersion(version.real, opened.stats, null, this.#fields, coarseClock.now),
      );
      return;
    }
    exchange.start(verdict.status, headers);
    // It keeps itself alive by the read under way and by being the exchange's observer.
    void new FileStream(exchange, opened.handle, start, end);
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
    if (kept?.isStill(located.real, located.stats)) {
      kept.checkedAt = coarseClock.now;
      this.#deps.files.touch(kept);
      return kept;
    }
    return this.#load(located, key);
  }

  async #load(located: Located & { kind: "file" }, key: string): Promise<Resolution> {
    const now = coarseClock.now;
    try {
      const opened = await openRegular(located.real);
      if (opened === undefined) return STATUS_OF.absent;
      const { handle, stats } = opened;
      try {
        const body = stats.size <= this.#deps.files.largest ? await readWhole(handle, stats) : null;
        const version = new FileVersion(located.real, stats, body, this.#fields, now);
        if (body === null) this.#deps.files.drop(this.#kept, key);
        else this.#deps.files.keep(this.#kept, key, version);
        return version;
      } finally {
        await handle.close();
      }
    } catch (error) {
      const { kind } = failure(error);
      return kind === "file" || kind === "directory" ? STATUS_OF.absent : STATUS_OF[kind];
    }
  }
}

/** A path in normal form as one would request it. An encoded slash was never decoded. */
function asTarget(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/").replaceAll("%252F", "%2F");
}

function partFields(version: FileVersion, start: number, end: number): HeaderList {
  return [...version.headers, "Content-Range", `bytes ${start}-${end - 1}/${version.size}`];
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
