/**
 * Three times what the workers can do, for seconds: whoever is taken is served as fast as the queue is long, whoever is
 * not hears so at once, memory stays, and afterwards everything is as before, without a restart.
 */
import { once } from "node:events";
import { type IncomingMessage, request, Agent } from "node:http";
import { expect, test } from "vitest";
import { ProxyUnderTest, site } from "../support/proxy.ts";
import { ServerUnderTest } from "../support/server.ts";
import { Playground } from "../support/stack.ts";

const CONCURRENCY = 4;
const QUEUE = 8;
/** What one request takes, and so what can be done: 100 requests a second. */
const WORK_MS = 40;
const RATE = (3 * CONCURRENCY * 1_000) / WORK_MS;
const SECONDS = process.env["PORTICO_LONG"] === "1" ? 30 : 3;
/** Between two sends: a timer's own precision. */
const TICK_MS = 5;
/** For a machine that does other things beside: figures of this suite are bounds of behaviour, not of speed. */
const SLACK_MS = 500;
const MOST_GROWTH_BYTES = 48 * 1024 * 1024;

interface Sample {
  readonly status: number;
  readonly ms: number;
  readonly retryAfter: string | undefined;
  readonly queued: number;
  readonly rss: number;
}

async function ask(url: string, agent: Agent, headers: Record<string, string> = {}): Promise<Sample> {
  const began = performance.now();
  const sent = request(`${url}/?ms=${WORK_MS}`, { agent, headers }).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  const text = Buffer.concat(await response.toArray()).toString();
  const facts = response.statusCode === 200 ? (JSON.parse(text) as Sample) : undefined;
  return {
    status: response.statusCode!,
    ms: performance.now() - began,
    retryAfter: response.headers["retry-after"],
    queued: facts?.queued ?? 0,
    rss: facts?.rss ?? 0,
  };
}

/** Sends at a fixed rate, whatever comes back: clients do not wait for each other. */
async function flood(url: string, agent: Agent): Promise<Sample[]> {
  const answers: Promise<Sample>[] = [];
  const began = performance.now();
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const due = Math.min(SECONDS, (performance.now() - began) / 1_000) * RATE;
      while (answers.length < due) answers.push(ask(url, agent));
      if (answers.length >= SECONDS * RATE) {
        clearInterval(timer);
        resolve();
      }
    }, TICK_MS);
  });
  return await Promise.all(answers);
}

function percentile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1] ?? 0;
}

async function underFlood(name: string, url: string, queue: number): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1_000 });
  try {
    const before: Sample[] = [];
    for (let count = 0; count < 10; count += 1) before.push(await ask(url, agent));
    const samples = await flood(url, agent);
    const taken = samples.filter(({ status }) => status === 200);
    const refused = samples.filter(({ status }) => status === 503);
    const p99 = (list: readonly Sample[]): number =>
      percentile(
        list.map(({ ms }) => ms),
        0.99,
      );
    console.log(
      `${name}: ${samples.length} at 3 times capacity: ${taken.length} served, p99 ${p99(taken).toFixed(0)} ms; ` +
        `${refused.length} refused, p99 ${p99(refused).toFixed(0)} ms; ` +
        `waited at most ${Math.max(...taken.map(({ queued }) => queued))} ms`,
    );
    expect(taken.length + refused.length).toBe(samples.length);
    // A third can be served; what was served is no less than most of that.
    expect(taken.length).toBeGreaterThan(samples.length * 0.2);
    expect(refused.length).toBeGreaterThan(samples.length * 0.3);
    const longestWait = (queue / CONCURRENCY + 1) * WORK_MS;
    expect(p99(taken)).toBeLessThan(longestWait + SLACK_MS);
    expect(p99(refused)).toBeLessThan(SLACK_MS);
    expect(new Set(refused.map(({ retryAfter }) => /^[1-9]\d?$/.test(retryAfter ?? "")))).toEqual(new Set([true]));
    expect(Math.max(...taken.map(({ queued }) => queued))).toBeGreaterThan(WORK_MS / 2);
    const rss = (list: readonly Sample[]): number => Math.max(...list.map((one) => one.rss));
    expect(rss(taken) - rss(before)).toBeLessThan(MOST_GROWTH_BYTES);
    for (let count = 0; count < 10; count += 1) {
      const { status, queued } = await ask(url, agent);
      expect([status, queued]).toEqual([200, 0]);
    }
  } finally {
    agent.destroy();
  }
}

test("over HTTP: the worker's own queue", async () => {
  const args = ["--concurrency", `${CONCURRENCY}`, "--queue", `${QUEUE}`];
  await using server = await ServerUnderTest.start("overload.ts", args);
  await underFlood("HTTP", server.url, QUEUE);
});

test("over the link: the front's queue", async () => {
  using playground = new Playground();
  await using _server = await ServerUnderTest.start("overload.ts", [
    "-b",
    `link+unix:${playground.path("link.sock")}`,
    "--concurrency",
    `${CONCURRENCY}`,
  ]);
  await using proxy = await ProxyUnderTest.start({
    ...site({ path: "/*", proxy: { upstream: "app" } }),
    threads: 1,
    upstreams: {
      app: { servers: [`link+unix:${playground.path("link.sock")}`], queue: { size: QUEUE, timeout: "5s" } },
    },
  });
  await underFlood("link", proxy.url, QUEUE);
});

test("a deadline is passed on: from a trusted front, and nobody else", async () => {
  const headers = { "x-request-deadline": String(Date.now() + 5_000) };
  await using server = await ServerUnderTest.start("overload.ts", ["--concurrency", "1"]);
  const told = JSON.parse((await server.ask("/?ms=1", { headers })).text) as { deadline: number; left: number };
  expect(told.deadline).toBe(Number(headers["x-request-deadline"]));
  expect(told.left).toBeLessThanOrEqual(5_000);
  // Behind one that takes long, a request whose time is up before its turn is not begun.
  const slow = server.ask("/?ms=400&say=slow");
  await server.command.printed(/begun slow/);
  const late = { "x-request-deadline": String(Date.now() + 100) };
  const [first, second] = await Promise.all([slow, server.ask("/?ms=0&say=late", { headers: late })]);
  expect([first.status, second.status, second.headers["retry-after"]]).toEqual([200, 503, "1"]);
  expect(server.command.output).not.toContain("begun late");
  await using wary = await ServerUnderTest.start("overload.ts", ["--forwarded-allow-ips", "10.0.0.1"]);
  expect(JSON.parse((await wary.ask("/?ms=1", { headers })).text)).not.toHaveProperty("deadline");
});
