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

describe("several ranges", () => {
  /** The parts of a multipart answer: [Content-Range, Content-Type, text]. */
  function parts(answer: TestExchange): [string, string, string][] {
    const boundary = /^multipart\/byteranges; boundary=([\w-]{20})$/.exec(answer.field("content-type")!)![1]!;
    const text = answer.body.toString("latin1");
    expect(text.startsWith(`--${boundary}\r\n`) && text.endsWith(`\r\n--${boundary}--\r\n`)).toBe(true);
    return `\r\n${text.slice(0, -4 - boundary.length - 2)}`
      .split(`\r\n--${boundary}\r\n`)
      .slice(1)
      .map((part) => {
        const [head = "", body = ""] = part.split("\r\n\r\n");
        const field = (name: string): string => new RegExp(`^${name}: (.*)$`, "m").exec(head)![1]!;
        return [field("Content-Range"), field("Content-Type"), body.replace(/\r\n$/, "")];
      });
  }

  it.each([
    ["/large.bin", "application/octet-stream"],
    ["/middle.txt", "text/plain; charset=utf-8"],
  ])("of %s are parts of one answer", async (target, type) => {
    writeFileSync(join(root, "middle.txt"), "0123456789".repeat(100));
    const { get } = server();
    const size = (await get(target)).body.length;
    const answer = await get(target, { headers: ["Range", "bytes=-3,0-1,500-503"] });
    expect(answer.status).toBe(206);
    const digits = "0123456789".repeat(2);
    const from = (size - 3) % 10;
    expect(parts(answer)).toEqual([
      [`bytes 0-1/${size}`, type, "01"],
      [`bytes 500-503/${size}`, type, "0123"],
      [`bytes ${size - 3}-${size - 1}/${size}`, type, digits.slice(from, from + 3)],
    ]);
    expect(answer.field("content-range")).toBeUndefined();
    const length = answer.field("content-length");
    if (length !== undefined) expect(length).toBe(String(answer.body.length));
  });

  it("that touch are one", async () => {
    const answer = await server().get("/a.txt", { headers: ["Range", "bytes=0-1,3-4"] });
    expect([answer.status, answer.field("content-range"), answer.text]).toEqual([206, "bytes 0-4/10", "01234"]);
  });
});

describe("precompressed files", () => {
  const TIME = 1_700_000_000;
  beforeAll(() => {
    mkdirSync(join(root, "pre"));
    const names = [
      "app.js",
      "app.js.br",
      "app.js.zst",
      "app.js.gz",
      "index.html",
      "index.html.gz",
      "old.css",
      "old.css.br",
      "plain.txt",
    ];
    for (const name of names) {
      writeFileSync(join(root, "pre", name), `content of ${name}`);
      utimesSync(join(root, "pre", name), TIME, name === "old.css" ? TIME + 1 : TIME);
    }
    writeFileSync(join(root, "pre", "big.js"), Buffer.alloc(LARGE, "0123456789"));
    writeFileSync(join(root, "pre", "big.js.gz"), Buffer.alloc(LARGE - 5, "abc"));
  });
  const all = { precompressed: ["br", "zstd", "gzip"] as ("br" | "zstd" | "gzip")[] };

  it.each([
    ["gzip, deflate, br, zstd", "br", "app.js.br"],
    ["gzip, zstd", "zstd", "app.js.zst"],
    ["gzip;q=1, br;q=0.5", "gzip", "app.js.gz"],
    ["br;q=0, gzip", "gzip", "app.js.gz"],
    ["*", "br", "app.js.br"],
    ["*;q=0.1, br;q=0", "zstd", "app.js.zst"],
    ["x-gzip", "gzip", "app.js.gz"],
    ["BR", "br", "app.js.br"],
    ["identity", undefined, "app.js"],
    ["identity, br;q=0.5", undefined, "app.js"],
    ["br;q=0.0001", undefined, "app.js"],
    ["deflate", undefined, "app.js"],
    ["", undefined, "app.js"],
  ])("Accept-Encoding %j gets %s", async (accept, coding, name) => {
    const { get } = server(all);
    for (const round of ["disk", "memory"]) {
      const answer = await get("/pre/app.js", { headers: ["Accept-Encoding", accept] });
      expect([answer.status, answer.field("content-encoding"), answer.text], round).toEqual([
        200,
        coding,
        `content of ${name}`,
      ]);
      expect(answer.field("content-type")).toBe("text/javascript; charset=utf-8");
      expect(answer.field("vary")).toBe("Accept-Encoding");
    }
  });

  it("have validators and ranges of their own", async () => {
    const { get } = server(all);
    const accept = ["Accept-Encoding", "br"];
    const plain = await get("/pre/app.js");
    const coded = await get("/pre/app.js", { headers: accept });
    expect(coded.field("etag")).not.toBe(plain.field("etag"));
    const known = await get("/pre/app.js", { headers: [...accept, "If-None-Match", coded.field("etag")!] });
    expect([known.status, known.field("vary"), known.field("content-encoding")]).toEqual([
      304,
      "Accept-Encoding",
      undefined,
    ]);
    expect((await get("/pre/app.js", { headers: ["If-None-Match", coded.field("etag")!] })).status).toBe(200);
    const part = await get("/pre/app.js", { headers: [...accept, "Range", "bytes=0-6"] });
    expect([part.status, part.text, part.field("content-encoding")]).toEqual([206, "content", "br"]);
  });

  it("answer for an index, for large files, and not where they are older than their file", async () => {
    const { get } = server(all);
    const headers = ["Accept-Encoding", "gzip, br"];
    expect((await get("/pre/", { headers })).text).toBe("content of index.html.gz");
    const big = await get("/pre/big.js", { headers });
    expect([big.field("content-encoding"), big.field("content-length"), big.body.length]).toEqual([
      "gzip",
      String(LARGE - 5),
      LARGE - 5,
    ]);
    expect((await get("/pre/big.js")).body.length).toBe(LARGE);
    const old = await get("/pre/old.css", { headers });
    expect([old.field("content-encoding"), old.text]).toEqual([undefined, "content of old.css"]);
    expect((await get("/pre/plain.txt", { headers })).text).toBe("content of plain.txt");
  });

  it("are noticed when they come, change and go, and are counted where they are kept", async () => {
    const { get, files } = server(all, { checkMs: 0 });
    const headers = ["Accept-Encoding", "br"];
    const name = join(root, "pre", "plain.txt.br");
    expect((await get("/pre/plain.txt", { headers })).text).toBe("content of plain.txt");
    const before = files.bytes;
    writeFileSync(name, "B".repeat(500));
    expect((await get("/pre/plain.txt", { headers })).text).toBe("B".repeat(500));
    expect(files.bytes).toBeGreaterThanOrEqual(before + 500);
    writeFileSync(name, "C".repeat(10));
    expect((await get("/pre/plain.txt", { headers })).text).toBe("C".repeat(10));
    rmSync(name);
    expect((await get("/pre/plain.txt", { headers })).text).toBe("content of plain.txt");
    expect(files.bytes).toBe(before);
  });

  it("are files like others where the route does not ask for them", async () => {
    const answer = await server().get("/pre/app.js", { headers: ["Accept-Encoding", "br"] });
    expect([answer.text, answer.field("vary")]).toEqual(["content of app.js", undefined]);
    expect((await server().get("/pre/app.js.br")).text).toBe("content of app.js.br");
  });
});

describe("listings", () => {
  beforeAll(() => {
    mkdirSync(join(root, "list", "folder"), { recursive: true });
    for (const name of ["b.txt", "a10", "a9", "<img onerror=x>&\"'.txt", ".hidden", "java:script", "100%.txt"])
      writeFileSync(join(root, "list", name), "x");
    symlinkSync("/etc/passwd", join(root, "list", "outside"));
    execFileSync("mkfifo", [join(root, "list", "pipe")]);
  });

  it("are off unless the route says so", async () => expect((await server().get("/list/")).status).toBe(403));

  it("as a page: escaped, in order, nothing that would not be served", async () => {
    const { get } = server({ listing: true });
    const answer = await get("/list/", { headers: ["Accept", "text/html"] });
    expect([answer.status, answer.field("content-type"), answer.field("vary")]).toEqual([
      200,
      "text/html; charset=utf-8",
      "Accept",
    ]);
    const links = [...answer.text.matchAll(/<a href="([^"]*)">([^<]*)<\/a>/g)].map(([, href, text]) => [href, text]);
    expect(links).toEqual([
      ["../", "../"],
      ["./folder/", "folder/"],
      ["./%3Cimg%20onerror%3Dx%3E%26%22&#39;.txt", "&lt;img onerror=x&gt;&amp;&quot;&#39;.txt"],
      ["./100%25.txt", "100%.txt"],
      ["./a9", "a9"],
      ["./a10", "a10"],
      ["./b.txt", "b.txt"],
      ["./java%3Ascript", "java:script"],
    ]);
    expect(answer.field("content-security-policy")).toContain("default-src 'none'");
  });

  it("as JSON", async () => {
    const answer = await server({ listing: true }).get("/list/", { headers: ["Accept", "application/json"] });
    const { path, entries, complete } = JSON.parse(answer.text) as {
      path: string;
      complete: boolean;
      entries: { name: string; type: string; size?: number }[];
    };
    expect([path, complete, entries.length]).toEqual(["/list/", true, 7]);
    expect(entries[0]).toMatchObject({ name: "folder", type: "directory" });
    expect(entries.at(-1)).toMatchObject({ name: "java:script", type: "file", size: 1 });
  });

  it("give way to an index, and are not for what is not there", async () => {
    const { get } = server({ listing: true });
    expect((await get("/sub/")).text).toBe("sub");
    expect((await get("/none/")).status).toBe(404);
    expect((await get("/list")).status).toBe(308);
    expect((await get("/list/", { method: "POST" })).status).toBe(405);
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
