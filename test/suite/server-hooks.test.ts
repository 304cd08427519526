/** Hooks of the configuration module: each at its moment, in its process. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Command } from "../support/command.ts";
import { apps, ServerUnderTest } from "../support/server.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-hooks-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;

/** A configuration whose hooks write down that they were called, in which process, with what. */
class Noted {
  readonly notes = join(folder, `${++files}.notes`);
  readonly file = join(folder, `${files}.config.mjs`);

  constructor(hooks: string, settings = {}) {
    writeFileSync(this.notes, "");
    this.write(hooks, settings);
  }

  write(hooks: string, settings = {}): void {
    writeFileSync(
      this.file,
      `import { appendFileSync } from "node:fs";
const note = (name, ...facts) => appendFileSync(${JSON.stringify(this.notes)}, JSON.stringify([name, process.pid, ...facts]) + "\\n");
export default ${JSON.stringify({ probation: 0, ...settings })};
export const hooks = { ${hooks} };`,
    );
  }

  /** Name, process and facts of each call so far. */
  get calls(): [name: string, pid: number, ...facts: unknown[]][] {
    return readFileSync(this.notes, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));
  }

  names(): string[] {
    return this.calls.map(([name]) => name);
  }

  of(name: string): unknown[][] {
    return this.calls.filter(([called]) => called === name).map(([, ...rest]) => rest);
  }
}

const ALL = `
  onStarting: async (server) => note("onStarting", server.addresses, server.workers().length),
  onReload: (server) => note("onReload", server.wanted),
  whenReady: async (server) => note("whenReady", server.application, server.workers().map(({ state }) => state)),
  preFork: (server, worker) => note("preFork", worker),
  childExit: (server, worker) => note("childExit", worker),
  workersChanged: (server, now, before) => note("workersChanged", now, before),
  onExit: async (server) => note("onExit", server.workers().length),
  postFork: async ({ id, generation, pid }) => note("postFork", { id, generation }, pid),
  postWorkerInit: async ({ id }) => note("postWorkerInit", id),
  preRequest: ({ id }, request) => note("preRequest", id, request),
  postRequest: ({ id }, request, outcome) => note("postRequest", request.target, outcome),
  workerInt: ({ id }) => note("workerInt", id),
  workerExit: async ({ id }) => note("workerExit", id),`;

test("from start to stop: the order, the processes, the facts", async () => {
  const noted = new Noted(ALL);
  await using server = await ServerUnderTest.start("tsgi.ts", ["-c", noted.file]);
  const { pid: worker } = await server.worker();
  await server.ask("/echo?a=1", { method: "POST", body: "12345", headers: { "x-request-id": "r-7" } });
  await expect.poll(() => noted.of("postRequest").length).toBe(2);
  expect(noted.names()).toEqual([
    "onStarting",
    "preFork",
    "postFork",
    "postWorkerInit",
    "whenReady",
    "preRequest",
    "postRequest",
    "preRequest",
    "postRequest",
  ]);
  expect(noted.of("onStarting")).toEqual([[server.command.pid, [], 0]]);
  expect(noted.of("preFork")).toEqual([[server.command.pid, { id: 1, generation: 1 }]]);
  expect(noted.of("postFork")).toEqual([[worker, { id: 1, generation: 1 }, worker]]);
  expect(noted.of("postWorkerInit")).toEqual([[worker, 1]]);
  expect(noted.of("whenReady")).toEqual([[server.command.pid, "fetch", ["ready"]]]);
  expect(noted.of("preRequest")[1]).toEqual([
    worker,
    1,
    {
      id: "r-7",
      method: "POST",
      target: "/echo?a=1",
      authority: new URL(server.url).host,
      client: "127.0.0.1",
      receivedAt: expect.any(Number),
    },
  ]);
  expect(noted.of("postRequest")[1]).toEqual([worker, "/echo?a=1", { status: 200, bytes: 5, ms: expect.any(Number) }]);

  server.command.signal("SIGTTIN");
  await expect.poll(() => noted.of("workersChanged")).toEqual([[server.command.pid, 2, 1]]);
  const from = noted.calls.length;
  server.command.signal("SIGHUP");
  await server.command.printed(/"msg":"reloaded: ready on/);
  await expect.poll(() => noted.of("childExit").length).toBe(2);
  expect(noted.names().slice(from).slice(0, 4)).toEqual(["onReload", "preFork", "postFork", "postWorkerInit"]);
  expect(noted.of("workerExit")).toHaveLength(2);
  expect(noted.of("childExit")[0]).toEqual([
    server.command.pid,
    { id: 1, pid: worker, generation: 1, how: "told", reason: "exit code 0" },
  ]);
  expect((await server.command.stop()).code).toBe(0);
  expect(noted.names().at(-1)).toBe("onExit");
  expect(noted.of("onExit")).toEqual([[server.command.pid, 0]]);
  expect(noted.of("workerExit")).toHaveLength(4);
  expect(noted.of("workerInt")).toEqual([]);
});

test("a quick stop is told to the worker; a request that is cut off is told as such", async () => {
  const noted = new Noted(ALL);
  await using server = await ServerUnderTest.start("tsgi.ts", ["-c", noted.file]);
  const slow = server.ask("/slow?ms=20000").catch((error: unknown) => String(error));
  await expect.poll(() => noted.names()).toContain("preRequest");
  await server.command.stop("SIGINT");
  await slow;
  expect(noted.names().slice(-4).toSorted()).toEqual(["childExit", "onExit", "postRequest", "workerExit"].toSorted());
  expect(noted.of("workerInt")).toHaveLength(1);
  expect(noted.of("postRequest")).toEqual([
    [
      expect.any(Number),
      "/slow?ms=20000",
      { status: 0, bytes: 0, ms: expect.any(Number), aborted: expect.any(String) },
    ],
  ]);
});

test("a worker that hangs: workerAbort runs where it is stuck, before it is killed", async () => {
  const noted = new Noted(`workerAbort: ({ pid }) => note("workerAbort", new Error().stack.includes("blocked")),`);
  await using server = await ServerUnderTest.start("tsgi.ts", ["-c", noted.file, "--timeout", "2"]);
  const { pid } = await server.worker();
  const hung = server.ask("/block?ms=60000").catch(() => {});
  await server.command.printed(/"type":"hung"/);
  expect(noted.of("workerAbort")).toEqual([[pid, expect.any(Boolean)]]);
  await hung;
});

test("preExec: before the new master of an upgrade, and what it throws keeps that from being started", async () => {
  const noted = new Noted(`preExec: async () => { note("preExec"); throw new RangeError("not now"); },`);
  await using server = await ServerUnderTest.start("tsgi.ts", ["-c", noted.file]);
  server.command.signal("SIGUSR2");
  await server.command.printed(/hook preExec failed: not now/);
  expect(noted.of("preExec")).toEqual([[server.command.pid]]);
  expect((await server.ask("/")).status).toBe(200);
});

test.each([
  ["onStarting", /^portico-server: hook onStarting failed: no luck$/m],
  ["postFork", /^portico-server: hook postFork failed: no luck$/m],
  ["postWorkerInit", /^portico-server: hook postWorkerInit failed: no luck$/m],
])("%s that fails ends the start", async (name, said) => {
  const noted = new Noted(`${name}: async () => { throw new Error("no luck"); },`);
  await using command = new Command("server", ["tsgi.ts", "-b", `unix:${join(folder, "f.sock")}`, "-c", noted.file], {
    cwd: apps,
  });
  expect((await command.exited).code).not.toBe(0);
  expect(command.output).toMatch(said);
});

test("onReload that fails keeps the old workers; other hooks that fail are logged, and no more", async () => {
  const noted = new Noted(`onReload: () => { throw new Error("not today"); },
    preRequest: () => { throw new Error("tired"); },
    postRequest: () => { throw new Error("weary"); },
    preFork: () => { throw new Error("no fork"); },
    whenReady: () => { throw new Error("never"); },`);
  await using server = await ServerUnderTest.start("tsgi.ts", ["-c", noted.file]);
  expect((await server.ask("/")).text).toBe("hello from tsgi");
  server.command.signal("SIGHUP");
  await server.command.printed(/reload failed, the old workers stay: hook onReload failed: not today/);
  expect((await server.worker()).generation).toBe(1);
  for (const said of [/preRequest failed: .*tired/, /postRequest failed: .*weary/, /preFork failed: no fork/, /never/])
    await server.command.printed(said);
});

test("a reload takes the hooks of the new configuration", async () => {
  const noted = new Noted(`preRequest: () => note("before"),`);
  await using server = await ServerUnderTest.start("tsgi.ts", ["-c", noted.file]);
  await server.ask("/");
  noted.write(`preRequest: () => note("after"), onReload: () => note("reload"),`);
  server.command.signal("SIGHUP");
  await server.command.printed(/"msg":"reloaded: ready on/);
  await server.ask("/");
  expect(noted.names()).toEqual(["before", "reload", "after"]);
});

test.each([
  [`onstarting: () => {},`, /unknown hook "onstarting" \(did you mean "onStarting"\?\)/],
  [`preFork: 7,`, /hooks\.preFork must be a function/],
])("hooks: { %s } is refused", async (hooks, said) => {
  const noted = new Noted(hooks);
  await using command = new Command("server", ["tsgi.ts", "-c", noted.file], { cwd: apps });
  expect((await command.exited).code).toBe(2);
  expect(command.output).toMatch(said);
});
