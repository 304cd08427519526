/** Workers come, go, crash, hang and are replaced; clients notice as little as can be. */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Command, descendants, running } from "../support/command.ts";
import { stream } from "../support/load.ts";
import { apps, ServerUnderTest } from "../support/server.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-lifecycle-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
symlinkSync(join(apps, "../../node_modules"), join(folder, "node_modules"));

/** A copy of the TSGI application that a test may break. */
function copy(name: string): string {
  const file = join(folder, name);
  cpSync(join(apps, "tsgi.ts"), file);
  return file;
}

/** A client that asks for something that takes two milliseconds. */
function slowly(server: ServerUnderTest) {
  const ask = server.client();
  return async (): Promise<string> => {
    const { status, text } = await ask("/slow?ms=2");
    return status === 200 && text === "slow" ? "" : `${status} ${text}`;
  };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("TERM: lifespan, waitUntil and shutdown complete, nothing is left", async () => {
  const notes = join(folder, "notes");
  await using server = await ServerUnderTest.start("tsgi.ts", ["-w", "2"], { env: { NOTES: notes } });
  const pids = descendants(server.command.pid);
  expect(pids.length).toBeGreaterThanOrEqual(2);
  expect((await server.ask("/later")).text).toBe("now");
  expect(await server.command.stop("SIGTERM")).toEqual({ code: 0, signal: null });
  const lines = readFileSync(notes, "utf8").trim().split("\n");
  expect(lines.filter((line) => line.startsWith("startup"))).toHaveLength(2);
  expect(lines.filter((line) => line.startsWith("shutdown"))).toHaveLength(2);
  expect(lines).toContain("later done");
  expect(pids.filter(running)).toEqual([]);
  await expect(server.ask("/")).rejects.toThrow(/ECONNREFUSED/);
});

test("INT: quick, requests under way are cut off", async () => {
  await using server = await ServerUnderTest.start("tsgi.ts");
  const pids = descendants(server.command.pid);
  const slow = server.ask("/slow?ms=20000").catch((error: unknown) => String(error));
  await pause(200);
  const began = performance.now();
  expect((await server.command.stop("SIGINT")).code).toBe(0);
  expect(performance.now() - began).toBeLessThan(4_000);
  expect(await slow).toMatch(/closed|reset/i);
  expect(pids.filter(running)).toEqual([]);
});

test("a second signal escalates a graceful stop that takes too long", async () => {
  await using server = await ServerUnderTest.start("tsgi.ts");
  const slow = server.ask("/slow?ms=20000").catch((error: unknown) => String(error));
  await pause(200);
  server.command.signal("SIGTERM");
  await server.command.printed(/graceful stop/);
  await pause(300);
  expect(server.command.child.exitCode).toBeNull();
  expect((await server.command.stop("SIGTERM")).code).toBe(0);
  await slow;
});

test("graceful is bounded by --graceful-timeout, and shutdown still runs", async () => {
  const notes = join(folder, "bounded");
  await using server = await ServerUnderTest.start("tsgi.ts", ["--graceful-timeout", "2"], { env: { NOTES: notes } });
  const slow = server.ask("/slow?ms=20000").catch((error: unknown) => String(error));
  await pause(200);
  const began = performance.now();
  expect((await server.command.stop("SIGTERM")).code).toBe(0);
  expect(performance.now() - began).toBeLessThan(3_500);
  await slow;
  expect(readFileSync(notes, "utf8")).toContain("shutdown");
});

test("TERM while the application is still loading: exit 0, nothing left", async () => {
  const path = join(folder, "early.sock");
  await using command = new Command("server", ["bad/load-hangs.mjs", "-b", `unix:${path}`], { cwd: apps });
  await command.printed(/"type":"spawned"/);
  const pids = descendants(command.pid);
  expect((await command.stop("SIGTERM")).code).toBe(0);
  expect(pids.filter(running)).toEqual([]);
  expect(existsSync(path)).toBe(false);
});

test("kill -9 of the master: workers finish what is under way and leave; the address is free for the next", async () => {
  await using server = await ServerUnderTest.start("tsgi.ts", ["-w", "2"]);
  const pids = descendants(server.command.pid);
  const slow = server.ask("/slow?ms=700");
  await pause(200);
  server.command.signal("SIGKILL");
  expect(await slow).toMatchObject({ status: 200, text: "slow" });
  await until(() => pids.filter(running).length === 0);
  await using next = new Command("server", ["tsgi.ts", "-b", `unix:${server.socket}`], { cwd: apps });
  await next.printed(/ready on unix:/);
});

test("HUP under a stream of requests: new code, no failed request", async () => {
  const app = copy("reloaded.ts");
  await using server = await ServerUnderTest.start(app, ["-w", "2", "--probation", "0.2"]);
  const before = await server.worker();
  const load = stream(() => slowly(server), 8);
  for (let generation = 2; generation <= 4; generation++) {
    writeFileSync(
      app,
      readFileSync(join(apps, "tsgi.ts"), "utf8").replace("hello from tsgi", `hello from ${generation}`),
    );
    const from = server.command.output.length;
    server.command.signal("SIGHUP");
    await server.command.printed(/"msg":"reloaded: ready on/, from);
    expect((await server.ask("/")).text).toBe(`hello from ${generation}`);
    expect((await server.worker()).generation).toBe(generation);
  }
  const { failures, answered } = await load.stop();
  expect(failures).toEqual([]);
  expect(answered).toBeGreaterThan(100);
  expect(running(before.pid)).toBe(false);
});

test.each([
  ["does not parse", "export default = ;", /reload failed, the old workers stay: .*broken-0\.ts does not parse/],
  ["throws", "throw new Error('no luck');", /reload failed, the old workers stay: .*Error: no luck/],
  [
    "hangs while loading",
    "setInterval(() => {}, 99); await new Promise(() => {});",
    /reload failed, .*loading took longer than 6 s/,
  ],
  ["ends itself", "process.exit(5);", /reload failed, .*ended while it was loading .*exit code 5/],
])("a reload of an application that %s keeps the old one and says why", async (_what, code, message) => {
  const app = copy("broken-0.ts");
  await using server = await ServerUnderTest.start(app, ["-w", "2", "--boot-timeout", "6", "--probation", "0.2"]);
  const load = stream(() => slowly(server), 4);
  writeFileSync(app, code);
  server.command.signal("SIGHUP");
  await server.command.printed(message);
  const { failures } = await load.stop();
  expect(failures).toEqual([]);
  expect(await server.worker()).toMatchObject({ generation: 1 });
  copy("broken-0.ts");
  server.command.signal("SIGHUP");
  await server.command.printed(/"msg":"reloaded: ready on/);
  expect((await server.worker()).generation).toBeGreaterThan(1);
});

test("HUP reads the configuration again: workers, addresses, environment", async () => {
  const file = join(folder, "server.config.mjs");
  const first = `unix:${join(folder, "first.sock")}`;
  const second = `unix:${join(folder, "second.sock")}`;
  const write = (config: object): void => writeFileSync(file, `export default ${JSON.stringify(config)};`);
  write({ env: { CONCURRENCY: "one" } });
  await using server = await ServerUnderTest.start("tsgi.ts", ["-c", file, "-b", first, "--probation", "0"]);
  expect(JSON.parse((await server.ask("/worker")).text)).toMatchObject({ count: 1, concurrency: "one" });
  write({ workers: 2, env: { CONCURRENCY: "two" }, wrokers: 3 });
  server.command.signal("SIGHUP");
  await server.command.printed(
    /reload failed, the old workers stay: .*unknown setting \\"wrokers\\" \(did you mean \\"workers\\"\?\)/,
  );
  write({ workers: 2, env: { CONCURRENCY: "two" } });
  server.command.signal("SIGHUP");
  await server.command.printed(/"msg":"reloaded: ready on .*2 workers/);
  expect(JSON.parse((await server.ask("/worker")).text)).toMatchObject({ count: 2, concurrency: "two" });
  // Addresses, from a file alone.
  write({ bind: [first] });
  await using moved = await ServerUnderTest.start("tsgi.ts", ["-c", file, "-b", second]);
  expect(moved.ready).toContain(second);
});

test("-w auto and WEB_CONCURRENCY count workers, and unix sockets have the mode that was asked for", async () => {
  await using auto = await ServerUnderTest.start("hono.ts", ["-w", "auto", "--socket-mode", "0600"]);
  const count = availableParallelism();
  expect(auto.ready).toContain(`(${count} worker${count === 1 ? "" : "s"}, hono.ts, fetch)`);
  expect((statSync(auto.socket).mode & 0o777).toString(8)).toBe("600");
  await using counted = await ServerUnderTest.start("hono.ts", [], { env: { WEB_CONCURRENCY: "3" } });
  expect(counted.ready).toContain("(3 workers,");
  expect((statSync(counted.socket).mode & 0o777).toString(8)).toBe("660");
});

test("TTIN and TTOU: one worker more, one less, never none", async () => {
  await using server = await ServerUnderTest.start("tsgi.ts");
  expect((await server.worker()).count).toBe(1);
  server.command.signal("SIGTTIN");
  await server.command.printed(/"type":"scaled".*"count":2/);
  expect((await server.worker()).count).toBe(2);
  server.command.signal("SIGTTOU");
  await server.command.printed(/"type":"scaled".*"count":1/);
  server.command.signal("SIGTTOU");
  await pause(300);
  expect((await server.ask("/")).status).toBe(200);
});

test("kill -9 of a worker: the next connection is served, and a new worker comes", async () => {
  await using server = await ServerUnderTest.start("tsgi.ts");
  const { pid, id } = await server.worker();
  process.kill(pid, "SIGKILL");
  const answers = await Promise.all(Array.from({ length: 10 }, () => server.ask("/worker")));
  expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 200));
  const after = JSON.parse(answers[0]!.text);
  expect(after).toMatchObject({ id });
  expect(after.pid).not.toBe(pid);
  await server.command.printed(/"type":"crashed"/);
});

test("an uncaught exception: logged with the requests under way, the worker drains and is replaced", async () => {
  await using server = await ServerUnderTest.start("tsgi.ts", ["-w", "2"]);
  const answer = await server.ask("/crash");
  expect(answer.text).toBe("survived");
  const [line] = await server.command.printed(
    /^.*uncaught exception: TypeError: crashed on purpose; the worker leaves.*$/m,
  );
  expect(JSON.parse(line)).toMatchObject({ level: "error", requests: [{ method: "GET", target: "/crash" }] });
  await server.command.printed(/"type":"ready".*"id":3/);
  expect((await server.ask("/")).status).toBe(200);
});

test("an exception in a request is a 500 and no more", async () => {
  await using server = await ServerUnderTest.start("tsgi.ts");
  const { pid } = await server.worker();
  const answer = await server.ask("/throw");
  expect(answer.status).toBe(500);
  expect(answer.text).not.toContain("thrown on purpose");
  await server.command.printed(/thrown on purpose/);
  expect((await server.worker()).pid).toBe(pid);
});

test("a worker that hangs: its stack and its request are in the log, it is replaced, the other goes on", async () => {
  await using server = await ServerUnderTest.start("tsgi.ts", ["-w", "2", "--timeout", "2"]);
  const hung = server.ask("/block?ms=60000").catch((error: unknown) => String(error));
  const [line] = await server.command.printed(/^.*"type":"hung".*$/m);
  const entry = JSON.parse(line);
  expect(entry).toMatchObject({ level: "error", kind: "blocked" });
  expect(entry.stack).toMatch(/tsgi\.ts:\d+/);
  expect(entry.doing).toContain("GET /block?ms=60000");
  expect(await hung).toMatch(/closed|reset/i);
  await server.command.printed(/"type":"ready".*"id":3/);
  expect((await server.ask("/")).status).toBe(200);
});

test("concurrency 1: requests wait their turn; beyond the queue the answer is 503 at once", async () => {
  await using server = await ServerUnderTest.start("tsgi.ts", ["--concurrency", "1", "--queue", "2"]);
  const began = performance.now();
  const answers = await Promise.all(Array.from({ length: 5 }, () => server.ask("/slow?ms=300")));
  const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b);
  expect(statuses).toEqual([200, 200, 200, 503, 503]);
  expect(answers.find(({ status }) => status === 503)!.headers["retry-after"]).toBe("1");
  expect(performance.now() - began).toBeGreaterThan(850);
});

test("logs: to a file, reopened on USR1; the application's own lines carry the request id; access log", async () => {
  const log = join(folder, "error.log");
  const access = join(folder, "access.log");
  await using server = await ServerUnderTest.start("tsgi.ts", ["--access-log", access]);
  await server.ask("/log", { headers: { "x-request-id": "r-1" } });
  const [line] = await server.command.printed(/^.*said by the application.*$/m);
  expect(JSON.parse(line)).toMatchObject({ name: "portico-server", worker: 1, colour: "green" });
  expect(line).toContain("r-1");
  await server.command.stop();
  expect(JSON.parse(readFileSync(access, "utf8").split("\n")[0]!)).toMatchObject({
    id: "r-1",
    client: "127.0.0.1",
    method: "GET",
    target: "/log",
    status: 200,
    bytesOut: 6,
    worker: 1,
  });
  writeFileSync(log, "");
  await using logged = new Command("server", ["tsgi.ts", "-b", `unix:${join(folder, "l.sock")}`, "--log-file", log], {
    cwd: apps,
  });
  await until(() => readFileSync(log, "utf8").includes("ready on"));
  rmSync(log);
  logged.signal("SIGUSR1");
  await until(() => readIfThere(log).includes("logs reopened"));
});

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 400 && !holds(); tries++) await pause(25);
  expect(holds()).toBe(true);
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
