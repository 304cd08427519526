/** The server's end of the link: accepted by the master, spread over workers, drained before a worker leaves. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { conformanceCases, runConformance } from "@portico/gateway/conformance";
import { Command } from "../support/command.ts";
import { LinkClient } from "../support/link-client.ts";
import { apps, ServerUnderTest } from "../support/server.ts";
import { Playground, StackUnderTest } from "../support/stack.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-link-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const SECRET = "a secret of the suite";
let sockets = 0;

class LinkedServer implements AsyncDisposable {
  readonly command: Command;
  readonly path: string;

  private constructor(command: Command, path: string) {
    this.command = command;
    this.path = path;
  }

  static async start(app: string, args: readonly string[] = []): Promise<LinkedServer> {
    const path = join(folder, `${++sockets}.sock`);
    const command = new Command("server", [app, "-b", `link+unix:${path}`, ...args], {
      cwd: apps,
      env: { PORTICO_LINK_SECRET: SECRET },
    });
    await command.printed(/ready on link/);
    return new LinkedServer(command, path);
  }

  link(): Promise<LinkClient> {
    return LinkClient.open({ path: this.path });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.command[Symbol.asyncDispose]();
  }
}

test.each([
  ["express-listen.ts", "express-listen"],
  ["fastify-export.ts", "fastify-export"],
  ["koa.mjs", "koa"],
  ["hono.ts", "hono"],
  ["h3.mjs", "h3"],
  ["plain-listen.cjs", "plain-listen"],
  ["tsgi.ts", "tsgi"],
])("%s answers over the link as it does over HTTP", async (file, name) => {
  await using server = await LinkedServer.start(file);
  using link = await server.link();
  expect(await link.ask("/")).toEqual({ status: 200, text: `hello from ${name}` });
  expect((await link.ask("/query?a=%2Fb")).text).toBe("/query?a=%2Fb");
  expect((await link.ask("/stream")).text).toBe("onetwothree");
  expect((await link.ask("/missing")).status).toBe(404);
  const body = randomBytes(1_000_000).toString("base64");
  for (const sent of ["small", body]) expect((await link.ask("/echo", "POST", sent)).text === sent).toBe(true);
  const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => link.ask(`/query?n=${index}`)));
  expect(answers.map(({ text }) => text)).toEqual(Array.from({ length: 50 }, (_, index) => `/query?n=${index}`));
});

test("links are spread evenly, and each says whose it is", async () => {
  await using server = await LinkedServer.start("tsgi.ts", ["-w", "2", "--concurrency", "7"]);
  const links: LinkClient[] = [];
  for (let count = 0; count < 6; count++) links.push(await server.link());
  const workers = links.map(({ hello }) => hello.worker);
  expect(workers.filter((worker) => worker === 1)).toHaveLength(3);
  expect(workers.filter((worker) => worker === 2)).toHaveLength(3);
  expect(links[0]!.hello).toMatchObject({ role: "worker", generation: 1, workers: 2, concurrency: 7 });
  for (const link of links) {
    const worker = JSON.parse((await link.ask("/worker")).text);
    expect(worker.id).toBe(link.hello.worker);
    link[Symbol.dispose]();
    await link.closed;
  }
  // The master's count follows links that end, a moment later.
  for (let tries = 0; ; tries++) {
    const pair = [await server.link(), await server.link()];
    const reached = new Set(pair.map(({ hello }) => hello.worker)).size;
    for (const link of pair) link[Symbol.dispose]();
    if (reached === 2) break;
    expect(tries).toBeLessThan(20);
  }
});

test("the front's word on the client is taken, and STATUS tells of the event loop", async () => {
  await using server = await LinkedServer.start("tsgi.ts");
  using link = await server.link();
  expect(JSON.parse((await link.ask("/connection")).text)).toMatchObject({
    id: "link-1",
    client: { address: "203.0.113.7", vouchedBy: "link" },
    local: { address: server.path },
  });
  expect((await link.status).inFlight).toBe(0);
});

test("HUP: the link is told to drain, its request finishes, new links reach the new generation", async () => {
  await using server = await LinkedServer.start("tsgi.ts", ["-w", "2"]);
  const links = [await server.link(), await server.link()];
  const slow = links.map((link) => link.ask("/slow?ms=1500"));
  server.command.signal("SIGHUP");
  await Promise.all(links.map(({ drained }) => drained));
  expect(await Promise.all(slow)).toEqual([
    { status: 200, text: "slow" },
    { status: 200, text: "slow" },
  ]);
  expect(await Promise.all(links.map(({ closed }) => closed))).toEqual([undefined, undefined]);
  await server.command.printed(/"msg":"reloaded: ready on/);
  using fresh = await server.link();
  expect(fresh.hello.generation).toBe(2);
});

test("a request on one link after another, through reloads: none fails that is not refused as safe to retry", async () => {
  await using server = await LinkedServer.start("tsgi.ts", ["-w", "2"]);
  const load = { on: true, answered: 0 };
  const front = async (): Promise<void> => {
    let link = await server.link();
    while (load.on) {
      if (link.session.draining || link.session.isClosed) link = await server.link();
      try {
        expect((await link.ask("/slow?ms=1")).status).toBe(200);
        load.answered++;
      } catch (error) {
        // It crossed the DRAIN, and was certainly not processed: a front sends it to another worker.
        expect(error).toMatchObject({ refused: true });
      }
    }
    link[Symbol.dispose]();
  };
  const fronts = Promise.all([front(), front(), front()]);
  for (let reload = 0; reload < 3; reload++) {
    const from = server.command.output.length;
    server.command.signal("SIGHUP");
    await server.command.printed(/"msg":"reloaded: ready on/, from);
  }
  load.on = false;
  await fronts;
  expect(load.answered).toBeGreaterThan(50);
});

test("TERM with a request under way on a link: it is answered, the socket is gone, the exit code is 0", async () => {
  await using server = await LinkedServer.start("tsgi.ts");
  using link = await server.link();
  const slow = link.ask("/slow?ms=500&say=slow");
  await server.command.printed(/begun slow/);
  const exit = server.command.stop("SIGTERM");
  expect(await slow).toEqual({ status: 200, text: "slow" });
  expect(await exit).toEqual({ code: 0, signal: null });
  expect(existsSync(server.path)).toBe(false);
});

test("kill -9 of a worker: its link is lost, the next is served", async () => {
  await using server = await LinkedServer.start("tsgi.ts");
  using link = await server.link();
  const { pid } = JSON.parse((await link.ask("/worker")).text) as { pid: number };
  process.kill(pid, "SIGKILL");
  expect(await link.closed).toMatchObject({ code: "lost" });
  // A link that the master passes on before it knows is lost too: a front dials again.
  await server.command.printed(/"type":"crashed"/);
  using next = await server.link();
  expect((await next.ask("/")).status).toBe(200);
});

test("over TCP only who knows the secret is served", async () => {
  await using command = new Command("server", ["tsgi.ts", "-b", "link://127.0.0.1:0"], {
    cwd: apps,
    env: { PORTICO_LINK_SECRET: SECRET },
  });
  const [, port] = await command.printed(/ready on link:\/\/127\.0\.0\.1:(\d+)/);
  const to = { host: "127.0.0.1", port: Number(port) };
  using link = await LinkClient.open(to, SECRET);
  expect((await link.ask("/")).text).toBe("hello from tsgi");
  await expect(LinkClient.open(to, "some other secret")).rejects.toThrow();
  await expect(LinkClient.open(to)).rejects.toThrow();
});

test("the TSGI conformance kit over the link, behind portico's own front", async () => {
  using playground = new Playground();
  await using stack = await StackUnderTest.start(playground, join(apps, "conformance.ts"), ["--workers", "1"]);
  const results = await runConformance({ url: stack.url }, { behindFront: true });
  expect(results.length).toBeGreaterThan(60);
  expect(results.filter(({ error }) => error !== undefined)).toEqual([]);
});

describe("the TSGI conformance kit against portico-server", () => {
  let server: ServerUnderTest | undefined;
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });
  for (const { id, title, run } of conformanceCases)
    test(`${id} ${title}`, async () => {
      server ??= await ServerUnderTest.start("conformance.ts");
      await run({ url: server.url });
    });
});
