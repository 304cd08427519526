/**
 * What the server promises under load: reloads, retirements, a hung worker; through a front on the link, and behind
 * nginx over HTTP/1.1. Short here, at length with `PORTICO_LONG=1`.
 */
import { readdirSync } from "node:fs";
import { Agent, request } from "undici";
import { expect, test } from "vitest";
import { descendants } from "../support/command.ts";
import { stream } from "../support/load.ts";
import { NginxUnderTest, nginxIsThere } from "../support/nginx.ts";
import { ProxyUnderTest, site } from "../support/proxy.ts";
import { ServerUnderTest } from "../support/server.ts";

const LONG = process.env["PORTICO_LONG"] !== undefined;
const RELOADS = LONG ? 100 : 5;
const RETIRE_MS = LONG ? 60_000 : 5_000;
const LONG_TEST_MS = LONG ? 900_000 : 120_000;

interface Front extends AsyncDisposable {
  readonly url: string;
}

type StartFront = (server: ServerUnderTest) => Promise<Front>;

const overLink: StartFront = (server) =>
  ProxyUnderTest.start({
    ...site({ path: "/*", proxy: { upstream: "app" } }),
    upstreams: { app: { servers: [`link+unix:${server.socket}.link`] } },
    threads: 1,
  });
const behindNginx: StartFront = (server) => NginxUnderTest.start(server.socket);

const fronts: [string, StartFront][] = [["over the link", overLink]];
if (nginxIsThere) fronts.push(["behind nginx", behindNginx]);

/** A server with a link beside its other addresses. */
async function start(args: readonly string[]): Promise<ServerUnderTest> {
  return await ServerUnderTest.start("tsgi.ts", args, { linked: true });
}

/** Clients that keep their connections, and clients that open one for each request. */
function load(url: string): { stop(): Promise<{ failures: string[]; answered: number }> } {
  const agents: Agent[] = [];
  const client = (reset: boolean) => () => {
    const agent = new Agent();
    agents.push(agent);
    return async (): Promise<string> => {
      const { statusCode, body } = await request(`${url}/slow?ms=3`, { dispatcher: agent, reset });
      const text = await body.text();
      return statusCode === 200 && text === "slow" ? "" : `${statusCode} ${text}`;
    };
  };
  const loads = [stream(client(false), 8), stream(client(true), 4)];
  return {
    async stop() {
      const results = await Promise.all(loads.map((each) => each.stop()));
      await Promise.all(agents.map((agent) => agent.destroy()));
      return {
        failures: results.flatMap(({ failures }) => failures),
        answered: results.reduce((sum, { answered }) => sum + answered, 0),
      };
    },
  };
}

const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

test.each(fronts)(
  "reloads under load, %s: no request fails, no process, descriptor or listener is left over",
  { timeout: LONG_TEST_MS },
  async (name, startFront) => {
    await using server = await start(["-w", "2", "--probation", "0.1"]);
    await using front = await startFront(server);
    const { command } = server;
    const reload = async (): Promise<void> => {
      const from = command.output.length;
      command.signal("SIGHUP");
      await command.printed(/"msg":"reload(ed: ready on| failed)/, from);
    };
    await reload(); // the first opens what is opened once
    await expect.poll(() => descendants(command.pid).length).toBe(2);
    const before = descriptors(command.pid);
    const running = load(front.url);
    for (let count = 0; count < RELOADS; count++) await reload();
    const { failures, answered } = await running.stop();
    console.log(`${RELOADS} reloads ${name}: ${answered} requests, ${failures.length} failed`);
    expect(failures).toEqual([]);
    expect(command.output).not.toContain("reload failed");
    expect((await server.worker()).generation).toBe(RELOADS + 2);
    await expect.poll(() => descendants(command.pid).length, { timeout: 10_000 }).toBe(2);
    // Links come and go with the front's connections; they are in the workers, not here.
    await expect.poll(() => descriptors(command.pid), { timeout: 10_000 }).toBeLessThanOrEqual(before);
  },
);

test.each(fronts)(
  "every worker retires after a second, %s: no request fails, never two at once",
  { timeout: LONG_TEST_MS },
  async (name, startFront) => {
    await using server = await start(["-w", "2", "--max-lifetime", "1"]);
    await using front = await startFront(server);
    const { command } = server;
    const running = load(front.url);
    await new Promise((wake) => setTimeout(wake, RETIRE_MS));
    const { failures, answered } = await running.stop();
    const order = [...command.output.matchAll(/"type":"(retiring|ready|draining|exited)"/g)].map(([, type]) => type);
    const retired = order.filter((type) => type === "draining").length;
    console.log(
      `${RETIRE_MS / 1_000} s of retirements ${name}: ${retired} workers, ${answered} requests, ${failures.length} failed`,
    );
    expect(failures).toEqual([]);
    expect(retired).toBeGreaterThan(1);
    let leaving = 0;
    let ready = 0;
    for (const type of order) {
      if (type === "ready") ready++;
      if (type === "draining") {
        expect(++leaving).toBe(1);
        expect(--ready).toBeGreaterThanOrEqual(2);
      }
      if (type === "exited") leaving--;
    }
  },
);

test.each([
  [["--max-requests", "40", "--max-requests-jitter", "20"], /"reason":"(4\d|5\d|60) requests"/],
  [["--max-rss", "1MiB"], /"reason":"\d+ MiB resident, more than 1 MiB"/],
  [["--max-heap", "1MiB"], /"reason":"heap of \d+ MiB, more than 1 MiB"/],
])("%j: a worker that has had enough is replaced, and says why", async (args, reason) => {
  await using server = await start(args);
  const { pid } = await server.worker();
  const running = load(server.url);
  await server.command.printed(reason);
  await server.command.printed(new RegExp(`"type":"exited".*"pid":${pid}`));
  expect((await running.stop()).failures).toEqual([]);
});

test.each(fronts)(
  "a worker in an endless loop, %s: nobody else waits for it",
  { timeout: LONG_TEST_MS },
  async (name, startFront) => {
    await using server = await start(["-w", "3", "--timeout", "3"]);
    await using front = await startFront(server);
    const measure = clock(front.url);
    await measure.until(new Promise((wake) => setTimeout(wake, LONG ? 10_000 : 2_000)));
    const before = measure.take();
    const hung = server.ask("/block?ms=600000").catch((error: unknown) => String(error));
    await measure.until(server.command.printed(/"type":"ready".*"id":4/));
    const during = measure.take();
    expect(await hung).toMatch(/closed|reset/i);
    console.log(
      `hang ${name}: p99 of the others ${before.p99.toFixed(1)} ms before, ${during.p99.toFixed(1)} ms meanwhile (${during.count} requests, the longest ${during.longest.toFixed(0)} ms)`,
    );
    expect(during.failures).toEqual([]);
    expect(during.count).toBeGreaterThan(50);
    // The loop burns a core, of which this machine may have two: what is measured strictly is measured at length.
    expect(during.p99).toBeLessThan(LONG ? 2 * before.p99 + 5 : 1_000);
  },
);

/** Some requests a moment, each timed; those that a hung worker took with it are retried by the front. */
function clock(url: string) {
  const agent = new Agent({ connections: 4 });
  let times: number[] = [];
  let failures: string[] = [];
  const ask = async (): Promise<void> => {
    const began = performance.now();
    try {
      const { statusCode, body } = await request(`${url}/slow?ms=5`, { dispatcher: agent });
      await body.text();
      if (statusCode !== 200) failures.push(String(statusCode));
    } catch (error) {
      failures.push(String(error));
    }
    times.push(performance.now() - began);
  };
  return {
    async until(end: Promise<unknown>): Promise<void> {
      const load = { on: true };
      const ended = end.finally(() => (load.on = false));
      const clients = Array.from({ length: 3 }, async () => {
        while (load.on) {
          await ask();
          await new Promise((wake) => setTimeout(wake, 5));
        }
      });
      await Promise.all([ended, ...clients]);
    },
    take() {
      const sorted = times.toSorted((a, b) => a - b);
      const result = {
        p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
        longest: sorted.at(-1) ?? 0,
        count: sorted.length,
        failures,
      };
      times = [];
      failures = [];
      return result;
    },
  };
}
