/**
 * The same requests for the same files, to this proxy and to nginx: what both answer alike is what the test says, so
 * the test itself is right. Where they differ on purpose, the case says what nginx does.
 */
import { execFileSync } from "node:child_process";
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, utimesSync, writeFileSync, writeSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NginxUnderTest, nginxIsThere } from "../support/nginx.ts";
import { ProxyUnderTest, site } from "../support/proxy.ts";
import { RawClient } from "../support/raw.ts";

const LONG = process.env["PORTICO_LONG"] !== undefined;
const MODIFIED = Date.parse("Sun, 06 Nov 1994 08:49:37 GMT") / 1000;
const GIB = 1024 ** 3;
/** Names that need care: what is on disk, and how one asks for it. */
const NAMES = [
  ["with space.txt", "/with%20space.txt"],
  ["plus+plus.txt", "/plus+plus.txt"],
  ["100%.txt", "/100%25.txt"],
  ["%41.txt", "/%2541.txt"],
  ["grüße 李.txt", "/gr%C3%BC%C3%9Fe%20%E6%9D%8E.txt"],
  ["dots..and...txt", "/dots..and...txt"],
  ["semi;colon&amp.txt", "/semi;colon&amp.txt"],
  ["quest?ion#hash.txt", "/quest%3Fion%23hash.txt"],
  ["back\\slash.txt", "/back%5Cslash.txt"],
  ["Case.TXT", "/Case.TXT"],
] as const;

let proxy: ProxyUnderTest;
let nginx: NginxUnderTest | undefined;

beforeAll(async () => {
  const files = Object.fromEntries(NAMES.map(([name]) => [`public/${name}`, `content of ${name}`]));
  proxy = await ProxyUnderTest.start(site({ path: "/*", static: { root: "public" } }), {
    files: { ...files, "public/ten.txt": "0123456789", "public/empty.txt": "", "public/sub/index.html": "index" },
  });
  for (const name of ["ten.txt", "empty.txt"]) utimesSync(proxy.path(`public/${name}`), MODIFIED, MODIFIED);
  const huge = openSync(proxy.path("public/huge.bin"), "w");
  ftruncateSync(huge, 5 * GIB);
  writeSync(huge, "the end", 5 * GIB - 7);
  closeSync(huge);
  if (nginxIsThere) nginx = await NginxUnderTest.serving(proxy.path("public"));
  else console.log("nginx is not installed: its half of these cases is left out");
});
afterAll(async () => {
  await nginx?.[Symbol.asyncDispose]();
  await proxy[Symbol.asyncDispose]();
});

interface Answer {
  readonly status: number;
  readonly range: string | undefined;
  readonly body: string;
}

async function ask(
  base: string,
  path: string,
  fields: Readonly<Record<string, string>>,
  method = "GET",
): Promise<Answer> {
  using client = await RawClient.open(base);
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  client.send(`${method} ${path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n${lines.join("")}\r\n`);
  const text = await client.closed();
  const end = text.indexOf("\r\n\r\n");
  const head = text.slice(0, end);
  const body = text.slice(end + 4);
  return {
    status: Number(head.split(" ")[1]),
    range: /^content-range: (.*)$/im.exec(head)?.[1]?.trim(),
    body: head.includes("multipart/byteranges") ? partsOf(head, body) : body,
  };
}

/** The parts of a multipart answer without what each server chooses freely. */
function partsOf(head: string, body: string): string {
  const boundary = /boundary=(\S+)/.exec(head)![1]!;
  return body
    .split(`--${boundary}`)
    .slice(1, -1)
    .map((part) => `${/content-range: (.*)\r$/im.exec(part)![1]} ${part.slice(part.indexOf("\r\n\r\n") + 4, -2)}`)
    .join(" | ");
}

const BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT";
const SAME = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER = "Sun, 06 Nov 1994 08:49:38 GMT";

/** Path, fields, and the answer: status, Content-Range, body (errors: none). `nginx`: what it answers instead. */
const CASES: readonly [string, Record<string, string>, Partial<Answer>, Partial<Answer>?][] = [
  ["/ten.txt", {}, { status: 200, body: "0123456789" }],
  ["/ten.txt", { "If-Modified-Since": SAME }, { status: 304, body: "" }],
  ["/ten.txt", { "If-Modified-Since": BEFORE }, { status: 200 }],
  // nginx compares for equality unless it is told otherwise (if_modified_since before).
  ["/ten.txt", { "If-Modified-Since": AFTER }, { status: 304 }, { status: 200 }],
  ["/ten.txt", { "If-Unmodified-Since": BEFORE }, { status: 412 }],
  ["/ten.txt", { "If-Unmodified-Since": SAME }, { status: 200 }],
  ["/ten.txt", { "If-Match": '"none"' }, { status: 412 }],
  ["/ten.txt", { "If-Match": "*" }, { status: 200 }],
  ["/ten.txt", { "If-None-Match": "*" }, { status: 304 }],
  ["/ten.txt", { "If-None-Match": '"none"', "If-Modified-Since": SAME }, { status: 200 }],
  ["/ten.txt", { Range: "bytes=2-4" }, { status: 206, range: "bytes 2-4/10", body: "234" }],
  ["/ten.txt", { Range: "bytes=-3" }, { status: 206, range: "bytes 7-9/10", body: "789" }],
  ["/ten.txt", { Range: "bytes=7-" }, { status: 206, range: "bytes 7-9/10", body: "789" }],
  ["/ten.txt", { Range: "bytes=0-99" }, { status: 206, range: "bytes 0-9/10", body: "0123456789" }],
  ["/ten.txt", { Range: "bytes=10-" }, { status: 416, range: "bytes */10" }],
  // RFC 9110 §14.2: a malformed field is ignored; nginx answers 416.
  ["/ten.txt", { Range: "bytes=4-2" }, { status: 200, body: "0123456789" }, { status: 416 }],
  ["/ten.txt", { Range: "lines=1-2" }, { status: 200, body: "0123456789" }],
  ["/ten.txt", { Range: "bytes=2-4", "If-Range": SAME }, { status: 206, body: "234" }],
  ["/ten.txt", { Range: "bytes=2-4", "If-Range": BEFORE }, { status: 200 }],
  ["/ten.txt", { Range: "bytes=2-4", "If-Range": '"none"' }, { status: 200 }],
  ["/ten.txt", { Range: "bytes=2-4", "If-Modified-Since": SAME }, { status: 304 }],
  ["/ten.txt", { Range: "bytes=0-0,9-9" }, { status: 200 }, { status: 206 }],
  [
    "/huge.bin",
    { Range: "bytes=-7" },
    { status: 206, range: "bytes 5368709113-5368709119/5368709120", body: "the end" },
  ],
  [
    "/huge.bin",
    { Range: "bytes=0-1,-3" },
    { status: 206, body: "bytes 0-1/5368709120 \0\0 | bytes 5368709117-5368709119/5368709120 end" },
  ],
  ["/empty.txt", {}, { status: 200, body: "" }],
  ["/empty.txt", { Range: "bytes=0-" }, { status: 416, range: "bytes */0" }, { status: 200 }],
  ["/sub/", {}, { status: 200, body: "index" }],
  ["/none", {}, { status: 404 }],
  ["/ten.txt/", {}, { status: 404 }],
  ["/case.txt", {}, { status: 404 }],
  ...NAMES.map(([name, path]): [string, Record<string, string>, Partial<Answer>] => [
    path,
    {},
    { status: 200, body: Buffer.from(`content of ${name}`).toString("latin1") },
  ]),
];

describe("portico", () => {
  test.each(CASES)("%s %j", async (path, fields, expected) => {
    expect(await ask(proxy.url, path, fields)).toMatchObject(expected);
  });
});

describe.skipIf(!nginxIsThere)("nginx", () => {
  test.each(CASES)("%s %j", async (path, fields, expected, differs) => {
    expect(await ask(nginx!.url, path, fields)).toMatchObject(differs ?? expected);
  });
});

test("5 GiB by HEAD", async () => {
  using client = await RawClient.open(proxy.url);
  client.send("HEAD /huge.bin HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
  expect(await client.closed()).toMatch(/^HTTP\/1\.1 200 [^]*\r\nContent-Length: 5368709120\r\n/);
});

test("a file that cannot be read any more is 403, one that is removed 404, both within the second", async () => {
  writeFileSync(proxy.path("public/going.txt"), "here");
  expect((await ask(proxy.url, "/going.txt", {})).body).toBe("here");
  rmSync(proxy.path("public/going.txt"));
  await expect.poll(async () => (await ask(proxy.url, "/going.txt", {})).status, { timeout: 5000 }).toBe(404);
});

test.runIf(LONG)("5 GiB whole", { timeout: 120_000 }, () => {
  const { stdout } = {
    stdout: execFileSync("curl", [
      "-s",
      "-o",
      "/dev/null",
      "-w",
      "%{http_code} %{size_download}",
      `${proxy.url}/huge.bin`,
    ]),
  };
  expect(stdout.toString()).toBe("200 5368709120");
});

test.runIf(LONG)("100,000 files in a folder", { timeout: 120_000 }, async () => {
  mkdirSync(proxy.path("public/many"));
  for (let index = 0; index < 100_000; index++) writeFileSync(proxy.path(`public/many/${index}.txt`), String(index));
  for (let index = 0; index < 100_000; index += 997)
    expect((await ask(proxy.url, `/many/${index}.txt`, {})).body).toBe(String(index));
});
