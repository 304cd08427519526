/** Bad input: one clear message, the right exit code, nothing left running. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { bins, Command, descendants, running } from "../support/command.ts";
import { apps } from "../support/server.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-errors-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const socket = join(folder, "s.sock");
writeFileSync(join(folder, "misspelt.json"), '{ "wrokers": 2 }');
writeFileSync(join(folder, "broken.mjs"), "export default {\n  workers: 2,,\n};\n");
writeFileSync(join(folder, "file"), "no socket");
chmodSync(folder, 0o755);

interface Case {
  readonly what: string;
  readonly args: readonly string[];
  readonly env?: Record<string, string>;
  readonly code: number;
  /** The whole message, without the program's name. */
  readonly message: RegExp;
}

const cases: readonly Case[] = [
  {
    what: "unknown flag",
    args: ["tsgi.ts", "--wrokers", "2"],
    code: 2,
    message: /^unknown option '--wrokers' \(Did you mean --workers\?\)$/,
  },
  {
    what: "wrong value",
    args: ["tsgi.ts", "-w", "many"],
    code: 2,
    message: /^--workers many: expected number, or "auto"$/,
  },
  { what: "no application", args: [], code: 2, message: /^no application was named: portico-server MODULE/ },
  {
    what: "wrong flag in the environment",
    args: ["tsgi.ts"],
    env: { PORTICO_SERVER_ARGS: "--nope" },
    code: 2,
    message: /^PORTICO_SERVER_ARGS: unknown option '--nope'/,
  },
  {
    what: "absent configuration",
    args: ["tsgi.ts", "-c", "nowhere.ts"],
    code: 2,
    message: /^cannot read configuration .*nowhere\.ts: there is no such file$/,
  },
  {
    what: "broken configuration",
    args: ["tsgi.ts", "-c", join(folder, "broken.mjs")],
    code: 2,
    message: /^cannot read configuration .*broken\.mjs: Unexpected token ','\n.*broken\.mjs:2\n {2}workers: 2,,\n +\^$/,
  },
  {
    what: "misspelt key",
    args: ["tsgi.ts", "-c", join(folder, "misspelt.json")],
    code: 2,
    message: /^.*misspelt\.json: unknown setting "wrokers" \(did you mean "workers"\?\)$/,
  },
  {
    what: "address without a port",
    args: ["tsgi.ts", "-b", "localhost"],
    code: 2,
    message: /^bind localhost: cannot listen on "localhost": it has no port/,
  },
  {
    what: "link over TCP without a secret",
    args: ["tsgi.ts", "-b", "link://127.0.0.1:0"],
    code: 2,
    message: /^bind link:\/\/127\.0\.0\.1:0: a link over TCP needs a shared secret: set PORTICO_LINK_SECRET/,
  },
  {
    what: "short secret",
    args: ["tsgi.ts"],
    env: { PORTICO_LINK_SECRET: "short" },
    code: 2,
    message: /linkSecret: must be at least 16 characters long$/,
  },
  {
    what: "wrong trusted address",
    args: ["tsgi.ts", "--forwarded-allow-ips", "everybody"],
    code: 2,
    message: /^forwardedAllowIps: "everybody" is not an address/,
  },
  {
    what: "log file that cannot be written",
    args: ["tsgi.ts", "--log-file", "/nowhere/x.log"],
    code: 2,
    message: /^logFile \/nowhere\/x\.log: ENOENT/,
  },
  {
    what: "access log that cannot be written",
    args: ["tsgi.ts", "--access-log", "/nowhere/x.log"],
    code: 2,
    message: /^accessLog \/nowhere\/x\.log: ENOENT/,
  },
  {
    what: "path that is no socket",
    args: ["tsgi.ts", "-b", `unix:${join(folder, "file")}`],
    code: 5,
    message: /^cannot listen on unix:.*file: the path exists and is not a socket$/,
  },
  {
    what: "folder that does not exist",
    args: ["tsgi.ts", "-b", "unix:/nowhere/x.sock"],
    code: 5,
    message: /^cannot listen on unix:\/nowhere\/x\.sock: its directory does not exist$/,
  },
  {
    what: "unknown user",
    args: ["tsgi.ts", "--user", "nobody-of-that-name"],
    code: 2,
    message: /^user: the user "nobody-of-that-name" is not known on this machine$/,
  },
  {
    what: "unknown group",
    args: ["tsgi.ts", "--group", "no-such-group"],
    code: 2,
    message: /^group: the group "no-such-group" is not known on this machine$/,
  },
  {
    what: "unknown owner of a socket",
    args: ["tsgi.ts", "--socket-owner", "nobody-of-that-name"],
    code: 2,
    message: /^owner: the user "nobody-of-that-name" is not known on this machine$/,
  },
  {
    what: "owner of a TCP address",
    args: ["tsgi.ts", "-b", "127.0.0.1:0?owner=root"],
    code: 2,
    message: /^bind 127\.0\.0\.1:0\?owner=root: only unix sockets have a mode and an owner$/,
  },
  {
    what: "misspelt option of an address",
    args: ["tsgi.ts", "-b", "unix:/tmp/x?mod=0600"],
    code: 2,
    message: /^bind unix:\/tmp\/x\?mod=0600: unknown option "mod" \(did you mean "mode"\?\)$/,
  },
  {
    what: "wrong value of an option of an address",
    args: ["tsgi.ts", "-b", "unix:/tmp/x?mode=999"],
    code: 2,
    message: /^bind unix:\/tmp\/x\?mode=999: mode: "999" is not a value it takes$/,
  },
  {
    what: "PROXY protocol on the link",
    args: ["tsgi.ts", "-b", "link+unix:/tmp/x?proxy-protocol"],
    code: 2,
    message: /^bind link\+unix:\/tmp\/x\?proxy-protocol: the link says who the client is by itself/,
  },
  {
    what: "https address",
    args: ["tsgi.ts", "-b", "https://127.0.0.1:0"],
    code: 2,
    message:
      /^bind https:\/\/127\.0\.0\.1:0: TLS is the front's job: put portico-proxy, nginx or a load balancer before/,
  },
  {
    what: "flag for TLS",
    args: ["tsgi.ts", "--certfile", "cert.pem"],
    code: 2,
    message: /^--certfile: TLS is the front's job: /,
  },
  {
    what: "variable without a value",
    args: ["tsgi.ts", "-e", "COLOUR"],
    code: 2,
    message: /^--env COLOUR: must be NAME=value$/,
  },
  {
    what: "variable of an impossible name",
    args: ["tsgi.ts", "-e", "A-B=1"],
    code: 2,
    message: /^--env A-B=1: /,
  },
  {
    what: "size without a unit that exists",
    args: ["tsgi.ts", "--max-rss", "512 elephants"],
    code: 2,
    message: /^--max-rss 512 elephants: .*must be bytes, or a size such as 512MiB$/,
  },
  {
    what: "umask that is no octal number",
    args: ["tsgi.ts", "--umask", "888"],
    code: 2,
    message: /^--umask 888: must be an octal mode such as 0660$/,
  },
  {
    what: "statsd without a port",
    args: ["tsgi.ts", "--statsd", "localhost"],
    code: 2,
    message: /^statsd: "localhost" is not host:port$/,
  },
  {
    what: "metrics at an impossible address",
    args: ["tsgi.ts", "--metrics", "127.0.0.1:99999"],
    code: 5,
    message: /^metrics: cannot listen on "127\.0\.0\.1:99999": port 99999 is above 65535/,
  },
  {
    what: "control socket in a folder that is not there",
    args: ["tsgi.ts", "--control", "/nowhere/c.sock"],
    code: 1,
    message: /^control \/nowhere\/c\.sock: cannot listen on unix:\/nowhere\/c\.sock: its directory does not exist$/,
  },
  {
    what: "pid file in a folder that is not there",
    args: ["tsgi.ts", "--pid", "/nowhere/p.pid"],
    code: 2,
    message: /^pid \/nowhere\/p\.pid: ENOENT/,
  },
  {
    what: "working folder that is not there",
    args: ["tsgi.ts", "--chdir", "/nowhere"],
    code: 4,
    message: /^cannot find the application: there is no file \/nowhere\/tsgi\.ts/,
  },
  {
    what: "unknown command-like word",
    args: ["statuss"],
    code: 4,
    message: /^cannot find the application: /,
  },
  {
    what: "missing module",
    args: ["tsgy.ts"],
    code: 4,
    message: /^cannot find the application: there is no file .*tsgy\.ts \(did you mean "tsgi\.ts"\?\)$/,
  },
  {
    what: "missing export",
    args: ["factory.ts:creat()"],
    code: 4,
    message: /^factory\.ts:creat\(\): there is no export "creat" \(did you mean "create"\?\)$/,
  },
  {
    what: "factory that was not called",
    args: ["factory.ts"],
    code: 4,
    message: /^factory\.ts has no application: .*name it: factory\.ts:create\(\)$/,
  },
  {
    what: "syntax error, ES module",
    args: ["bad/syntax.mjs"],
    code: 4,
    message: /^bad\/syntax\.mjs does not parse: Unexpected token '='\n.*bad\/syntax\.mjs:2\nconst b = = 2;\n +\^$/,
  },
  {
    what: "syntax error, TypeScript",
    args: ["bad/syntax.ts"],
    code: 4,
    message: /^bad\/syntax\.ts does not parse: .*\n.*bad\/syntax\.ts:2\n.*\nconst b: = 2;\n +\^$/,
  },
  {
    what: "syntax error in an import",
    args: ["bad/imports-syntax.mjs"],
    code: 4,
    message: /^bad\/imports-syntax\.mjs does not parse: .*\n.*bad\/syntax\.mjs:2\nconst b = = 2;/,
  },
  {
    what: "module that throws",
    args: ["bad/throws.ts"],
    code: 4,
    message: /^bad\/throws\.ts failed while it was loaded: RangeError: no database on 3000\n +at .*throws\.ts:2:7$/,
  },
  {
    what: "missing import",
    args: ["bad/missing-import.mjs"],
    code: 4,
    message: /^bad\/missing-import\.mjs imports what is not there: Cannot find module '.*nowhere\.mjs'/,
  },
  {
    what: "no handler",
    args: ["bad/no-handler.mjs"],
    code: 4,
    message: /^bad\/no-handler\.mjs has no application: it exports answer, and did not call listen\(\) \(expected /,
  },
  {
    what: "startup that rejects",
    args: ["bad/startup-rejects.ts"],
    code: 3,
    message: /^bad\/startup-rejects\.ts: startup failed: Error: no database\n +at .*startup-rejects\.ts:2:\d+\)$/,
  },
  {
    what: "load that waits for ever",
    args: ["bad/load-hangs.mjs", "--boot-timeout", "1"],
    code: 3,
    message: /^bad\/load-hangs\.mjs: loading took longer than 1 s \(--boot-timeout\)\n +it does not compute, it waits/,
  },
  {
    what: "load that computes for ever",
    args: ["bad/load-blocks.mjs", "--boot-timeout", "1"],
    code: 3,
    message:
      /^bad\/load-blocks\.mjs: loading took longer than 1 s \(--boot-timeout\)\n +at forever \(.*load-blocks\.mjs:\d/,
  },
  {
    what: "module that ends the process",
    args: ["bad/exits.mjs"],
    code: 3,
    message: /^a worker ended while it was loading bad\/exits\.mjs: .*exit code 7$/,
  },
];

test.each(cases)("$what", async ({ args, env, code, message }) => {
  const bound = args.includes("-b") || args.length === 0 ? [] : ["-b", `unix:${socket}`];
  await using command = new Command(
    "server",
    [...args, ...bound, "-w", "2", "--log-level", "warn"].slice(0, args.length === 0 ? 0 : undefined),
    {
      cwd: apps,
      env: { ...env },
    },
  );
  const children = new Set<number>();
  const watch = setInterval(() => {
    for (const pid of descendants(command.pid)) children.add(pid);
  }, 50);
  const exit = await command.exited;
  clearInterval(watch);
  expect(exit).toEqual({ code, signal: null });
  expect(command.output).toMatch(/^portico-server: /);
  expect(command.output.slice("portico-server: ".length).trimEnd()).toMatch(message);
  expect([...children].filter(running)).toEqual([]);
  expect(existsSync(socket)).toBe(false);
});

test("port in use", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  await using command = new Command("server", ["tsgi.ts", "-b", `unix:${socket}`, "-b", `127.0.0.1:${port}`], {
    cwd: apps,
  });
  expect((await command.exited).code).toBe(5);
  expect(command.output).toBe(
    `portico-server: cannot listen on http://127.0.0.1:${port}: another process already listens there\n`,
  );
  expect(existsSync(socket)).toBe(false);
  other.close();
});

test("two servers that start at once on one port: one serves, the other says that it is in use", async () => {
  const free = createServer().listen(0, "127.0.0.1");
  await once(free, "listening");
  const address = `127.0.0.1:${(free.address() as AddressInfo).port}`;
  free.close();
  await once(free, "close");
  const slow = join(folder, "slow.mjs");
  writeFileSync(slow, "await new Promise((wake) => setTimeout(wake, 500)); export default () => new Response();");
  await using one = new Command("server", [slow, "-b", address, "-w", "2"]);
  await using two = new Command("server", [slow, "-b", address, "-w", "2"]);
  const loser = await Promise.race([one, two].map((command) => command.exited.then(() => command)));
  expect((await loser.exited).code).toBe(5);
  expect(loser.output).toContain(`cannot listen on http://${address}: another process already listens there\n`);
  const winner = loser === one ? two : one;
  await winner.printed(/ready on /);
  expect((await fetch(`http://${address}/`)).status).toBe(200);
});

test.skipIf(process.geteuid?.() !== 0)("privileged port without the right", () => {
  const user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"];
  const { status, stderr } = spawnSync(
    "setpriv",
    [
      ...user,
      process.execPath,
      "--conditions=@portico/source",
      bins.server,
      join(folder, "slow.mjs"),
      "-b",
      "127.0.0.1:81",
    ],
    { encoding: "utf8", timeout: 20_000 },
  );
  expect([status, stderr]).toEqual([
    5,
    "portico-server: cannot listen on http://127.0.0.1:81: ports below 1024 need root or CAP_NET_BIND_SERVICE\n",
  ]);
});

test("--check-config says what is right or wrong, and starts nothing", async () => {
  await using right = new Command("server", ["hono.ts", "--check-config"], { cwd: apps });
  expect((await right.exited).code).toBe(0);
  expect(right.output).toBe("portico-server: configuration is right, and hono.ts loads (fetch)\n");
  await using wrong = new Command("server", ["bad/throws.ts", "--check-config"], { cwd: apps });
  expect((await wrong.exited).code).toBe(4);
  expect(wrong.output).toMatch(/^portico-server: bad\/throws\.ts failed while it was loaded: RangeError/);
});

test("--print-config prints what would be used", async () => {
  await using command = new Command("server", ["hono.ts", "--print-config", "--json", "-w", "3"], {
    cwd: apps,
    env: { PORTICO_SERVER_ARGS: "-w 2 --timeout 5", PORTICO_LINK_SECRET: "0123456789abcdef" },
  });
  expect((await command.exited).code).toBe(0);
  expect(JSON.parse(command.output)).toMatchObject({
    app: { value: "hono.ts", from: "command line" },
    workers: { value: 3, from: "command line" },
    timeout: { value: 5, from: "PORTICO_SERVER_ARGS" },
    linkSecret: { value: "(hidden)", from: "PORTICO_LINK_SECRET" },
  });
});
