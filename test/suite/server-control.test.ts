/** The commands to a running server: what they do, what they print, and what they say where they cannot. */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Command, descendants, running } from "../support/command.ts";
import { apps, ServerUnderTest } from "../support/server.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-control-"));
/** For what comes within milliseconds, on a machine that is busy with other tests. */
const POLL_MS = 20_000;
afterAll(() => rmSync(folder, { recursive: true, force: true }));
symlinkSync(join(apps, "../../node_modules"), join(folder, "node_modules"));

let folders = 0;

/** A private runtime folder, so that the servers of other tests are not found. */
function surroundings(): { env: Record<string, string>; cwd: string } {
  const runtime = join(folder, `run${++folders}`);
  mkdirSync(runtime, { mode: 0o700 });
  return { env: { XDG_RUNTIME_DIR: runtime }, cwd: folder };
}

type Around = ReturnType<typeof surroundings>;

async function told(around: Around, ...args: string[]): Promise<{ code: number | null; output: string }> {
  await using command = new Command("server", args, around);
  const { code } = await command.exited;
  return { code, output: command.output };
}

/** Those of the fields that the tests look into. */
interface Answered extends Record<string, unknown> {
  readonly pid: number;
  readonly file: string;
  readonly workers: readonly {
    readonly id: number;
    readonly pid: number;
    readonly requests: number;
    readonly inFlight: number;
  }[];
}

/** What `--json` gives. */
async function asked(around: Around, ...args: string[]): Promise<Answered> {
  const { code, output } = await told(around, ...args, "--json");
  expect([code, output]).toEqual([0, expect.stringMatching(/^\{.*\}\n$/)]);
  return JSON.parse(output) as Answered;
}

async function start(around: Around, app: string, ...args: string[]): Promise<ServerUnderTest> {
  return await ServerUnderTest.start(app, args, around);
}

function copy(name: string, from = "tsgi.ts"): string {
  const file = join(folder, name);
  cpSync(join(apps, from), file);
  return file;
}

test("status, workers, scale, restart, kill, stop", async () => {
  const around = surroundings();
  await using server = await start(around, copy("commands.ts"), "-w", "2");
  await server.ask("/");
  const status = await asked(around, "status");
  expect(status).toMatchObject({
    version: 1,
    pid: server.command.pid,
    name: "portico-server",
    app: join(folder, "commands.ts"),
    application: "fetch",
    cwd: folder,
    generation: 1,
    wanted: 2,
    nodeVersion: process.versions.node,
  });
  expect(status["addresses"]).toContain(server.url);
  expect(status.workers).toHaveLength(2);
  expect(status.workers.reduce((sum, { requests }) => sum + requests, 0)).toBe(1);
  for (const worker of status.workers)
    expect(worker).toEqual({
      id: expect.any(Number),
      pid: expect.any(Number),
      generation: 1,
      state: "ready",
      startedAt: expect.stringMatching(/^\d{4}-.*Z$/),
      readyAt: expect.stringMatching(/^\d{4}-.*Z$/),
      links: 0,
      requests: expect.any(Number),
      inFlight: 0,
      waiting: 0,
      lagMs: expect.toSatisfy((value: unknown) => value === null || typeof value === "number"),
      rss: expect.toSatisfy((value: unknown) => value === null || typeof value === "number"),
      heapUsed: expect.any(Number),
    });
  expect(await asked(around, "scale", "3")).toEqual({ version: 1, wanted: 3 });
  expect((await told(around, "scale", "-1")).output).toBe("2 workers\n");
  const [first, second] = (await asked(around, "workers")).workers;
  const restarted = await asked(around, "restart", "1");
  expect(restarted["id"]).toBe(1);
  expect(restarted.pid).not.toBe(first!.pid);
  expect(await asked(around, "kill", "2")).toEqual({ version: 1, id: 2, pid: second!.pid });
  expect(running(second!.pid)).toBe(false);
  expect(await told(around, "restart", "9")).toEqual({
    code: 1,
    output: expect.stringMatching(/^portico-server: there is no worker 9 \(there are: 1/),
  });
  const { code, output } = await told(around, "status");
  expect(code).toBe(0);
  expect(output).toMatch(/^portico-server, pid \d+, up \d+s, version .*\napplication .*commands\.ts \(fetch\) in /);
  expect(output).toMatch(/^id +pid +gen +state +age +requests +in flight +waiting +links +delay +rss +heap$/m);
  const pids = descendants(server.command.pid);
  expect((await told(around, "stop")).output).toBe(`stopped (pid ${server.command.pid})\n`);
  expect(await server.command.exited).toEqual({ code: 0, signal: null });
  expect(pids.filter(running)).toEqual([]);
  expect(existsSync(join(around.env["XDG_RUNTIME_DIR"]!, "portico-server", `${server.command.pid}.sock`))).toBe(false);
});

test("reload: the new code, or the application's own error and exit code, and the old workers", async () => {
  const around = surroundings();
  const app = copy("reloaded.ts");
  await using server = await start(around, app, "-w", "2");
  writeFileSync(app, readFileSync(app, "utf8").replace("hello from tsgi", "hello again"));
  expect(await asked(around, "reload")).toEqual({ version: 1, generation: 2 });
  expect((await server.ask("/")).text).toBe("hello again");
  writeFileSync(app, "export default {{{\n");
  const failed = await told(around, "reload");
  expect(failed.code).toBe(4);
  expect(failed.output).toMatch(
    /^portico-server: .*reloaded\.ts does not parse: .*\n.*reloaded\.ts:1\nexport default \{\{\{\n/,
  );
  const json = await told(around, "reload", "--json");
  expect(json.code).toBe(4);
  expect(JSON.parse(json.output.split("\n")[0]!)).toEqual({
    version: 1,
    error: { code: "app-syntax", message: expect.any(String), detail: expect.any(String), exitCode: 4 },
  });
  expect((await server.ask("/")).text).toBe("hello again");
});

test("dump: the stack and the requests, of a worker that waits and of one that is blocked", async () => {
  const around = surroundings();
  await using server = await start(around, copy("dumped.ts"), "--timeout", "60");
  const slow = server.ask("/slow?ms=3000");
  slow.catch(() => {});
  await expect.poll(async () => (await asked(around, "workers")).workers[0]!.inFlight, { timeout: POLL_MS }).toBe(1);
  const waits = await asked(around, "dump", "1", "--report", "waits.json");
  expect(waits).toMatchObject({ id: 1, stack: null, report: join(folder, "waits.json") });
  expect(waits["requests"]).toEqual([
    { id: expect.any(String), method: "GET", target: "/slow?ms=3000", age: expect.any(Number) },
  ]);
  const report = JSON.parse(readFileSync(join(folder, "waits.json"), "utf8")) as Record<string, unknown>;
  expect(report).toHaveProperty("javascriptHeap");
  expect(report).not.toHaveProperty("environmentVariables");
  const blocked = server.ask("/block?ms=4000");
  blocked.catch(() => {});
  await expect
    .poll(async () => (await asked(around, "dump", "1"))["stack"], { timeout: 10_000 })
    .toMatch(/dumped\.ts:/);
  const stuck = await asked(around, "dump", "1");
  if (stuck["requests"] === null) expect(stuck["doing"]).toContain("GET /block?ms=4000");
});

test("profile and heap snapshot of a running worker", async () => {
  const around = surroundings();
  await using server = await start(around, copy("profiled.ts"));
  const profiling = asked(around, "profile", "1", "--seconds", "0.5", "-o", "taken.cpuprofile");
  profiling.catch(() => {});
  for (let index = 0; index < 20; index++) await server.ask("/");
  const profile = await profiling;
  const file = join(folder, "taken.cpuprofile");
  expect(profile).toMatchObject({ id: 1, file, bytes: statSync(file).size });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({
    nodes: expect.any(Array),
    samples: expect.any(Array),
  });
  const heap = await asked(around, "heap", "1", "-o", "taken.heapsnapshot");
  expect(heap["bytes"]).toBe(statSync(join(folder, "taken.heapsnapshot")).size);
  expect(statSync(heap.file).mode & 0o777).toBe(0o600);
  expect(JSON.parse(readFileSync(heap.file, "utf8"))).toHaveProperty("snapshot");
  expect(await told(around, "heap", "1", "-o", "taken.heapsnapshot")).toEqual({
    code: 1,
    output: `portico-server: cannot write ${heap.file}: it is there already\n`,
  });
  expect((await server.ask("/")).status).toBe(200);
});

test("the socket is the owner's alone, and takes nothing but questions", async () => {
  const around = surroundings();
  const path = join(folder, "own.sock");
  await using server = await start(around, copy("owned.ts"), "--control", path);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const socket = connect(path);
  socket.setEncoding("utf8");
  let text = "";
  socket.on("data", (part: string) => (text += part));
  socket.end("GET / HTTP/1.1\r\n\r\n");
  await once(socket, "close");
  expect(JSON.parse(text)).toMatchObject({ version: 1, error: { code: "usage", exitCode: 2 } });
  const second = await told(around, join(folder, "owned.ts"), "-b", "127.0.0.1:0", "--control", path);
  expect(second).toEqual({ code: 1, output: `portico-server: control ${path}: a server that runs has it\n` });
  expect((await asked(around, "status", "--control", path)).pid).toBe(server.command.pid);
});

test("by pid file, by the configuration of the folder, by the folder, by being the only one", async () => {
  const around = surroundings();
  const [one, other] = ["one", "other"].map((name) => join(folder, name));
  for (const path of [one!, other!]) mkdirSync(path);
  writeFileSync(join(other!, "server.config.json"), '{ "pid": "run.pid" }');
  await using first = await start({ ...around, cwd: one! }, copy("first.ts"));
  expect((await asked(around, "status")).pid).toBe(first.command.pid);
  await using second = await start({ ...around, cwd: other! }, copy("second.ts"));
  expect((await asked({ ...around, cwd: one! }, "status")).pid).toBe(first.command.pid);
  expect((await asked({ ...around, cwd: other! }, "status")).pid).toBe(second.command.pid);
  expect((await asked(around, "status", "--pid", "other/run.pid")).pid).toBe(second.command.pid);
  const several = await told(around, "status");
  expect(several.code).toBe(1);
  expect(several.output).toMatch(
    /^portico-server: several servers run: name one with --control\n( {2}--control .*\n){2}$/,
  );
  const twice = await told({ ...around, cwd: other! }, join(folder, "second.ts"), "-b", "127.0.0.1:0");
  expect(twice).toEqual({
    code: 1,
    output: `portico-server: pid ${join(other!, "run.pid")}: ${join(other!, "run.pid")} belongs to process ${second.command.pid}, which is running\n`,
  });
  await second.command.stop();
  expect(existsSync(join(other!, "run.pid"))).toBe(false);
});

test("nobody listens, a stale socket, no permission, words that are not understood", async () => {
  const around = surroundings();
  const nobody = await told(around, "status");
  expect(nobody).toEqual({
    code: 1,
    output: expect.stringMatching(/^portico-server: no server of this user runs \(looked in .*portico-server\); name /),
  });
  expect((await told(around, "status", "--control", "gone.sock")).output).toMatch(
    /gone\.sock: there is no such socket/,
  );
  const stale = join(folder, "stale.sock");
  await using killed = await start(around, copy("killed.ts"), "--control", stale);
  killed.command.signal("SIGKILL");
  await killed.command.exited;
  expect(await told(around, "status", "--control", stale)).toEqual({
    code: 1,
    output: expect.stringMatching(/^portico-server: .*stale\.sock: nobody listens: the server was killed/),
  });
  expect((await told(around, "status", "--pid", "none.pid")).output).toMatch(
    /pid file .*none\.pid: there is no such file/,
  );
  expect(await told(around, "scale", "many")).toEqual({
    code: 2,
    output: "portico-server: scale many: must be a whole number from 1\n",
  });
  expect((await told(around, "restart")).code).toBe(2);
  expect((await told(around, "restart")).output).toMatch(/missing required argument 'ID'/);
  const open = join(around.env["XDG_RUNTIME_DIR"]!, "portico-server");
  mkdirSync(open, { recursive: true });
  chmodSync(open, 0o777);
  expect((await told(around, "status")).output).toMatch(/is not a folder of this user's alone/);
});

test.skipIf(process.geteuid?.() !== 0)("another user may not ask", async () => {
  const around = surroundings();
  chmodSync(folder, 0o755);
  const path = join(folder, "forbidden.sock");
  const silent = createServer().listen(path);
  await once(silent, "listening");
  chmodSync(path, 0o600);
  const script = `process.setgroups([]);process.setgid(65534);process.setuid(65534);
    const { ask } = await import(${JSON.stringify(join(apps, "../../../packages/server/src/control/ask.ts"))});
    await ask(${JSON.stringify(path)}, { command: "status" }).catch((error) => console.log(error.exitCode, error.message));`;
  const { spawnSync } = await import("node:child_process");
  const { stdout } = spawnSync(
    process.execPath,
    ["--conditions=@portico/source", "--input-type=module", "-e", script],
    { encoding: "utf8", cwd: folder, env: { ...process.env, ...around.env } },
  );
  expect(stdout).toBe(`1 ${path}: permission denied: ask as the user who started the server, or as root\n`);
  silent.close();
});
