/** `X-Accel-Redirect`: an application decides, another route of the proxy answers. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { serverHandler } from "@portico/gateway/node";
import { acceptLink } from "@portico/link/socket";
import { ProxyUnderTest, site } from "../support/proxy.ts";
import { Playground, StackUnderTest } from "../support/stack.ts";

const run = promisify(execFile);
const LARGE = Buffer.alloc(3 * 1024 * 1024 + 5, "0123456789");
const asked: { method: string; url: string; length: string | undefined; body: string }[] = [];

/** What to send on to is in the query, and so are fields of the response. */
function application(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url!, "http://a");
  let body = "";
  request.on("data", (chunk: Buffer) => (body += chunk.toString()));
  request.on("end", () => {
    asked.push({ method: request.method!, url: request.url!, length: request.headers["content-length"], body });
    if (url.pathname.endsWith("/circle")) response.setHeader("X-Accel-Redirect", request.url!);
    else if (url.searchParams.has("to")) response.setHeader("X-Accel-Redirect", url.searchParams.get("to")!);
    if (url.searchParams.has("typed")) {
      response.setHeader("Content-Type", "application/x-report");
      response.setHeader("Content-Disposition", 'attachment; filename="report.txt"');
      response.setHeader("Cache-Control", "private, max-age=7");
      response.setHeader("Set-Cookie", ["a=1", "b=2"]);
      response.setHeader("X-Own", "yes");
      response.setHeader("X-Accel-Limit-Rate", "1");
    }
    response.setHeader("ETag", '"of the application"');
    if (url.searchParams.has("body")) {
      response.write("a part");
      // The rest never comes: whoever waits for it would wait for ever.
      return;
    }
    response.end(`application ${request.url}`);
  });
}

const http = createServer(application);
const linked = serverHandler(createServer(application));
const link = createTcpServer((socket) => {
  socket.on("error", () => {});
  acceptLink(socket, linked, { worker: { id: 1, generation: 1, count: 1, concurrency: 100 } });
});
const place = new Playground();
const linkPath = place.path("app.sock");
let proxy: ProxyUnderTest;

beforeAll(async () => {
  await once(http.listen(0, "127.0.0.1"), "listening");
  await once(link.listen(linkPath), "listening");
  proxy = await ProxyUnderTest.start(
    {
      upstreams: {
        http: { servers: [`http://127.0.0.1:${(http.address() as AddressInfo).port}`] },
        link: { servers: [`link+unix:${linkPath}`] },
      },
      ...site(
        { path: "/files/*", internal: true, static: { root: "files", stripPrefix: true } },
        { path: "/layers/*", internal: true, static: { root: "files", stripPrefix: true, fallthrough: true } },
        { path: "/layers/*", proxy: { upstream: "http" } },
        { path: "/old", internal: true, redirect: { to: "/new" } },
        { path: "/fixed", internal: true, respond: { body: "fixed" } },
        { path: "/http/*", proxy: { upstream: "http", request: { mode: "stream" } } },
        { path: "/link/*", proxy: { upstream: "link" } },
      ),
    },
    { files: { "files/report.txt": "0123456789", "files/a b.txt": "space", "files/large.bin": LARGE } },
  );
});
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  http.closeAllConnections();
  http.close();
  link.close();
  place[Symbol.dispose]();
});

async function curl(path: string, ...args: string[]): Promise<{ status: number; head: string; body: string }> {
  const { stdout } = await run("curl", ["-sS", "-i", "--max-time", "20", ...args, proxy.url + path], {
    encoding: "latin1",
    maxBuffer: 64 * 1024 * 1024,
  });
  const end = stdout.indexOf("\r\n\r\n");
  return { status: Number(stdout.slice(9, 12)), head: stdout.slice(0, end + 2), body: stdout.slice(end + 4) };
}

const to = (target: string): string => `to=${encodeURIComponent(target)}`;

describe.each(["http", "link"] as const)("over %s", (transport) => {
  const ask = (query: string, ...args: string[]): ReturnType<typeof curl> => curl(`/${transport}/x?${query}`, ...args);

  test("a file is answered in the application's name", async () => {
    const plain = await ask(to("/files/report.txt"));
    expect([plain.status, plain.body]).toEqual([200, "0123456789"]);
    expect(plain.head).not.toMatch(/x-accel/i);
    expect(plain.head).not.toContain("of the application");
    const typed = await ask(`${to("/files/report.txt")}&typed`);
    expect(typed.body).toBe("0123456789");
    expect(typed.head).toMatch(/^content-type: application\/x-report\r$/im);
    expect(typed.head).toMatch(/^content-length: 10\r$/im);
    expect(typed.head).toMatch(/^content-disposition: attachment; filename="report.txt"\r$/im);
    expect(typed.head).toMatch(/^cache-control: private, max-age=7\r$/im);
    expect(typed.head).toMatch(/^set-cookie: a=1\r$/im);
    expect(typed.head).toMatch(/^set-cookie: b=2\r$/im);
    expect(typed.head).toMatch(/^x-own: yes\r$/im);
    expect(typed.head).toMatch(/^etag: /im);
    expect(typed.head).not.toMatch(/x-accel/i);
    expect(typed.head.match(/^content-type:/gim)).toHaveLength(1);
    expect((await ask(to("/files/a%20b.txt"))).body).toBe("space");
    expect((await ask(to("/files/large.bin"))).body === LARGE.toString("latin1")).toBe(true);
  });

  test("ranges, conditions and HEAD are for the file", async () => {
    const part = await ask(`${to("/files/report.txt")}&typed`, "-r", "2-4");
    expect([part.status, part.body]).toEqual([206, "234"]);
    expect(part.head).toMatch(/^content-type: application\/x-report\r$/im);
    const parts = await ask(`${to("/files/large.bin")}&typed`, "-r", "0-0,2000000-2000009");
    expect(parts.head).toMatch(/^content-type: multipart\/byteranges/im);
    const beyond = await ask(`${to("/files/report.txt")}&typed`, "-r", "90-");
    expect(beyond.status).toBe(416);
    expect(beyond.head).toMatch(/^set-cookie: a=1\r$/im);
    expect(beyond.head).not.toMatch(/^content-disposition/im);
    const tag = /^etag: (.*)\r$/im.exec(part.head)![1]!;
    const same = await ask(`${to("/files/report.txt")}&typed`, "-H", `If-None-Match: ${tag}`);
    expect([same.status, same.body]).toEqual([304, ""]);
    expect(same.head).toMatch(/^cache-control: private, max-age=7\r$/im);
    const head = await ask(to("/files/report.txt"), "-I");
    expect([head.status, head.body]).toEqual([200, ""]);
    expect(head.head).toMatch(/^content-length: 10\r$/im);
  });

  test("other routes, and what is not there", async () => {
    const missing = await ask(`${to("/files/none")}&typed`);
    expect(missing.status).toBe(404);
    expect(missing.head).toMatch(/^set-cookie: a=1\r$/im);
    expect(missing.head).not.toMatch(/application\/x-report/);
    expect((await ask(to("/nowhere"))).status).toBe(404);
    expect((await ask(to("/fixed"))).body).toBe("fixed");
    const moved = await ask(`${to("/old")}&typed`);
    expect([moved.status, /^location: (.*)\r$/im.exec(moved.head)?.[1]]).toEqual([308, "/new"]);
    expect((await ask(to("/layers/report.txt"))).body).toBe("0123456789");
    expect((await ask(to("/layers/app?q=1"))).body).toBe("application /layers/app?q=1");
    // Of the two applications, the last names the answer; its own is sent on again.
    expect((await ask(to(`/link/y?${to("/files/report.txt")}`))).body).toBe("0123456789");
  });

  test("a request with a body goes on without it, as GET", async () => {
    for (const size of [10, 300_000]) {
      asked.length = 0;
      const body = "b".repeat(size);
      const answer = await ask(
        to("/http/then"),
        "-X",
        "POST",
        "-H",
        "Expect:",
        "--data-binary",
        body.slice(0, 100_000),
      );
      expect(answer.body).toBe("application /http/then");
      expect(asked.map(({ method, body: sent }) => [method, sent.length])).toEqual([
        ["POST", Math.min(size, 100_000)],
        ["GET", 0],
      ]);
      expect(asked[1]!.length).toBeUndefined();
    }
  });

  test("what follows in the application's response is not waited for", async () => {
    expect((await ask(`${to("/files/report.txt")}&body`)).body).toBe("0123456789");
  });

  test("no path is a 502, and so is a circle", async () => {
    for (const wrong of ["https://example.com/x", "files/report.txt", "/a b", "/../../etc/passwd", "/%zz", "@named"])
      expect([wrong, (await ask(to(wrong))).status]).toEqual([wrong, 502]);
    asked.length = 0;
    expect((await curl(`/${transport}/circle`)).status).toBe(502);
    expect(asked.length).toBe(11);
    await proxy.command.printed(/X-Accel-Redirect goes round in a circle/);
    await proxy.command.printed(/X-Accel-Redirect must be a path/);
  });
});

test("internal routes are not there for clients", async () => {
  for (const path of ["/files/report.txt", "/%66iles/report.txt", "//files/report.txt", "/x/../files/report.txt"])
    expect([path, (await curl(path, "--path-as-is")).status]).toEqual([path, 404]);
  expect((await curl("/layers/report.txt")).body).toBe("application /layers/report.txt");
  expect((await curl("/files/report.txt", "-H", "X-Accel-Redirect: /files/report.txt")).status).toBe(404);
});

test("an application over the link is told that it may: ctx.internalRedirect", async () => {
  using playground = new Playground();
  const app = playground.write(
    "app.mjs",
    `export default (request, ctx) =>
      ctx.http.target === "/first"
        ? ctx.internalRedirect("/second?x=1", { headers: { "x-kept": "yes" } })
        : { body: ctx.http.method + " " + ctx.http.target };`,
  );
  await using stack = await StackUnderTest.start(playground, app, ["--workers", "1"]);
  const answer = await stack.ask("/first", { method: "POST", body: "form" });
  expect([answer.status, answer.text, answer.headers["x-kept"]]).toEqual([200, "GET /second?x=1", "yes"]);
});
