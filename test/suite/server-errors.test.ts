/** Bad input: one clear message, the right exit code, nothing left running. */
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Command, descendants, running } from "../support/command.ts";
import { apps } from "../support/server.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-errors-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const socket = join(folder, "s.sock");
writeFileSync(join(folder, "misspelt.json"), '{ "wrokers": 2 }');
writeFileSync(join(folder, "broken.mjs"), "export default {\n  workers: 2,,\n};\n");
writeFileSync(join(folder, "file"), "no socket");

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
    message: /^a worker ended while it was loading bad\/exits\.mjs: exit code 7$/,
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
