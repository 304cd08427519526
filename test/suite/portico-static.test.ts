/** `portico serve --static`: files come from the front, all else from the application. */
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Playground, StackUnderTest } from "../support/stack.ts";

const application = `export default (request, ctx) => ({
  headers: { "content-type": "text/plain" },
  body: request.method + " " + ctx.http.target + " from the application",
});`;

const letters = "abcdefghijklmnopqrstuvwxyz";
let playground: Playground;
let stack: StackUnderTest;

beforeAll(async () => {
  playground = new Playground();
  const app = playground.write("app.mjs", application);
  mkdirSync(playground.path("public/assets"), { recursive: true });
  writeFileSync(playground.path("public/letters.txt"), letters);
  writeFileSync(playground.path("public/index.html"), "<title>the file</title>");
  writeFileSync(playground.path("public/assets/site.0123abcdef.css"), "a{}");
  writeFileSync(playground.path("public/.secret"), "hidden");
  writeFileSync(playground.path("outside.txt"), "outside");
  stack = await StackUnderTest.start(playground, app, ["--static", playground.path("public")]);
});
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
  playground[Symbol.dispose]();
});

async function curl(...args: string[]): Promise<{ head: string; body: string }> {
  const { stdout } = await promisify(execFile)("curl", ["-sS", "-i", "--max-time", "10", ...args]);
  const end = stdout.indexOf("\r\n\r\n");
  return { head: stdout.slice(0, end).toLowerCase(), body: stdout.slice(end + 4) };
}

test("the banner says where files come from", () => {
  expect(stack.command.output).toContain("  files        public, where there is one of the name asked for\n");
});

test("a file is served by the front, with its type, length and validators", async () => {
  const { status, headers, text } = await stack.ask("/letters.txt");
  expect([status, text]).toEqual([200, letters]);
  expect(headers).toMatchObject({
    "content-type": expect.stringMatching(/^text\/plain/),
    "content-length": "26",
    "accept-ranges": "bytes",
    "cache-control": "no-cache",
    etag: expect.stringMatching(/^(W\/)?"/),
    "last-modified": expect.stringMatching(/GMT$/),
  });
});

test("a folder's index goes before the application", async () => {
  expect((await stack.ask("/")).text).toBe("<title>the file</title>");
});

test("a name with a hash may be kept for a year", async () => {
  const { headers } = await stack.ask("/assets/site.0123abcdef.css");
  expect(headers["cache-control"]).toBe("public, max-age=31536000, immutable");
});

test.each([
  ["0-4", "bytes 0-4/26", "abcde"],
  ["20-", "bytes 20-25/26", "uvwxyz"],
  ["-3", "bytes 23-25/26", "xyz"],
  ["24-999", "bytes 24-25/26", "yz"],
])("curl --range %s", async (range, contentRange, expected) => {
  const { head, body } = await curl("--range", range, `${stack.url}/letters.txt`);
  expect(head).toMatch(/^http\/1\.1 206 /);
  expect(head).toContain(`content-range: ${contentRange}`);
  expect(body).toBe(expected);
});

test("a range beyond the file is 416 and says how long the file is", async () => {
  const { head } = await curl("--range", "26-", `${stack.url}/letters.txt`);
  expect(head).toMatch(/^http\/1\.1 416 /);
  expect(head).toContain("content-range: bytes */26");
});

test("conditional requests: 304 by ETag and by date, 412 where it must not match, If-Range", async () => {
  const { headers } = await stack.ask("/letters.txt");
  const etag = String(headers["etag"]);
  const modified = String(headers["last-modified"]);
  const ask = async (fields: Record<string, string>): Promise<number> =>
    (await stack.ask("/letters.txt", { headers: fields })).status;
  expect(await ask({ "if-none-match": etag })).toBe(304);
  expect(await ask({ "if-none-match": '"another"' })).toBe(200);
  expect(await ask({ "if-modified-since": modified })).toBe(304);
  expect(await ask({ "if-modified-since": "Thu, 01 Jan 1970 00:00:01 GMT" })).toBe(200);
  expect(await ask({ "if-match": '"another"' })).toBe(412);
  expect(await ask({ range: "bytes=0-1", "if-range": etag })).toBe(206);
  expect(await ask({ range: "bytes=0-1", "if-range": '"another"' })).toBe(200);
});

test("HEAD has the fields of GET and no body", async () => {
  const { head, body } = await curl("--head", `${stack.url}/letters.txt`);
  expect(head).toContain("content-length: 26");
  expect(body).toBe("");
});

test.each([
  ["a name that is no file", "GET", "/nothing?x=1"],
  ["a dotfile", "GET", "/.secret"],
  ["another method on a file's name", "POST", "/letters.txt"],
] as const)("%s goes to the application", async (_what, method, path) => {
  const { head, body } = await curl("--path-as-is", "--request", method, `${stack.url}${path}`);
  expect(head).toMatch(/^http\/1\.1 200 /);
  expect(body).toBe(`${method} ${path} from the application`);
});

test("there is no way out of the folder", async () => {
  for (const path of ["/../outside.txt", "/%2e%2e/outside.txt", "/assets/..%2f..%2foutside.txt", "/..\\outside.txt"]) {
    const { head, body } = await curl("--path-as-is", `${stack.url}${path}`);
    expect(head, path).toMatch(/^http\/1\.1 (200|400|404) /);
    expect(body, path).not.toBe("outside");
  }
});
