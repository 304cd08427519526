/**
 * SIGUSR2: a second master, of what is on the disk by then, on the same sockets. Confirmed or taken back while requests
 * come over TCP, a unix socket, and the link behind a proxy.
 */
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Agent, request } from "undici";
import { afterAll, expect, test } from "vitest";
import { bins, Command, descendants, running } from "../support/command.ts";
import { type LoadResult, stream } from "../support/load.ts";
import { ProxyUnderTest, site } from "../support/proxy.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-upgrade-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let releases = 0;

/** A folder with two releases of program and application, and `current`, which leads to the first. */
class Releases {
  readonly folder: string;

  constructor() {
    this.folder = join(folder, `${++releases}`);
    for (const version of ["v1", "v2"]) {
      const home = join(this.folder, version);
      mkdirSync(home, { recursive: true });
      writeFileSync(
        join(home, "program.mjs"),
        `process.env.PROGRAM = "${version}"; await import(${JSON.stringify(pathToFileURL(bins.server).href)});`,
      );
      writeFileSync(
        join(home, "app.mjs"),
        `export default async () => {
  await new Promise((resolve) => setTimeout(resolve, 2));
  return { body: \`program \${process.env.PROGRAM}, application ${version}\` };
};`,
      );
    }
    symlinkSync("v1", this.current);
  }

  get current(): string {
    return join(this.folder, "current");
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** What a deployment does. */
  switchTo(version: string): void {
    symlinkSync(version, join(this.folder, "next"));
    renameSync(join(this.folder, "next"), this.current);
  }
}

/** A server of `current` on TCP, a unix socket and a link, with a proxy before the link. */
class Upgraded implements AsyncDisposable {
  readonly releases = new Releases();
  readonly command: Command;
  readonly #agents: Agent[] = [];
  readonly #others: number[] = [];
  #url = "";
  #proxy: ProxyUnderTest | undefined;

  constructor(args: readonly string[] = []) {
    const { releases: at } = this;
    this.command = new Command(
      "server",
      [
        "app.mjs",
        "-w",
        "2",
        "-p",
        at.path("p.pid"),
        "--control",
        at.path("control.sock"),
        "--probation",
        "0.1",
        "-b",
        "127.0.0.1:0",
        "-b",
        `unix:${at.path("u.sock")}`,
        "-b",
        `link+unix:${at.path("l.sock")}`,
        ...args,
      ],
      { cwd: at.current, env: { PWD: at.current }, script: join(at.current, "program.mjs") },
    );
  }

  static async start(args?: readonly string[]): Promise<Upgraded> {
    const server = new Upgraded(args);
    try {
      const [, url] = await server.command.printed(/ready on (http:\/\/127\.0\.0\.1:\d+)/);
      server.#url = url!;
      const link = `link+unix:${server.releases.path("l.sock")}`;
      server.#proxy = await ProxyUnderTest.start({
        ...site({ path: "/*", proxy: { upstream: "app" } }),
        upstreams: { app: { servers: [link] } },
        threads: 1,
      });
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** One request by each way; what was answered. */
  async ask(): Promise<string[]> {
    const answers: string[] = [];
    for (const client of this.#ways()) answers.push(await client());
    return answers;
  }

  /** Load by all three ways. */
  load(): { stop(): Promise<LoadResult> } {
    const loads = this.#ways().map((ask) =>
      stream(
        () => async () => {
          const text = await ask();
          return /^program v\d, application v\d$/.test(text) ? "" : text;
        },
        3,
      ),
    );
    return {
      async stop() {
        const results = await Promise.all(loads.map((load) => load.stop()));
        for (const { answered } of results) expect(answered).toBeGreaterThan(0);
        return {
          failures: results.flatMap(({ failures }) => failures),
          answered: results.reduce((sum, { answered }) => sum + answered, 0),
        };
      },
    };
  }

  /** SIGUSR2; resolves with the new master's process id when it serves. */
  async upgrade(): Promise<number> {
    const from = this.command.output.length;
    this.command.signal("SIGUSR2");
    const [, pid] = await this.command.printed(/the new master \(pid (\d+)\) serves beside this one/, from);
    this.#others.push(Number(pid));
    return Number(pid);
  }

  pid(name = "p.pid"): number | undefined {
    const path = this.releases.path(name);
    return existsSync(path) ? Number(readFileSync(path, "utf8")) : undefined;
  }

  #ways(): (() => Promise<string>)[] {
    const over = (url: string, options: ConstructorParameters<typeof Agent>[0] = {}): (() => Promise<string>) => {
      const agent = new Agent(options);
      this.#agents.push(agent);
      return async () => {
        const { statusCode, body } = await request(url, { dispatcher: agent });
        const text = await body.text();
        return statusCode === 200 ? text : `${statusCode} ${text}`;
      };
    };
    return [
      over(this.#url),
      over(this.#url, { connect: { socketPath: this.releases.path("u.sock") } }),
      over(this.#proxy!.url),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.destroy()));
    await this.#proxy?.[Symbol.asyncDispose]();
    for (const pid of this.#others.flatMap((other) => [other, ...descendants(other)]))
      if (running(pid)) process.kill(pid, "SIGKILL");
    await this.command[Symbol.asyncDispose]();
  }
}

const OLD = "program v1, application v1";
const NEW = "program v2, application v2";
const SOCKETS = ["u.sock", "l.sock", "control.sock"];

test("confirmed: both serve, then the new one alone, with the old one's files; no request fails", async () => {
  await using server = await Upgraded.start();
  const { releases: at, command } = server;
  const old = command.pid;
  expect(await server.ask()).toEqual([OLD, OLD, OLD]);
  const load = server.load();
  at.switchTo("v2");
  const next = await server.upgrade();
  expect([server.pid(), server.pid("p.pid.2")]).toEqual([old, next]);
  const seen = new Set<string>();
  for (let tries = 0; tries < 500 && seen.size < 2; tries++) for (const text of await server.ask()) seen.add(text);
  expect(seen).toEqual(new Set([OLD, NEW]));
  command.signal("SIGWINCH");
  await command.printed(/"type":"scaled".*"count":0/);
  expect(await server.ask()).toEqual([NEW, NEW, NEW]);
  const exited = once(command.child, "exit");
  command.signal("SIGTERM");
  expect(await exited).toEqual([0, null]);
  await command.printed(/this is the master now/);
  await expect.poll(() => [server.pid(), server.pid("p.pid.2")]).toEqual([next, undefined]);
  expect(await server.ask()).toEqual([NEW, NEW, NEW]);
  const { failures, answered } = await load.stop();
  expect(failures).toEqual([]);
  console.log(`upgrade confirmed: ${answered} requests, ${failures.length} failed`);
  for (const name of SOCKETS) expect(existsSync(at.path(name)), name).toBe(true);
  process.kill(next, "SIGTERM");
  expect((await command.exited).code).toBe(0);
  for (const name of [...SOCKETS, "p.pid", "p.pid.2", "control.sock.2"])
    expect(existsSync(at.path(name)), name).toBe(false);
});

test.each([
  ["after HUP has brought its workers back", true],
  ["without a word: the old one brings its workers back by itself", false],
])("taken back %s; no request fails", async (_how, hup) => {
  await using server = await Upgraded.start();
  const { releases: at, command } = server;
  const load = server.load();
  at.switchTo("v2");
  const next = await server.upgrade();
  command.signal("SIGWINCH");
  await command.printed(/"type":"scaled".*"count":0/);
  expect(await server.ask()).toEqual([NEW, NEW, NEW]);
  at.switchTo("v1"); // a reload reads the code that is there
  if (hup) {
    command.signal("SIGHUP");
    await command.printed(/"msg":"reloaded: ready on/);
  }
  process.kill(next, "SIGTERM");
  await command.printed(/the new master \(pid \d+\) is gone \(exit code 0\): this one goes on/);
  await command.printed(/"type":"scaled".*"count":2/);
  expect(running(next)).toBe(false);
  for (const text of await server.ask()) expect(text).toMatch(/^program v1, application v\d$/);
  const { failures, answered } = await load.stop();
  expect(failures).toEqual([]);
  console.log(`upgrade taken back: ${answered} requests, ${failures.length} failed`);
  expect([server.pid(), server.pid("p.pid.2")]).toEqual([command.pid, undefined]);
  for (const name of SOCKETS) expect(existsSync(at.path(name)), name).toBe(true);
  // And once more, to see that it can be tried again.
  await server.upgrade();
});

test.each([
  ["its application throws", "app.mjs", "throw new RangeError('no such table');", /RangeError: no such table/],
  ["its program does not parse", "program.mjs", "export default = ;", /ended before it served: exit code 1/],
])(
  "a new master that does not come up, because %s: the old one goes on and says why",
  async (_why, file, code, said) => {
    await using server = await Upgraded.start();
    const { releases: at, command } = server;
    const before = descendants(command.pid).length;
    writeFileSync(at.path(`v2/${file}`), code);
    at.switchTo("v2");
    const load = server.load();
    command.signal("SIGUSR2");
    const [line] = await command.printed(/^.*upgrade failed, this master goes on: .*$/m);
    expect(line).toMatch(said);
    expect((await load.stop()).failures).toEqual([]);
    expect(descendants(command.pid)).toHaveLength(before);
    expect(server.pid("p.pid.2")).toBeUndefined();
    for (const name of SOCKETS) expect(existsSync(at.path(name)), name).toBe(true);
  },
);

test("one at a time: a second upgrade, and one of the new master, wait until this one is decided", async () => {
  await using server = await Upgraded.start();
  const { command } = server;
  const next = await server.upgrade();
  command.signal("SIGUSR2");
  await command.printed(new RegExp(`an upgrade is under way: the new master is process ${next}`));
  process.kill(next, "SIGUSR2");
  await command.printed(new RegExp(`this master is an upgrade itself: first end the old one, process ${command.pid}`));
  process.kill(next, "SIGTERM");
  await command.printed(/is gone \(exit code 0\): this one goes on/);
});
