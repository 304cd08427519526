import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type StaticSettings, configSchema } from "../config/schema.ts";
import { unmatched } from "../router/router.ts";
import { lookupPath } from "../router/path.ts";
import type { Route } from "../router/route.ts";
import { TestExchange, type TestRequest } from "../test-exchange.ts";
import { FileCache } from "./cache.ts";
import { staticHandler } from "./handler.ts";
import { contentType, isHashed } from "./type.ts";

const QUIET = { debug() {}, info() {}, warn() {}, error() {} };
const LARGE = 3 * 1024 * 1024 + 17;

let base: string;
let root: string;

beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), "portico-static-"));
  root = join(base, "root");
  mkdirSync(join(root, "sub", "empty"), { recursive: true });
  mkdirSync(join(root, ".well-known"));
  mkdirSync(join(base, "root-sibling"));
  const files: Record<string, string | Buffer> = {
    "index.html": "<h1>home</h1>",
    "a.txt": "0123456789",
    "page.html": "page",
    "app-BX2k3_9a.js": "1",
    "with space+plus%.txt": "odd",
    "café.txt": "coffee",
    "empty.txt": "",
    ".secret": "secret",
    ".well-known/x": "known",
    "sub/index.html": "sub",
    "large.bin": Buffer.alloc(LARGE, "0123456789"),
    "../outside.txt": "outside",
    "../root-sibling/x.txt": "sibling",
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(root, name), content);
  symlinkSync("../outside.txt", join(root, "link-out.txt"));
  symlinkSync("../root-sibling", join(root, "sibling"));
  symlinkSync("a.txt", join(root, "link-in.txt"));
  symlinkSync("loop", join(root, "loop"));
  symlinkSync("/dev/zero", join(root, "zero"));
  execFileSync("mkfifo", [join(root, "fifo")]);
});

afterAll(() => rmSync(base, { recursive: true }));

type Settings = Partial<StaticSettings>;

function server(
  settings: Settings = {},
  options: { path?: string; bytes?: number; largest?: number; checkMs?: number } = {},
) {
  const path = options.path ?? "/*";
  const config = configSchema.parse({ sites: [{ hosts: ["*"], routes: [{ path, static: { root, ...settings } }] }] });
  const files = new FileCache(options.bytes ?? 16 * 1024 ** 2, options.largest ?? 1024 ** 2);
  const handle = staticHandler(config.sites[0]!.routes[0]!.static!, path, {
    log: QUIET,
    files,
    checkMs: options.checkMs ?? 60_000,
    unmatched,
  });
  const next: Route = {
    name: "next",
    path: "/*",
    index: 0,
    methods: undefined,
    accepts: undefined,
    handle: (exchange) => exchange.respond(200, [], "next"),
  };
  const own: Route = { name: "own", path, index: 0, methods: undefined, accepts: undefined, handle };
  const get = async (target: string, request: TestRequest = {}): Promise<TestExchange> => {
    const exchange = new TestExchange({ target, ...request });
    handle(exchange, lookupPath(target)!, [own, next], 0);
    await exchange.done;
    return exchange;
  };
  return { get, files, handle };
}

describe("files", () => {
  it("come with type, validators and length, from disk and from memory alike", async () => {
    const { get } = server();
    for (const round of ["disk", "memory"]) {
      const answer = await get("/a.txt");
      expect(answer.status, round).toBe(200);
      expect(answer.text).toBe("0123456789");
      expect(answer.field("content-type")).toBe("text/plain; charset=utf-8");
      expect(answer.field("etag")).toMatch(/^"[\w-]{16}"$/);
      expect(new Date(answer.field("last-modified")!).toUTCString()).toBe(answer.field("last-modified"));
      expect(answer.field("accept-ranges")).toBe("bytes");
    }
  });

  it("were never modified later than now", async () => {
    const name = join(root, "future.txt");
    writeFileSync(name, "tomorrow");
    const tomorrow = Date.now() / 1000 + 86_400;
    utimesSync(name, tomorrow, tomorrow);
    const { get } = server();
    const answer = await get("/future.txt");
    rmSync(name);
    expect(Date.parse(answer.field("last-modified")!)).toBeLessThanOrEqual(Date.now());
  });

  it("are answered in the same turn once they are kept", async () => {
    const { get, handle } = server();
    await get("/a.txt");
    const exchange = new TestExchange({ target: "/a.txt" });
    handle(exchange, "/a.txt", [], 0);
    expect(exchange.text).toBe("0123456789");
  });

  it.each([
    ["/", "<h1>home</h1>"],
    ["/sub/", "sub"],
    ["/with%20space+plus%25.txt", "odd"],
    ["/caf%C3%A9.txt", "coffee"],
    ["/.well-known/x", "known"],
    ["/link-in.txt", "0123456789"],
    ["/empty.txt", ""],
  ])("%s", async (target, text) => {
    const answer = await server().get(target);
    expect([answer.status, answer.text]).toEqual([200, text]);
  });

  it.each([
    ["/none.txt", 404],
    ["/a.txt/", 404],
    ["/a.txt/b", 404],
    ["/.secret", 404],
    ["/link-out.txt", 404],
    ["/sibling/x.txt", 404],
    ["/loop", 404],
    ["/zero", 404],
    ["/fifo", 404],
    ["/sub%2Findex.html", 404],
    ["/%2e%2e%2foutside.txt", 404],
    [`/${"x".repeat(300)}`, 404],
    ["/sub/empty/", 403],
  ])("%s is refused", async (target, status) => {
    const answer = await server().get(target);
    expect(answer.status).toBe(status);
    expect(answer.text).not.toContain("outside");
  });

  it("lie outside only where links may lead there", async () => {
    expect((await server({ symlinks: "any" }).get("/link-out.txt")).text).toBe("outside");
    expect((await server({ dotfiles: true }).get("/.secret")).text).toBe("secret");
  });

  it("redirect a directory to its slash, keeping the query, never to another host", async () => {
    const answer = await server().get("/sub?a=1");
    expect([answer.status, answer.field("location")]).toEqual([308, "/sub/?a=1"]);
    expect((await server().get("//sub")).field("location")).toBe("/sub/");
  });

  it("answer HEAD as GET, and no other method", async () => {
    const { get } = server();
    for (const target of ["/a.txt", "/a.txt", "/large.bin"]) {
      const head = await get(target, { method: "HEAD" });
      const whole = await get(target);
      expect([head.status, head.text, head.field("etag")]).toEqual([200, "", whole.field("etag")]);
    }
    const post = await get("/a.txt", { method: "POST" });
    expect([post.status, post.field("allow")]).toEqual([405, "GET, HEAD"]);
  });

  it("take the prefix of the route away, or leave it", async () => {
    expect((await server({}, { path: "/assets/*" }).get("/assets/a.txt")).text).toBe("0123456789");
    expect((await server({ stripPrefix: false }, { path: "/sub/*" }).get("/sub/index.html")).text).toBe("sub");
  });
});

describe("tryFiles", () => {
  it("serves a single-page application, its page kept once", async () => {
    const { get, files } = server({ tryFiles: ["$path", "$path.html", "/index.html"] });
    expect((await get("/a.txt")).text).toBe("0123456789");
    expect((await get("/page")).text).toBe("page");
    await get("/deep/1");
    const bytes = files.bytes;
    for (const target of ["/deep/2", "/deep/3", "/sub/empty/"]) expect((await get(target)).text).toBe("<h1>home</h1>");
    expect(files.bytes).toBe(bytes);
  });

  it("ends in a status", async () =>
    expect((await server({ tryFiles: ["$path", "=410"] }).get("/none")).status).toBe(410));

  it("falls through to the next route", async () => {
    const { get } = server({ fallthrough: true });
    expect((await get("/none")).text).toBe("next");
    expect((await get("/none")).text).toBe("next");
    expect((await get("/sub/empty/")).text).toBe("next");
    expect((await get("/sub/empty")).text).toBe("next");
    expect((await get("/sub")).status).toBe(308);
    expect((await get("/sub/")).text).toBe("sub");
    expect((await get("/a.txt", { method: "POST" })).text).toBe("next");
    expect((await get("/a.txt")).text).toBe("0123456789");
  });
});

describe("conditions and ranges", () => {
  it.each(["/a.txt", "/large.bin"])("hold for %s", async (target) => {
    const { get } = server();
    const whole = await get(target);
    const etag = whole.field("etag")!;
    const notModified = await get(target, { headers: ["If-None-Match", etag] });
    expect([notModified.status, notModified.text, notModified.field("etag")]).toEqual([304, "", etag]);
    expect((await get(target, { headers: ["If-Match", '"x"'] })).status).toBe(412);
    const part = await get(target, { headers: ["Range", "bytes=2-4"] });
    expect([part.status, part.text, part.field("content-range")]).toEqual([
      206,
      "234",
      `bytes 2-4/${whole.body.length}`,
    ]);
    const beyond = await get(target, { headers: ["Range", `bytes=${whole.body.length}-`] });
    expect([beyond.status, beyond.field("content-range")]).toEqual([416, `bytes */${whole.body.length}`]);
  });
});

describe("206 and 304", () => {
  it("have the fields of 200 that belong there", async () => {
    const { get } = server({ cacheControl: "immutable", headers: { Vary: "X", "Content-Location": "/x" } });
    const target = "/app-BX2k3_9a.js";
    const whole = await get(target);
    const part = await get(target, { headers: ["Range", "bytes=0-0"] });
    const known = await get(target, { headers: ["If-None-Match", whole.field("etag")!] });
    expect([part.status, known.status]).toEqual([206, 304]);
    expect(whole.field("cache-control")).toContain("immutable");
    for (const name of ["etag", "cache-control", "vary", "content-location", "content-type", "last-modified"])
      expect(part.field(name), name).toBe(whole.field(name));
    for (const name of ["etag", "cache-control", "vary", "content-location"])
      expect(known.field(name), name).toBe(whole.field(name));
    for (const name of ["content-type", "content-length", "content-range", "last-modified"])
      expect(known.field(name), name).toBeUndefined();
  });
});

describe("large files", () => {
  it("are streamed whole", async () => {
    const answer = await server().get("/large.bin");
    expect(answer.body.length).toBe(LARGE);
    expect(answer.field("content-length")).toBe(String(LARGE));
    expect(answer.body.equals(Buffer.alloc(LARGE, "0123456789"))).toBe(true);
    expect(answer.parts.length).toBeGreaterThan(10);
  });

  it("wait for a slow client with one chunk in memory, and stop when it leaves", async () => {
    const { handle } = server();
    const exchange = new TestExchange({ target: "/large.bin" });
    exchange.writable = false;
    handle(exchange, "/large.bin", [], 0);
    await sleep(100);
    expect(exchange.parts.length).toBe(1);
    exchange.observer!.onDrain();
    await sleep(50);
    expect(exchange.parts.length).toBe(2);
    exchange.abort("client-disconnected");
    exchange.observer!.onDrain();
    await sleep(50);
    expect(exchange.parts.length).toBe(2);
  });

  it("break off when they are cut while they are sent", async () => {
    const name = join(root, "cut.bin");
    writeFileSync(name, Buffer.alloc(LARGE));
    const { handle } = server();
    const exchange = new TestExchange({ target: "/cut.bin" });
    exchange.writable = false;
    handle(exchange, "/cut.bin", [], 0);
    await sleep(100);
    truncateSync(name, 10);
    exchange.writable = true;
    exchange.observer!.onDrain();
    await exchange.done;
    expect(exchange.aborted).toBe("reset");
    rmSync(name);
  });
});

describe("memory", () => {
  it("is given up when a file changes, and when it goes", async () => {
    const name = join(root, "changing.txt");
    writeFileSync(name, "one");
    const { get } = server({}, { checkMs: 0 });
    const first = await get("/changing.txt");
    writeFileSync(name, "two");
    utimesSync(name, 1000, 1000);
    const second = await get("/changing.txt");
    expect([second.text, second.field("last-modified")]).toEqual(["two", "Thu, 01 Jan 1970 00:16:40 GMT"]);
    expect(second.field("etag")).not.toBe(first.field("etag"));
    rmSync(name);
    expect((await get("/changing.txt")).status).toBe(404);
    expect((await get("/a.txt")).status).toBe(200);
  });

  it("is bounded by bytes", async () => {
    const { get, files } = server({}, { bytes: 5000, largest: 1000 });
    for (const target of ["/a.txt", "/page.html", "/index.html", "/sub/", "/caf%C3%A9.txt"]) {
      expect((await get(target)).status).toBe(200);
      expect(files.bytes).toBeLessThanOrEqual(5000);
    }
  });

  it("may be switched off", async () => {
    const { get, files } = server({}, { bytes: 0 });
    expect((await get("/a.txt")).text).toBe("0123456789");
    expect((await get("/empty.txt")).status).toBe(200);
    expect(files.bytes).toBe(0);
  });
});

describe("types and cache rules", () => {
  it.each([
    ["a.html", "text/html; charset=utf-8"],
    ["a.js", "text/javascript; charset=utf-8"],
    ["a.json", "application/json"],
    ["a.svg", "image/svg+xml; charset=utf-8"],
    ["a.PNG", "image/png"],
    ["a.unknown-kind", "application/octet-stream"],
    ["noextension", "application/octet-stream"],
  ])("%s is %s", (name, type) => expect(contentType(name)).toBe(type));

  it.each(["app-BX2k3_9a.js", "app.3f2a1b0c.min.css", "chunk-5JX6E3OT.js.map", "main.0a1b2c3d4e5f60718293.js"])(
    "%s is hashed",
    (name) => expect(isHashed(name)).toBe(true),
  );
  it.each([
    "jquery-migrate.js",
    "angular-material2.js",
    "photo-20231201.jpg",
    "index.html",
    "my-document.pdf",
    "a.txt",
  ])("%s is not", (name) => expect(isHashed(name)).toBe(false));

  it("give immutable files a year, and the rest none", async () => {
    const { get } = server({ cacheControl: "immutable", headers: { "X-Own": "1" } });
    const hashed = await get("/app-BX2k3_9a.js");
    expect([hashed.field("cache-control"), hashed.field("x-own")]).toEqual([
      "public, max-age=31536000, immutable",
      "1",
    ]);
    expect((await get("/a.txt")).field("cache-control")).toBe("no-cache");
  });
});
