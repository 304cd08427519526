/** What an operator asks of a server around its serving: who it is, what it logs and counts, how a service manager starts it. */
import { spawn, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { Command, descendants, running } from "../support/command.ts";
import { apps, ServerUnderTest } from "../support/server.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-operations-"));
/** For what comes within milliseconds, on a machine that is busy with other tests. */
const POLL_MS = 20_000;
afterAll(() => rmSync(folder, { recursive: true, force: true }));
chmodSync(folder, 0o755);
const runtime = join(folder, "run");
mkdirSync(runtime, { mode: 0o700 });
const env = { XDG_RUNTIME_DIR: runtime };

writeFileSync(
  join(folder, "who.mjs"),
  `export default { fetch: (request, ctx) => Response.json({
    uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(), umask: process.umask(),
    cwd: process.cwd(), colour: process.env.COLOUR, secrets: Object.keys(process.env).filter((name) => /^(LISTEN_|NOTIFY_|WATCHDOG_|PORTICO_)/.test(name)),
    client: ctx.connection.client, forwarded: request.headers.get("x-forwarded-for"),
  }) };\n`,
);

interface Who {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly umask: number;
  readonly cwd: string;
  readonly colour: string | undefined;
  readonly secrets: readonly string[];
  readonly client: { readonly address: string; readonly vouchedBy: string };
  readonly forwarded: string | null;
}

async function who(server: ServerUnderTest, over: "tcp" | "unix" = "tcp"): Promise<Who> {
  return JSON.parse((await server.client(over)("/")).text) as Who;
}

async function start(
  args: readonly string[] = [],
  more: { env?: Record<string, string> } = {},
): Promise<ServerUnderTest> {
  return await ServerUnderTest.start("who.mjs", args, { cwd: folder, env: { ...env, ...more.env } });
}

const uidOf = (user: string): number => Number(spawnSync("id", ["-u", user], { encoding: "utf8" }).stdout);

describe.skipIf(process.geteuid?.() !== 0)("started as root", () => {
  test("binds a privileged port, and its workers are somebody else, with that user's groups and no others", async () => {
    const log = join(folder, "identity.log");
    const access = join(folder, "identity.access");
    await using server = await start([
      "--user",
      "www-data",
      "--umask",
      "027",
      "-e",
      "COLOUR=green",
      "-w",
      "2",
      "-b",
      "127.0.0.77:80",
      "-b",
      `unix:${join(folder, "owned.sock")}?mode=0600&owner=nobody`,
      "--access-log",
      access,
    ]);
    const uid = uidOf("www-data");
    const expected = { uid, gid: uid, groups: [uid], umask: 0o027, colour: "green", secrets: [] };
    expect(await who(server)).toMatchObject(expected);
    const privileged = await fetch("http://127.0.0.77/");
    expect(await privileged.json()).toMatchObject(expected);
    const socket = statSync(join(folder, "owned.sock"));
    expect([socket.uid, socket.mode & 0o777]).toEqual([uidOf("nobody"), 0o600]);
    expect([statSync(access).uid, statSync(access).mode & 0o777]).toEqual([uid, 0o640]);
    for (const pid of descendants(server.command.pid)) {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      expect(/^Uid:\t(.*)$/m.exec(status)?.[1]).toBe(`${uid}\t${uid}\t${uid}\t${uid}`);
    }
    renameSync(access, `${access}.1`);
    server.command.signal("SIGUSR1");
    await server.command.printed(/logs reopened/);
    expect(statSync(access).uid).toBe(uid);
    await server.command.stop();
    expect(existsSync(join(folder, "owned.sock"))).toBe(false);
    expect(existsSync(log)).toBe(false);
  });

  test("only root may name somebody else", async () => {
    const { status, stderr } = spawnSync(
      "setpriv",
      ["--reuid=65534", "--regid=65534", "--clear-groups", process.execPath, "--conditions=@portico/source"].concat(
        join(apps, "../../../packages/server/src/bin.ts"),
        ["who.mjs", "-b", "127.0.0.1:0", "--user", "www-data"],
      ),
      { cwd: folder, encoding: "utf8", timeout: 20_000 },
    );
    expect([status, stderr]).toEqual([
      2,
      "portico-server: user www-data: only root may run workers as somebody else, and this is uid 65534\n",
    ]);
  });
});

/** Sends bytes on a connection of its own, and gives what came until it was closed. */
async function raw(port: number, bytes: string | Uint8Array): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.setEncoding("utf8").on("data", (part: string) => (text += part));
  socket.on("error", () => {}); // what is refused unread is reset
  socket.write(bytes);
  await new Promise((closed) => socket.once("close", closed));
  return text;
}

test("PROXY protocol: the client is who the balancer says, and forwarded fields are the client's own word", async () => {
  await using server = await start(["-b", "127.0.0.1:0?proxy-protocol"]);
  const [, port] = await server.command.printed(/http:\/\/127\.0\.0\.1:\d+, unix:[^,]+, http:\/\/127\.0\.0\.1:(\d+)/);
  const get = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.99\r\nConnection: close\r\n\r\n";
  const said = await raw(Number(port), `PROXY TCP4 203.0.113.7 192.0.2.1 5000 80\r\n${get}`);
  expect(JSON.parse(said.split("\r\n\r\n")[1]!)).toMatchObject({
    client: { address: "203.0.113.7", port: 5000, vouchedBy: "proxy-protocol" },
  });
  const two = Buffer.concat([
    Buffer.from("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "latin1"),
    Buffer.from([198, 51, 100, 7, 192, 0, 2, 1, 0x13, 0x88, 0, 80]),
    Buffer.from(get),
  ]);
  expect(JSON.parse((await raw(Number(port), two)).split("\r\n\r\n")[1]!)).toMatchObject({
    client: { address: "198.51.100.7", vouchedBy: "proxy-protocol" },
  });
  expect(await raw(Number(port), get)).toBe("");
  await server.command.printed(/connection from 127\.0\.0\.1 closed: what it sent is no PROXY protocol header/);
  expect((await who(server)).client).toMatchObject({ address: "127.0.0.1", vouchedBy: "socket" });
});

test("PROXY protocol: from a peer that is not trusted nothing is believed", async () => {
  await using server = await start(["-b", "127.0.0.1:0", "--proxy-protocol", "--forwarded-allow-ips", "192.0.2.1"]);
  const port = Number(new URL(server.url).port);
  expect(await raw(port, "PROXY TCP4 203.0.113.7 192.0.2.1 5000 80\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")).toBe("");
  await server.command.printed(/connection from 127\.0\.0\.1 closed: it is not among forwardedAllowIps/);
});

test("access log: a line for each request, reopened on USR1", async () => {
  const file = join(folder, "json.access");
  await using server = await start(["--access-log", file]);
  await server.ask("/one?x=1", { headers: { "user-agent": 'agent "quoted"', referer: "http://r/" } });
  renameSync(file, `${file}.1`);
  server.command.signal("SIGUSR1");
  await server.command.printed(/logs reopened/);
  await expect.poll(() => existsSync(file), { timeout: POLL_MS }).toBe(true);
  await server.ask("/two");
  await server.command.stop();
  const lines = [`${file}.1`, file].flatMap((path) => readFileSync(path, "utf8").trim().split("\n").filter(Boolean));
  const [one, two] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(one).toEqual({
    log: "access",
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    id: expect.any(String),
    client: "127.0.0.1",
    method: "GET",
    scheme: "http",
    host: server.url.slice(7),
    target: "/one?x=1",
    version: "1.1",
    status: 200,
    bytesIn: 0,
    bytesOut: expect.any(Number),
    durationMs: expect.any(Number),
    ended: "completed",
    referer: "http://r/",
    userAgent: 'agent "quoted"',
    queuedMs: 0,
    worker: 1,
  });
  expect(two).toMatchObject({ target: "/two" });
});

test("access log: combined", async () => {
  const file = join(folder, "combined.access");
  await using server = await start(["--access-log", file, "--access-log-format", "combined"]);
  await server.ask("/", { headers: { "user-agent": 'agent "quoted"' } });
  await server.command.stop();
  expect(readFileSync(file, "utf8")).toMatch(
    /^127\.0\.0\.1 - - \[\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET \/ HTTP\/1\.1" 200 \d+ "-" "agent \\x22quoted\\x22" 0\.\d{3} \S+\n$/,
  );
});

test("captured output: each line of the application is a line of the log, with its worker", async () => {
  writeFileSync(
    join(folder, "talks.mjs"),
    `console.log("said while loading");
    export default { fetch() { process.stdout.write("part "); console.log("and rest"); console.error("to stderr"); return new Response(); } };\n`,
  );
  const log = join(folder, "captured.log");
  await using server = await ServerUnderTest.start("talks.mjs", ["--capture-output"], { cwd: folder, env });
  await server.ask("/");
  await server.command.stop();
  expect(existsSync(log)).toBe(false);
  const entries = server.command.output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((entry) => entry["stream"] !== undefined);
  expect(entries).toEqual(
    [
      ["stdout", "said while loading"],
      ["stdout", "part and rest"],
      ["stderr", "to stderr"],
    ].map(([stream, msg]) => expect.objectContaining({ level: "info", worker: 1, stream, msg })),
  );
});

describe("metrics", () => {
  test("Prometheus gets what all workers counted, those that have left too", async () => {
    await using server = await start(["-w", "2", "--metrics", "127.0.0.1:0"]);
    const [, url] = await server.command.printed(/metrics at (http:\/\/127\.0\.0\.1:\d+\/metrics)/);
    for (let index = 0; index < 5; index++) await server.ask("/");
    server.command.signal("SIGHUP");
    await server.command.printed(/reloaded: ready/);
    await server.ask("/");
    const scrape = async (): Promise<string> => await (await fetch(url!)).text();
    await expect.poll(scrape, { timeout: POLL_MS }).toContain('portico_server_requests_total{status="200"} 6\n');
    const response = await fetch(url!);
    expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const text = await response.text();
    expect(text).toContain("# TYPE portico_server_request_duration_seconds histogram\n");
    expect(text).toContain('portico_server_request_duration_seconds_bucket{le="+Inf"} 6\n');
    expect(text).toContain("portico_server_request_duration_seconds_count 6\n");
    expect(text).toContain('portico_server_workers{state="ready"} 2\n');
    expect(text).toContain('portico_server_worker_events_total{event="reloaded"} 1\n');
    expect(text).toMatch(/^portico_server_worker_resident_memory_bytes\{worker="1"\} \d+$/m);
    // Every line is a comment or a sample.
    for (const line of text.trim().split("\n"))
      expect(line).toMatch(/^(# (HELP|TYPE) portico_server_\w+ .+|portico_server_\w+(\{\w+="[^"]*"\})? [\d.e+-]+)$/);
    expect((await fetch(url!.replace("/metrics", "/"))).status).toBe(404);
  });

  test("an upgrade takes the endpoint over when the old master is gone", async () => {
    const free = createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const address = `127.0.0.1:${(free.address() as { port: number }).port}`;
    free.close();
    await once(free, "close");
    await using server = await start(["--metrics", address]);
    server.command.signal("SIGUSR2");
    const [, pid] = await server.command.printed(/the new master \(pid (\d+)\) serves beside this one/);
    try {
      expect((await fetch(`http://${address}/metrics`)).status).toBe(200);
      const from = server.command.output.length;
      server.command.signal("SIGTERM");
      await server.command.printed(/metrics at http/, from);
      expect((await fetch(`http://${address}/metrics`)).status).toBe(200);
      expect((await who(server)).uid).toBe(process.getuid?.());
    } finally {
      process.kill(Number(pid), "SIGTERM");
      await expect.poll(() => running(Number(pid)), { timeout: POLL_MS }).toBe(false);
    }
  });

  test("statsd gets what came since the last time, at the latest when the server stops", async () => {
    const statsd = createSocket("udp4").bind(0, "127.0.0.1");
    await once(statsd, "listening");
    const got: string[] = [];
    statsd.on("message", (packet) => got.push(...packet.toString().split("\n")));
    await using server = await start(["--statsd", `127.0.0.1:${statsd.address().port}`, "--statsd-prefix", "shop"]);
    for (let index = 0; index < 3; index++) await server.ask("/");
    await server.command.stop();
    await expect.poll(() => got, { timeout: POLL_MS }).toContain("shop.requests:3|c");
    expect(got).toContain("shop.status.200:3|c");
    statsd.close();
  });
});

test("--daemon: the command ends when the server is up, or says what went wrong", async () => {
  const pidFile = join(folder, "daemon.pid");
  const args = ["who.mjs", "-b", `unix:${join(folder, "daemon.sock")}`, "--daemon", "--pid", pidFile];
  await using command = new Command("server", [...args, "--log-file", join(folder, "daemon.log")], {
    cwd: folder,
    env,
  });
  expect((await command.exited).code).toBe(0);
  const pid = Number(readFileSync(pidFile, "utf8"));
  expect(command.output).toBe(`portico-server: runs in the background (pid ${pid})\n`);
  expect(running(pid)).toBe(true);
  try {
    await using again = new Command("server", args.slice(0, 4), { cwd: folder, env });
    expect((await again.exited).code).toBe(5);
    expect(again.output).toMatch(
      /^portico-server: cannot listen on unix:.*daemon\.sock: address in use by a running process\n$/,
    );
    await using stop = new Command("server", ["stop", "--pid", pidFile], { cwd: folder, env });
    expect([(await stop.exited).code, stop.output]).toEqual([0, `stopped (pid ${pid})\n`]);
    expect(existsSync(pidFile)).toBe(false);
  } finally {
    if (running(pid)) process.kill(pid, "SIGKILL");
  }
});

test("--reload: new code when a file changes, and what is wrong with it in the browser", async () => {
  const project = join(folder, "project");
  mkdirSync(project);
  const part = join(project, "part.mjs");
  writeFileSync(part, 'export const word = "one";\n');
  writeFileSync(
    join(project, "app.mjs"),
    `import { word } from "./part.mjs";
export default { fetch(request) { if (request.url.endsWith("/boom")) throw new TypeError("<boom>"); return new Response(word); } };\n`,
  );
  await using server = await ServerUnderTest.start("app.mjs", ["--reload"], { cwd: project, env });
  expect((await server.ask("/")).text).toBe("one");
  const html = { headers: { accept: "text/html" } };
  const boom = await server.ask("/boom", html);
  expect(boom.status).toBe(500);
  expect(boom.text).toContain("<h1>TypeError: &lt;boom&gt;</h1>");
  expect(boom.text).toMatch(/app\.mjs:2\n\n.*\n&gt; {5}2 \| export default/);
  expect((await server.ask("/boom")).text).not.toContain("app.mjs");
  let from = server.command.output.length;
  writeFileSync(part, 'export const word = "two";\n');
  await server.command.printed(/reloaded: ready/, from);
  expect((await server.ask("/")).text).toBe("two");
  from = server.command.output.length;
  writeFileSync(part, 'export const word = "thr\n');
  await server.command.printed(/reload failed, the old workers stay/, from);
  expect((await server.ask("/")).text).toBe("two");
  const broken = await server.ask("/", html);
  expect(broken.status).toBe(500);
  expect(broken.text).toMatch(/part\.mjs:1\nexport const word = &quot;thr\n/);
  from = server.command.output.length;
  writeFileSync(part, 'export const word = "three";\n');
  await server.command.printed(/reloaded: ready/, from);
  expect((await server.ask("/", html)).text).toBe("three");
});

const has = (program: string): boolean => spawnSync(program, ["--version"]).status === 0;

describe.skipIf(!has("python3") || !has("systemd-notify"))("under systemd (needs python3 and systemd-notify)", () => {
  /** Node has no datagram sockets of the unix family, so Python stands in for systemd's end. */
  const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True:
    print(" ".join(s.recv(4096).decode().split("\\n")), flush=True)
`;
  const ACTIVATOR = `
import os, socket, sys
for index, path in enumerate(sys.argv[1].split(",")):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen()
    os.dup2(s.fileno(), 60 + index)
for index in range(len(sys.argv[1].split(","))):
    os.dup2(60 + index, 3 + index)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(sys.argv[1].split(",")))
os.environ["LISTEN_FDNAMES"] = "web:link"
os.execv(sys.argv[2], sys.argv[2:])
`;

  test("tells that it is ready, reloads, lives and stops", async () => {
    const path = join(folder, "notify.sock");
    const receiver = spawn("python3", ["-c", RECEIVER, path], { stdio: ["ignore", "pipe", "inherit"] });
    let told = "";
    receiver.stdout.setEncoding("utf8").on("data", (part: string) => (told += part));
    try {
      await expect.poll(() => told, { timeout: POLL_MS }).toContain("bound");
      await using server = await start([], { env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: "400000" } });
      const { pid } = server.command;
      await expect
        .poll(() => told, { timeout: POLL_MS })
        .toContain(`READY=1 MAINPID=${pid} STATUS=ready on ${server.url}`);
      await expect.poll(() => told, { timeout: POLL_MS }).toContain("WATCHDOG=1");
      expect((await who(server)).secrets).toEqual([]);
      server.command.signal("SIGHUP");
      await expect.poll(() => told, { timeout: POLL_MS }).toMatch(/RELOADING=1 MONOTONIC_USEC=\d+[^]*READY=1/);
      expect(await server.command.stop()).toEqual({ code: 0, signal: null });
      await expect.poll(() => told, { timeout: POLL_MS }).toContain("STOPPING=1");
    } finally {
      receiver.kill();
    }
  });

  test("serves the sockets that it is given, without --bind", async () => {
    const web = join(folder, "activated.sock");
    const bin = join(apps, "../../../packages/server/src/bin.ts");
    const child = spawn(
      "python3",
      ["-c", ACTIVATOR, web, process.execPath, "--conditions=@portico/source", bin, "who.mjs"],
      { cwd: folder, env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "pipe"] },
    );
    const exited = once(child, "exit");
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (part: string) => (log += part));
    await expect.poll(() => log, { timeout: POLL_MS }).toContain("ready on ");
    const { Agent, request } = await import("undici");
    const agent = new Agent({ connect: { socketPath: web } });
    const { body } = await request("http://x/", { dispatcher: agent });
    expect(((await body.json()) as Who).secrets).toEqual([]);
    await agent.destroy();
    child.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
    expect(existsSync(web)).toBe(true); // systemd's, who keeps it for the next start
  });
});
