/** Static files through the proxy as a program: real processes, curl, and bytes that no client would send. */
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ProxyUnderTest, site } from "../support/proxy.ts";
import { RawClient } from "../support/raw.ts";

const run = promisify(execFile);
const large = randomBytes(5 * 1024 * 1024 + 3);

let proxy: ProxyUnderTest;

beforeAll(async () => {
  proxy = await ProxyUnderTest.start(
    site(
      { path: "/healthz", respond: { body: "ok\n" } },
      { path: "/assets/*", static: { root: "public/assets", cacheControl: "immutable" } },
      { path: "/app/*", static: { root: "public", tryFiles: ["$path", "/index.html"] } },
      { path: "/*", static: { root: "public" } },
    ),
    {
      files: {
        "public/index.html": "<h1>home</h1>\n",
        "public/a.txt": "0123456789",
        "public/large.bin": large,
        "public/name with space.txt": "space",
        "public/assets/app-BX2k3_9a.js": "1;",
        "public/sub/index.html": "sub",
        "public/.env": "SECRET=1",
        "outside.txt": "outside",
      },
    },
  );
  symlinkSync("../outside.txt", proxy.path("public/link.txt"));
  mkdirSync(proxy.path("public/empty"));
});
afterAll(async () => proxy[Symbol.asyncDispose]());

/** Status, header fields in lower case, and body, by curl. */
async function curl(
  path: string,
  ...args: string[]
): Promise<{ status: number; fields: Map<string, string>; body: Buffer }> {
  const { stdout } = await run("curl", ["-sS", "-i", "--path-as-is", ...args, proxy.url + path], {
    encoding: "buffer",
    maxBuffer: 64 * 1024 * 1024,
  });
  const end = stdout.indexOf("\r\n\r\n");
  const [first, ...lines] = stdout.subarray(0, end).toString("latin1").split("\r\n");
  const fields = new Map(
    lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 2)]),
  );
  return { status: Number(first!.split(" ")[1]), fields, body: stdout.subarray(end + 4) };
}

async function raw(request: string): Promise<string> {
  using client = await RawClient.open(proxy.url);
  client.send(request);
  return await client.closed();
}

describe("curl", () => {
  test("gets a file with everything a cache needs, and 304 the second time", async () => {
    const { status, fields, body } = await curl("/a.txt");
    expect([status, body.toString(), fields.get("content-type"), fields.get("content-length")]).toEqual([
      200,
      "0123456789",
      "text/plain; charset=utf-8",
      "10",
    ]);
    const again = await curl("/a.txt", "-H", `If-None-Match: ${fields.get("etag")!}`);
    expect([again.status, again.body.length, again.fields.get("etag")]).toEqual([304, 0, fields.get("etag")]);
    const since = await curl("/a.txt", "-H", `If-Modified-Since: ${fields.get("last-modified")!}`);
    expect(since.status).toBe(304);
  });

  test.each(["/a.txt", "/large.bin"])("resumes %s with a range", async (path) => {
    const whole = await curl(path);
    const part = await curl(path, "-r", "3-6", "-H", `If-Range: ${whole.fields.get("etag")!}`);
    expect([part.status, part.fields.get("content-range")]).toEqual([206, `bytes 3-6/${whole.body.length}`]);
    expect(part.body).toEqual(whole.body.subarray(3, 7));
    const stale = await curl(path, "-r", "3-6", "-H", 'If-Range: "other"');
    expect([stale.status, stale.body.length]).toEqual([200, whole.body.length]);
    const tail = await curl(path, "-r", "-2");
    expect(tail.body).toEqual(whole.body.subarray(-2));
    const beyond = await curl(path, "-r", `${whole.body.length}-`);
    expect([beyond.status, beyond.fields.get("content-range")]).toEqual([416, `bytes */${whole.body.length}`]);
  });

  test("gets a large file whole, at full and at low speed", async () => {
    const sum = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
    expect(sum((await curl("/large.bin")).body)).toBe(sum(large));
    expect(sum((await curl("/large.bin", "--limit-rate", "4M")).body)).toBe(sum(large));
  });

  test("asks with HEAD", async () => {
    for (const path of ["/a.txt", "/large.bin"]) {
      const { stdout } = await run("curl", ["-sSI", proxy.url + path]);
      expect(stdout).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
      expect(stdout).toMatch(new RegExp(`content-length: ${path === "/a.txt" ? 10 : large.length}\r\n`, "i"));
    }
  });

  test.each([
    ["/", 200, "<h1>home</h1>\n"],
    ["/sub/", 200, "sub"],
    ["/name%20with%20space.txt", 200, "space"],
    ["/app/deep/link", 200, "<h1>home</h1>\n"],
    ["/app/a.txt", 200, "0123456789"],
    ["/healthz", 200, "ok\n"],
  ])("%s", async (path, status, body) => {
    const answer = await curl(path);
    expect([answer.status, answer.body.toString()]).toEqual([status, body]);
  });

  test("is sent to the slash of a directory", async () => {
    const { status, fields } = await curl("/sub?x=1");
    expect([status, fields.get("location")]).toEqual([308, "/sub/?x=1"]);
    expect((await curl("//sub")).fields.get("location")).toBe("/sub/");
    expect((await curl("/empty/")).status).toBe(403);
  });

  test("is told how long to keep a hashed name", async () =>
    expect((await curl("/assets/app-BX2k3_9a.js")).fields.get("cache-control")).toBe(
      "public, max-age=31536000, immutable",
    ));

  test("may not write", async () => {
    const { status, fields } = await curl("/a.txt", "-X", "DELETE");
    expect([status, fields.get("allow")]).toEqual([405, "GET, HEAD"]);
  });

  test("gets errors as it likes to read them, always with the request's id and never a stack", async () => {
    const page = await curl("/none", "-H", "Accept: text/html");
    expect([page.status, page.fields.get("content-type")]).toEqual([404, "text/html; charset=utf-8"]);
    const json = await curl("/none", "-H", "Accept: application/json");
    expect(JSON.parse(json.body.toString())).toMatchObject({ status: 404, id: json.fields.get("x-request-id") });
  });

  test("reaches the unix socket as well", async () => {
    const { stdout } = await run("curl", ["-sS", "--unix-socket", proxy.socket, "http://any/a.txt"]);
    expect(stdout).toBe("0123456789");
  });
});

describe("nothing outside of the root is served", () => {
  test.each([
    "/../outside.txt",
    "/..%2foutside.txt",
    "/%2e%2e/outside.txt",
    "/%2e%2e%2foutside.txt",
    "/sub/../../outside.txt",
    "/sub/%2e%2e/%2e%2e/outside.txt",
    "//../outside.txt",
    "/assets/../../outside.txt",
    "/assets/..%2f..%2foutside.txt",
    "/assets/..%5c..%5coutside.txt",
    "/..%c0%afoutside.txt",
    "/a.txt%00.html",
    "/link.txt",
    "/.env",
    "/%2eenv",
    "/sub/..;/..;/outside.txt",
    "/app/../../outside.txt",
  ])("%s", async (path) => {
    const answer = await raw(`GET ${path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 (400|404|200) /);
    expect(answer).not.toMatch(/outside\n?$|SECRET/);
  });
});

describe("a file that changes", () => {
  test("is served as it is now, a second later at most", async () => {
    writeFileSync(proxy.path("public/live.txt"), "before");
    const first = await curl("/live.txt");
    expect(first.body.toString()).toBe("before");
    writeFileSync(proxy.path("public/live.new"), "after!");
    renameSync(proxy.path("public/live.new"), proxy.path("public/live.txt"));
    await expect.poll(async () => (await curl("/live.txt")).body.toString(), { timeout: 5000 }).toBe("after!");
    // Each thread looks for itself.
    const again = async (): Promise<number> =>
      (await curl("/live.txt", "-H", `If-None-Match: ${first.fields.get("etag")!}`)).status;
    await expect.poll(again, { timeout: 5000 }).toBe(200);
  });
});

describe("memory", () => {
  test("stays bounded while many slow readers take a large file", async () => {
    const threads = proxy.command.output.match(/"pid":(\d+)/)![1]!;
    const resident = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${threads}/status`, "utf8"))![1]);
    const before = resident();
    const clients = await Promise.all(Array.from({ length: 100 }, () => RawClient.open(proxy.url)));
    for (const client of clients) {
      client.socket.pause();
      client.send("GET /large.bin HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    expect((await curl("/a.txt")).status).toBe(200);
    await new Promise((wake) => setTimeout(wake, 1000));
    // 100 whole copies would be 500 MiB. What is held is a chunk each, and garbage until it is collected.
    expect(resident() - before).toBeLessThan(200 * 1024);
    for (const client of clients) client[Symbol.dispose]();
    expect((await curl("/a.txt")).status).toBe(200);
  });
});
