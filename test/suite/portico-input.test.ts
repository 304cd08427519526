/** Wrong input to `portico`: one clear message on standard error, the documented exit code, nothing left running. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { afterAll, expect, onTestFinished, test } from "vitest";
import { bins, running } from "../support/command.ts";
import { Playground } from "../support/stack.ts";

const playground = new Playground();
const blocker = createServer().listen(0, "127.0.0.1");
await once(blocker, "listening");
const taken = (blocker.address() as AddressInfo).port;
afterAll(() => {
  blocker.close();
  playground[Symbol.dispose]();
});

const route = { path: "/*", proxy: { upstream: "app" } };
const site = { hosts: ["*"], routes: [route] };
const file = (name: string, content: unknown): void =>
  void playground.write(name, typeof content === "string" ? content : JSON.stringify(content));

file("app.mjs", "export default (request, ctx) => ({ body: 'hello' });");
file("throws.mjs", "const port = 3000;\nthrow new RangeError(`no database on ${port}`);");
file("syntax.ts", "const a = 1;\nconst b: = 2;\n");
file("nothing.mjs", "export const answer = 42;");
file(
  "startup.mjs",
  "export default { lifespan: { startup: () => Promise.reject(new Error('the migration failed')) }, fetch() {} };",
);
file("import.mjs", "import './not-there.mjs';");
file("exits.mjs", "process.exit(7);");
file("misspelt.json", { sites: [site], limits: { bodysize: "1MiB" }, treads: 2 });
file("broken.yaml", "sites:\n\t- hosts: []\n");
file("broken.json", '{ "sites": [,] }');
file("upstream.json", { sites: [{ ...site, routes: [{ path: "/*", proxy: { upstream: "ap" } }] }] });
file("own-app.json", { sites: [site], upstreams: { app: { servers: ["http://127.0.0.1:1"] } } });

interface Case {
  readonly what: string;
  /** Behind `portico`; `--listen 127.0.0.1:0` is added where nothing is said of it. */
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly code: number;
  /** The whole of standard error but the program's name in front. */
  readonly message: RegExp;
}

const cases: readonly Case[] = [
  { what: "no words at all", args: [], code: 2, message: /^say what to serve, for example: portico serve app\.ts$/ },
  {
    what: "unknown command",
    args: ["sevre", "app.mjs"],
    code: 2,
    message: /^unknown command 'sevre'.* \(Did you mean serve\?\).*see portico .*--help\)$/i,
  },
  {
    what: "no module",
    args: ["serve"],
    code: 2,
    message: /^missing required argument 'MODULE' \(see portico serve --help\)$/,
  },
  {
    what: "two modules",
    args: ["serve", "app.mjs", "b.mjs"],
    code: 2,
    message: /^too many arguments.*see portico serve --help\)$/,
  },
  {
    what: "unknown flag",
    args: ["serve", "app.mjs", "--wrokers", "2"],
    code: 2,
    message: /^unknown option '--wrokers' \(Did you mean --workers\?\) \(see portico serve --help\)$/,
  },
  {
    what: "wrong count",
    args: ["serve", "app.mjs", "-w", "many"],
    code: 2,
    message: /^--workers many: must be a whole number from 1, or auto$/,
  },
  {
    what: "no workers",
    args: ["serve", "app.mjs", "-w", "0"],
    code: 2,
    message: /^--workers 0: must be a whole number from 1, or auto$/,
  },
  {
    what: "wrong WEB_CONCURRENCY",
    args: ["serve", "app.mjs"],
    env: { WEB_CONCURRENCY: "x" },
    code: 2,
    message: /^WEB_CONCURRENCY: must be a whole number from 1, or "auto", not "x"$/,
  },
  {
    what: "port beyond all",
    args: ["serve", "app.mjs", "-l", "70000"],
    code: 2,
    message: /^--listen 70000: a port is a number from 0 to 65535$/,
  },
  {
    what: "address without a port",
    args: ["serve", "app.mjs", "-l", "localhost"],
    code: 2,
    message: /^--listen localhost: must be .*host:port/,
  },
  {
    what: "wrong size",
    args: ["serve", "app.mjs", "--body-size", "big"],
    code: 2,
    message: /^--body-size big: must be .*MiB/,
  },
  {
    what: "missing module",
    args: ["serve", "ap.mjs"],
    code: 4,
    message: /^cannot find the application: there is no file .*ap\.mjs \(did you mean "app\.mjs"\?\)$/,
  },
  {
    what: "module that throws",
    args: ["serve", "throws.mjs"],
    code: 4,
    message: /^throws\.mjs failed while it was loaded: RangeError: no database on 3000\n +at .*throws\.mjs:2:7$/,
  },
  {
    what: "syntax error",
    args: ["serve", "syntax.ts"],
    code: 4,
    message: /^syntax\.ts does not parse: .*\n.*syntax\.ts:2\n(const a = 1;\n)?const b: = 2;\n +\^$/,
  },
  { what: "missing import", args: ["serve", "import.mjs"], code: 4, message: /^import\.mjs .*not-there\.mjs/ },
  {
    what: "module without a handler",
    args: ["serve", "nothing.mjs"],
    code: 4,
    message: /^nothing\.mjs has no application: /,
  },
  {
    what: "module that ends the process",
    args: ["serve", "exits.mjs"],
    code: 3,
    message: /^a worker ended while it was loading exits\.mjs: it ended by itself, exit code 7$/,
  },
  {
    what: "startup that rejects",
    args: ["serve", "startup.mjs"],
    code: 3,
    message: /^.*startup.*the migration failed/,
  },
  {
    what: "port in use",
    args: ["serve", "app.mjs", "-l", `127.0.0.1:${taken}`],
    code: 5,
    message: new RegExp(`^cannot listen on http://127\\.0\\.0\\.1:${taken}: another process already listens there$`),
  },
  {
    what: "socket in a folder that is not there",
    args: ["serve", "app.mjs", "-l", "unix:/nowhere/x.sock"],
    code: 5,
    message: /^cannot listen on unix:\/nowhere\/x\.sock: its directory does not exist$/,
  },
  {
    what: "no configuration of that name",
    args: ["serve", "app.mjs", "-c", "nowhere.json"],
    code: 2,
    message: /^.*nowhere\.json.*(no such file|does not exist)/,
  },
  {
    what: "configuration that is a folder",
    args: ["serve", "app.mjs", "-c", "."],
    code: 2,
    message: /^.*(folder|directory|kind)/,
  },
  { what: "broken YAML", args: ["serve", "app.mjs", "-c", "broken.yaml"], code: 2, message: /^.*broken\.yaml.*2/s },
  { what: "broken JSON", args: ["serve", "app.mjs", "-c", "broken.json"], code: 2, message: /^.*broken\.json/ },
  {
    what: "misspelt keys",
    args: ["serve", "app.mjs", "-c", "misspelt.json"],
    code: 2,
    message:
      /^the configuration has 2 mistakes:\n.*(bodysize.*did you mean "?bodySize.*\n.*treads.*did you mean "?threads|treads.*did you mean "?threads.*\n.*bodysize.*did you mean "?bodySize)/,
  },
  {
    what: "unknown upstream",
    args: ["serve", "app.mjs", "-c", "upstream.json"],
    code: 2,
    message: /^the configuration has one mistake:\n.*"ap".*did you mean "?app/,
  },
  {
    what: "an upstream of the application's name",
    args: ["serve", "app.mjs", "-c", "own-app.json"],
    code: 2,
    message: /^own-app\.json: upstreams\.app: this name is the application itself here/,
  },
  {
    what: "--static and --config",
    args: ["serve", "app.mjs", "-c", "upstream.json", "-s", "."],
    code: 2,
    message: /^--static and --config exclude each other/,
  },
  {
    what: "--static names no folder",
    args: ["serve", "app.mjs", "-s", "publik"],
    code: 2,
    message: /^--static publik: there is no such folder$/,
  },
  {
    what: "--static names a file",
    args: ["serve", "app.mjs", "-s", "app.mjs"],
    code: 2,
    message: /^--static app\.mjs: it is not a folder$/,
  },
  {
    what: "no folder for the sockets",
    args: ["serve", "app.mjs"],
    env: { XDG_RUNTIME_DIR: "/nowhere" },
    code: 1,
    message: /^no folder for the sockets between the tiers could be made in \/nowhere: /,
  },
];

test.each(cases)("$what", async ({ args, env, code, message }) => {
  const listens = args.includes("-l") || args[0] !== "serve" || args.includes("-c");
  const words = listens ? args : [...args, "--listen", "127.0.0.1:0"];
  const child = spawn(process.execPath, ["--conditions=@portico/source", bins.portico, ...words], {
    cwd: playground.folder,
    env: { ...process.env, ...playground.env, NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true, // a process group of its own: whatever is left of it would be found
  });
  const output = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output.stderr += chunk.toString()));
  // However the test ends, nothing of it runs on.
  onTestFinished(() => {
    try {
      process.kill(-child.pid!, "SIGKILL");
    } catch {
      // As it should be: there is no such group any more.
    }
  });
  const [exitCode] = (await once(child, "close")) as [number];
  expect(output.stderr).toMatch(/^portico: /);
  const said = output.stderr.slice("portico: ".length).trimEnd();
  expect(said).toMatch(message);
  expect(said, "a stack of ours is no message").not.toMatch(/packages\/(portico|proxy|server|supervisor)\//);
  expect(output.stdout).toBe("");
  expect(exitCode).toBe(code);
  expect(running(child.pid!)).toBe(false);
  expect(() => process.kill(-child.pid!, 0), "nothing of the process group is left").toThrow(/ESRCH/);
  expect(playground.leftovers()).toEqual([]);
});

test.each([[["--help"]], [["serve", "--help"]], [["--version"]], [["help"]]])(
  "%j is an answer, not a mistake",
  async (args) => {
    const child = spawn(process.execPath, ["--conditions=@portico/source", bins.portico, ...args]);
    const output = { stdout: "", stderr: "" };
    child.stdout.on("data", (chunk: Buffer) => (output.stdout += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (output.stderr += chunk.toString()));
    expect(await once(child, "close")).toEqual([0, null]);
    expect(output.stderr).toBe("");
    expect(output.stdout).toMatch(args[0] === "--version" ? /^\d+\.\d+\.\d+\n$/ : /^Usage: portico/);
  },
);
