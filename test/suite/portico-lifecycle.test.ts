/** `portico serve` comes, reloads, loses processes and goes: clients notice as little as can be, and nothing is left. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Command, descendants, running } from "../support/command.ts";
import { Playground, StackUnderTest } from "../support/stack.ts";

const application = (word: string): string => `
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export default async function app(request, ctx) {
  const url = new URL(request.url);
  switch (url.pathname) {
    case "/worker": return Response.json({ ...ctx.worker, pid: process.pid });
    case "/slow": await pause(Number(url.searchParams.get("ms"))); return { body: "slow" };
    case "/endless": return { headers: { "content-type": "text/event-stream" }, body: (async function* () {
      for (;;) { yield "data: tick\\n\\n"; await pause(50); }
    })() };
    default: return { body: "${word}" };
  }
}
`;

const config = (routes: object[]): string =>
  JSON.stringify({ sites: [{ hosts: ["*"], routes: [...routes, { path: "/*", proxy: { upstream: "app" } }] }] });

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function until(holds: () => boolean, what: string, forMs = 15_000): Promise<void> {
  for (const end = Date.now() + forMs; Date.now() < end && !holds();) await pause(20);
  expect(holds(), what).toBe(true);
}

/** Asks over `clients` connections, one request at a time on each, until stopped. */
function stream(stack: StackUnderTest, clients: number, path = "/slow?ms=3") {
  const failures: string[] = [];
  let answered = 0;
  const load = { on: true };
  const loops = Array.from({ length: clients }, async () => {
    const ask = stack.client();
    while (load.on) {
      try {
        const { status, text } = await ask(path);
        if (status === 200) answered++;
        else failures.push(`${status} ${text}`);
      } catch (error) {
        failures.push(String(error));
      }
    }
  });
  return {
    get answered(): number {
      return answered;
    },
    async stop(): Promise<{ failures: string[]; answered: number }> {
      load.on = false;
      await Promise.all(loops);
      return { failures, answered };
    },
  };
}

test("the ready line comes when the address answers, and is one block that says what serves what", async () => {
  using playground = new Playground();
  const app = playground.write(
    "app.mjs",
    `await new Promise((resolve) => setTimeout(resolve, 500));${application("one")}`,
  );
  await using stack = await StackUnderTest.start(playground, app, ["--workers", "2"]);
  // At once: the first connection after the line, not the first that succeeds.
  expect((await stack.ask("/")).text).toBe("one");
  expect(stack.workers()).toHaveLength(2);
  expect(stack.fronts()).toHaveLength(1);
  expect(stack.command.output).toBe(
    [
      `portico: ready on ${stack.url}`,
      "  application  app.mjs (tsgi), 2 workers",
      `  stop         Ctrl-C, or kill ${stack.command.pid}`,
      `  reload       kill -HUP ${stack.command.pid}`,
      "",
    ].join("\n"),
  );
});

test.each([["SIGINT"], ["SIGTERM"], ["SIGQUIT"]] as const)(
  "%s: the request under way is finished, nothing is left",
  async (signal) => {
    using playground = new Playground();
    const app = playground.write("app.mjs", application("one"));
    await using stack = await StackUnderTest.start(playground, app, ["--workers", "2"]);
    expect(playground.leftovers().some((name) => name.endsWith("app.sock"))).toBe(true);
    const pids = stack.processes();
    const slow = stack.ask("/slow?ms=500");
    await pause(150);
    expect(await stack.command.stop(signal)).toEqual({ code: 0, signal: null });
    expect((await slow).text).toBe("slow");
    expect(pids.filter(running)).toEqual([]);
    expect(playground.leftovers()).toEqual([]);
    await expect(stack.ask("/")).rejects.toThrow(/ECONNREFUSED/);
  },
);

test("Ctrl-C does not wait for an event stream", async () => {
  using playground = new Playground();
  await using stack = await StackUnderTest.start(playground, playground.write("app.mjs", application("one")));
  const pids = stack.processes();
  const endless = stack.ask("/endless").catch((error: unknown) => String(error));
  await pause(200);
  const began = performance.now();
  expect(await stack.command.stop("SIGINT")).toEqual({ code: 0, signal: null });
  expect(performance.now() - began).toBeLessThan(5_000);
  await endless;
  expect(pids.filter(running)).toEqual([]);
  expect(playground.leftovers()).toEqual([]);
});

test("a second signal does not wait for what is under way", async () => {
  using playground = new Playground();
  await using stack = await StackUnderTest.start(playground, playground.write("app.mjs", application("one")));
  const pids = stack.processes();
  const slow = stack.ask("/slow?ms=25000").catch((error: unknown) => String(error));
  await pause(200);
  stack.command.signal("SIGTERM");
  await stack.command.printed(/SIGTERM: finishing what is under way/);
  await pause(300);
  expect(stack.command.child.exitCode).toBeNull();
  const began = performance.now();
  expect(await stack.command.stop("SIGTERM")).toEqual({ code: 0, signal: null });
  expect(performance.now() - began).toBeLessThan(5_000);
  expect(await slow).toMatch(/closed|reset|terminated/i);
  expect(pids.filter(running)).toEqual([]);
  expect(playground.leftovers()).toEqual([]);
});

test.each([["SIGINT"], ["SIGTERM"]] as const)("%s breaks off a start that hangs", async (signal) => {
  using playground = new Playground();
  const app = playground.write(
    "hangs.mjs",
    "console.log('loading'); await new Promise(() => setInterval(() => {}, 99));",
  );
  const starting = StackUnderTest.start(playground, app).then(
    () => "",
    (error: unknown) => String(error),
  );
  let folder: string | undefined;
  await until(
    () => (folder = playground.leftovers().find((name) => /^portico-\d+\.\d+-/.test(name))) !== undefined,
    "starting",
  );
  const master = Number(/\d+/.exec(folder!)![0]);
  await until(() => descendants(master).length >= 2, "children of the start");
  await pause(500);
  process.kill(master, signal);
  expect(await starting).toMatch(/the command ended \(0\)/);
  expect(running(master)).toBe(false);
  expect(playground.leftovers()).toEqual([]);
});

test("a terminal's Ctrl-C reaches every process of the group: still in order", async () => {
  using playground = new Playground();
  const app = playground.write("app.mjs", application("one"));
  await using stack = await StackUnderTest.start(playground, app, ["--workers", "2"]);
  const pids = stack.processes();
  const slow = stack.ask("/slow?ms=400");
  await pause(150);
  for (const pid of [...pids, stack.command.pid]) process.kill(pid, "SIGINT");
  expect(await stack.command.exited).toEqual({ code: 0, signal: null });
  expect((await slow).text).toBe("slow");
  expect(pids.filter(running)).toEqual([]);
});

test("what it prints may go nowhere: who listens leaves, it goes on", async () => {
  using playground = new Playground();
  const app = playground.write("app.mjs", application("one"));
  await using stack = await StackUnderTest.start(playground, app);
  stack.command.child.stdout!.destroy();
  stack.command.child.stderr!.destroy();
  playground.write("app.mjs", application("two"));
  stack.command.signal("SIGHUP"); // has something to say
  let text = "";
  for (const end = Date.now() + 15_000; text !== "two" && Date.now() < end;) ({ text } = await stack.ask("/"));
  expect(text).toBe("two");
  expect((await stack.command.stop("SIGTERM")).code).toBe(0);
});

test("kill -9 of the master: its children go by themselves; the next start works and cleans up after it", async () => {
  using playground = new Playground();
  const app = playground.write("app.mjs", application("one"));
  await using stack = await StackUnderTest.start(playground, app, ["--workers", "2"]);
  const { port } = new URL(stack.url);
  const pids = stack.processes();
  expect(pids.length).toBeGreaterThanOrEqual(3);
  process.kill(stack.command.pid, "SIGKILL");
  await stack.command.exited;
  const left = playground.leftovers();
  expect(left.some((name) => name.endsWith("app.sock"))).toBe(true);
  await until(() => !pids.some(running), "the children leave");
  await using next = await StackUnderTest.start(playground, app, ["--listen", `127.0.0.1:${port}`]);
  expect((await next.ask("/")).text).toBe("one");
  // The folder of control sockets is for all that run; what was in it is gone.
  const still = playground.leftovers().filter((name) => left.includes(name));
  expect(still.filter((name) => name !== "portico-server")).toEqual([]);
  expect((await next.command.stop()).code).toBe(0);
  expect(playground.leftovers()).toEqual([]);
});

test("kill -9 of a worker under a stream of requests: the address stays up, only what it was answering may fail", async () => {
  using playground = new Playground();
  const app = playground.write("app.mjs", application("one"));
  await using stack = await StackUnderTest.start(playground, app, ["--workers", "2"]);
  const clients = 8;
  const load = stream(stack, clients);
  for (let kills = 1; kills <= 2; kills++) {
    await until(() => stack.workers().length === 2, "two workers");
    await pause(300);
    const [victim] = stack.workers();
    const answered = load.answered;
    process.kill(victim!, "SIGKILL");
    // Somebody is answered while there is one worker less.
    await until(() => load.answered > answered + clients, "requests go on");
    await stack.command.printed(/ended unexpectedly|crashed|SIGKILL/);
  }
  await until(() => stack.workers().length === 2, "the worker is back");
  const { failures, answered } = await load.stop();
  // At most one request of each client was under way at each of the two kills.
  expect(failures.length, failures.join("\n")).toBeLessThanOrEqual(2 * clients);
  expect(failures.filter((failure) => !/^50[0-4] /.test(failure))).toEqual([]);
  expect(answered).toBeGreaterThan(100);
  expect(running(stack.command.pid)).toBe(true);
});

test("kill -9 of the proxy process under a stream of requests: no connection is refused, it is back by itself", async () => {
  using playground = new Playground();
  const app = playground.write("app.mjs", application("one"));
  await using stack = await StackUnderTest.start(playground, app, ["--workers", "2"]);
  const clients = 8;
  const load = stream(stack, clients);
  await pause(500);
  const [victim] = stack.fronts();
  process.kill(victim!, "SIGKILL");
  // Opened while nobody accepts: it waits in the backlog and is served.
  const between = stack.ask("/worker");
  await until(() => stack.fronts().some((pid) => pid !== victim), "a new proxy process");
  expect((await between).status).toBe(200);
  const { answered } = load;
  await until(() => load.answered > answered + 100, "requests go on");
  const { failures } = await load.stop();
  expect(failures.length, failures.join("\n")).toBeLessThanOrEqual(clients);
  expect(failures.filter((failure) => /ECONNREFUSED/.test(failure))).toEqual([]);
  // The workers are the same: they were none of its business.
  expect(JSON.parse((await stack.ask("/worker")).text)).toMatchObject({ generation: 1 });
});

test(
  "20 HUP reloads under load: no request fails, no process or descriptor is left over",
  { timeout: 240_000 },
  async () => {
    using playground = new Playground();
    const app = playground.write("app.mjs", application("generation 0"));
    await using stack = await StackUnderTest.start(playground, app, ["--workers", "2"]);
    expect(await stack.reload()).toMatch(/reloaded in/); // the first opens what is opened once
    await until(() => stack.workers().length === 2, "two workers");
    const descriptors = stack.descriptors();
    const processes = stack.processes().length;
    const load = wrk(stack) ?? stream(stack, 8);
    for (let generation = 1; generation <= 20; generation++) {
      playground.write("app.mjs", application(`generation ${generation}`));
      expect(await stack.reload()).toMatch(/reloaded in \d+ ms, 2 workers/);
      expect((await stack.ask("/")).text).toBe(`generation ${generation}`);
    }
    const { failures, answered } = await load.stop();
    expect(failures).toEqual([]);
    expect(answered).toBeGreaterThan(500);
    await until(() => stack.processes().length <= processes, "replaced workers have left");
    expect(stack.descriptors()).toBeLessThanOrEqual(descriptors + 1);
    expect(JSON.parse((await stack.ask("/worker")).text)).toMatchObject({ generation: 22 });
  },
);

test("USR2, which is an upgrade of portico-server alone, is answered with words, and nothing ends", async () => {
  using playground = new Playground();
  const app = playground.write("app.mjs", application("one"));
  await using stack = await StackUnderTest.start(playground, app);
  stack.command.signal("SIGUSR2");
  await stack.command.printed(/^portico: SIGUSR2: both tiers in one command cannot be upgraded in place/m);
  expect((await stack.ask("/")).text).toBe("one");
});

test("HUP with event streams open: the new generation takes over, the old one keeps the streams", async () => {
  using playground = new Playground();
  const app = playground.write("app.mjs", application("one"));
  await using stack = await StackUnderTest.start(playground, app, ["--workers", "2"]);
  const streams: Socket[] = [];
  for (let count = 0; count < 4; count++) {
    const socket = connect(Number(new URL(stack.url).port), "127.0.0.1");
    socket.write("GET /endless HTTP/1.1\r\nHost: a.test\r\n\r\n");
    await once(socket, "data");
    streams.push(socket);
  }
  const old = stack.workers();
  playground.write("app.mjs", application("two"));
  const began = performance.now();
  expect(await stack.reload()).toMatch(/reloaded in \d+ ms, 2 workers/);
  expect(performance.now() - began).toBeLessThan(15_000); // far less than two workers' graceful time
  expect((await stack.ask("/")).text).toBe("two");
  for (const socket of streams) await once(socket, "data"); // they go on
  for (const socket of streams) socket.destroy();
  await until(() => !old.some(running), "the old generation leaves when nobody needs it");
});

test.each([
  ["does not parse", "export default = ;", /does not parse/],
  ["throws", "throw new Error('no luck');", /no luck/],
  [
    "cannot start up",
    "export default { lifespan: { startup: async () => { throw new Error('no database') } }, fetch: () => ({ body: 'never' }) };",
    /no database/,
  ],
  ["has no handler", "export const nothing = 1;", /has no application|no handler|default export/],
])("a reload of an application that %s: the old one goes on, the reason is printed", async (_what, code, reason) => {
  using playground = new Playground();
  const app = playground.write("app.mjs", application("one"));
  await using stack = await StackUnderTest.start(playground, app, ["--workers", "2"]);
  const load = stream(stack, 4);
  playground.write("app.mjs", code);
  const said = await stack.reload();
  expect(said).toMatch(/^portico: reload failed, the old generation goes on serving: /);
  expect(said).toMatch(reason);
  expect((await stack.ask("/")).text).toBe("one");
  playground.write("app.mjs", application("two"));
  expect(await stack.reload()).toMatch(/reloaded in/);
  expect((await stack.ask("/")).text).toBe("two");
  const { failures } = await load.stop();
  expect(failures).toEqual([]);
});

test("HUP with --config: a changed one is taken, a broken one changes nothing", async () => {
  using playground = new Playground();
  const app = playground.write("app.mjs", application("one"));
  const file = playground.write("front.json", config([]));
  await using stack = await StackUnderTest.start(playground, app, ["--config", file]);
  expect((await stack.ask("/fixed")).text).toBe("one");
  playground.write("front.json", config([{ path: "/fixed", respond: { body: "from the front" } }]));
  expect(await stack.reload()).toMatch(/reloaded in/);
  expect((await stack.ask("/fixed")).text).toBe("from the front");
  // Both broken and changed: neither the route nor the application may change.
  playground.write("app.mjs", application("two"));
  playground.write("front.json", '{ "sites": [{ "hosts": ["*"], "rotues": [] }] }');
  const said = await stack.reload();
  expect(said).toMatch(/reload failed, the old generation goes on serving: .*mistakes?:/);
  expect(said).toMatch(/rotues.*did you mean "?routes/);
  expect((await stack.ask("/fixed")).text).toBe("from the front");
  expect((await stack.ask("/")).text).toBe("one");
  playground.write("front.json", config([{ path: "/other", respond: { status: 418, body: "changed" } }]));
  expect(await stack.reload()).toMatch(/reloaded in/);
  expect((await stack.ask("/other")).status).toBe(418);
  expect((await stack.ask("/fixed")).text).toBe("two");
});

test("TTIN and TTOU: one worker more, one less, never none", async () => {
  using playground = new Playground();
  const app = playground.write("app.mjs", application("one"));
  await using stack = await StackUnderTest.start(playground, app);
  const workers = (): number => stack.workers().length;
  for (const [signal, said, count] of [
    ["SIGTTIN", "2 workers", 2],
    ["SIGTTOU", "1 worker", 1],
    ["SIGTTOU", "1 worker", 1],
  ] as const) {
    const from = stack.command.output.length;
    stack.command.signal(signal);
    await stack.command.printed(new RegExp(`^portico: ${said}$`, "m"), from);
    await until(() => workers() === count, said);
    expect((await stack.ask("/")).status).toBe(200);
  }
});

/** The load of wrk, where it is installed: 16 connections with short pauses, which leaves the machine room for the reloads. */
function wrk(stack: StackUnderTest) {
  if (spawnSync("wrk", ["-v"]).error !== undefined) return undefined;
  const playground = new Playground();
  const script = playground.write("pause.lua", "function delay() return 4 end");
  const child = spawn("wrk", ["-t1", "-c16", "-d600s", "--timeout", "10s", "-s", script, `${stack.url}/slow?ms=3`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "close");
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return {
    async stop(): Promise<{ failures: string[]; answered: number }> {
      child.kill("SIGINT");
      await exited;
      playground[Symbol.dispose]();
      const failures = output.split("\n").filter((line) => /Socket errors|Non-2xx/.test(line));
      return { failures, answered: Number(/(\d+) requests in/.exec(output)?.[1] ?? 0) };
    },
  };
}

test("commands: status, reload and stop of the whole stack", async () => {
  const runtime = mkdtempSync(join(tmpdir(), "portico-commands-"));
  const options = { cwd: runtime, env: { XDG_RUNTIME_DIR: runtime } };
  const told = async (...args: string[]): Promise<{ code: number | null; output: string }> => {
    await using command = new Command("portico", args, options);
    return { code: (await command.exited).code, output: command.output };
  };
  try {
    writeFileSync(join(runtime, "app.mjs"), 'export default { fetch: () => new Response("one") };\n');
    await using stack = new Command(
      "portico",
      ["serve", "app.mjs", "--listen", "127.0.0.1:0", "--threads", "1"],
      options,
    );
    const [, url] = await stack.printed(/ready on (http:\/\/127\.0\.0\.1:\d+)/);
    const status = JSON.parse((await told("status", "--json")).output) as Record<string, unknown>;
    expect(status).toMatchObject({ version: 1, name: "portico", pid: stack.pid, app: "app.mjs", wanted: 1 });
    writeFileSync(join(runtime, "app.mjs"), 'export default { fetch: () => new Response("two") };\n');
    expect(await told("reload")).toEqual({ code: 0, output: "reloaded: generation 2 serves\n" });
    expect(await (await fetch(url!)).text()).toBe("two");
    writeFileSync(join(runtime, "app.mjs"), "export default {{{\n");
    const failed = await told("reload");
    expect([failed.code, failed.output]).toEqual([4, expect.stringMatching(/^portico: app\.mjs does not parse: /)]);
    expect(await told("stop")).toEqual({ code: 0, output: `stopped (pid ${stack.pid})\n` });
    expect(await stack.exited).toEqual({ code: 0, signal: null });
    expect((await told("status")).code).toBe(1);
  } finally {
    rmSync(runtime, { recursive: true, force: true });
  }
});
