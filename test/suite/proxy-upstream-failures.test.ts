/**
 * One of three servers fails under load, in every way a server can: no idempotent request may fail, nothing that is not
 * idempotent may run twice, and its share must be gone within the time that the guide states.
 */
import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ConfigObject, ProxyUnderTest, site } from "../support/proxy.ts";

const SERVER = fileURLToPath(new URL("../fixtures/failing-server.mjs", import.meta.url));
const LONG = process.env["PORTICO_LONG"] === "1";

/** Load before and after the failure, milliseconds. */
const BEFORE_MS = 300;
const AFTER_MS = LONG ? 8_000 : 1_800;
const CLIENTS = 12;

/** What the checks are set to; two bad answers in a row, 20 % of jitter, and the time of the second. */
const HEALTH = { path: "/healthz", interval: "250ms", timeout: "250ms", fall: 2, rise: 2 };
const NOTICED_MS = 2 * 250 * 1.2 + 250;
/** A machine that does other things meanwhile. */
const SLACK_MS = 1_500;

interface Server {
  readonly child: ChildProcess;
  readonly port: number;
}

/** How often each request that is not idempotent ran. */
type Runs = Map<string, number>;

async function startServer(runs: Runs, backlog: number): Promise<Server> {
  const child = fork(SERVER, [String(backlog)], { execArgv: [], stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const port = await new Promise<number>((resolve, reject) => {
    child.once("exit", () => reject(new TypeError("the server did not start")));
    child.on("message", (message: { port?: number; ran?: string }) => {
      if (message.port !== undefined) resolve(message.port);
      if (message.ran !== undefined) runs.set(message.ran, (runs.get(message.ran) ?? 0) + 1);
    });
  });
  return { child, port };
}

interface Outcome {
  readonly id: string | undefined;
  /** 0: the connection broke. */
  readonly status: number;
  readonly tookMs: number;
  readonly endedAt: number;
}

function request(agent: http.Agent, url: string, id: string | undefined): Promise<Outcome> {
  const from = performance.now();
  return new Promise((resolve) => {
    const settle = (status: number): void => {
      const endedAt = performance.now();
      resolve({ id, status, tookMs: endedAt - from, endedAt });
    };
    const sent = http.request(
      url,
      {
        agent,
        method: id === undefined ? "GET" : "POST",
        headers: id === undefined ? {} : { "X-Id": id, "Content-Length": 1 },
      },
      (response) => {
        response.resume();
        response.on("end", () => settle(response.statusCode!));
        response.on("error", () => settle(0));
      },
    );
    sent.on("error", () => settle(0));
    sent.end(id === undefined ? undefined : "x");
  });
}

/** Requests without a pause, every fifth a POST, until `stopped`. */
async function load(url: string, name: string, stopped: () => boolean): Promise<Outcome[]> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS });
  const outcomes: Outcome[] = [];
  let count = 0;
  const client = async (): Promise<void> => {
    while (!stopped()) {
      const number = count++;
      outcomes.push(await request(agent, url, number % 5 === 0 ? `${name}-${number}` : undefined));
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  agent.destroy();
  return outcomes;
}

/** When the last request came that its first server could not answer, milliseconds since the epoch. */
function lastStruck(accessLog: string, upstream: string): number {
  const lines = accessLog
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { time: string; upstream: string; attempts?: number; status: number })
    .filter((line) => line.upstream === upstream);
  const struck = lines.filter(({ attempts = 0, status }) => attempts > 1 || status >= 500);
  return struck.length === 0 ? 0 : Math.max(...struck.map(({ time }) => Date.parse(time)));
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const FAILURES: Record<
  string,
  { readonly fail: (child: ChildProcess) => void; readonly goneMs: number; readonly backlog?: number }
> = {
  "is killed": { fail: (child) => child.kill("SIGKILL"), goneMs: NOTICED_MS },
  "is stopped": { fail: (child) => child.kill("SIGSTOP"), goneMs: NOTICED_MS },
  "accepts and never answers": { fail: (child) => child.send("hang"), goneMs: NOTICED_MS },
  "resets every connection": { fail: (child) => child.send("reset"), goneMs: NOTICED_MS },
  "drops new connections without a word": {
    fail: (child) => child.kill("SIGSTOP"),
    goneMs: NOTICED_MS,
    backlog: 1,
  },
};

const runs: Runs = new Map();
const failing = new Map<string, Server>();
let wells: Server[] = [];
let proxy: ProxyUnderTest | undefined;

const upstreamOf = (server: Server): ConfigObject => ({
  servers: [server, ...wells].map(({ port }) => `http://127.0.0.1:${port}`),
  connectTimeout: "500ms",
  responseTimeout: "1s",
  retries: { attempts: 2 },
  health: HEALTH,
});

beforeAll(async () => {
  const names = Object.keys(FAILURES);
  const starting = names.map((name) => startServer(runs, FAILURES[name]!.backlog ?? 511));
  wells = await Promise.all([startServer(runs, 511), startServer(runs, 511)]);
  (await Promise.all(starting)).forEach((server, at) => failing.set(names[at]!, server));
  proxy = await ProxyUnderTest.start({
    ...site(...names.map((name, at) => ({ path: `/${at}`, proxy: { upstream: name } }))),
    log: { access: "access.log", error: "error.log" },
    upstreams: Object.fromEntries(names.map((name) => [name, upstreamOf(failing.get(name)!)])),
  });
});

afterAll(async () => {
  for (const { child } of [...failing.values(), ...wells]) child.kill("SIGKILL");
  await proxy?.[Symbol.asyncDispose]();
});

describe("one of three servers", () => {
  test.each(Object.entries(FAILURES))("%s: nothing idempotent fails, nothing else runs twice", async (how, failure) => {
    const url = `${proxy!.url}/${Object.keys(FAILURES).indexOf(how)}`;
    let over = false;
    const loading = load(url, how, () => over);
    await pause(BEFORE_MS);
    const failedAt = Date.now();
    const struckFrom = performance.now();
    failure.fail(failing.get(how)!.child);
    await pause(AFTER_MS);
    over = true;
    const outcomes = await loading;
    const gets = outcomes.filter(({ id }) => id === undefined);
    const posts = outcomes.filter(({ id }) => id !== undefined);
    const slowest = Math.max(...gets.filter(({ endedAt }) => endedAt > struckFrom).map(({ tookMs }) => tookMs));
    const log = readFileSync(proxy!.path("access.log"), "utf8");
    const goneMs = Math.max(0, lastStruck(log.slice(0, log.lastIndexOf("\n")), how) - failedAt);
    const lost = posts.filter(({ status }) => status !== 200).length;
    console.log(
      `a server ${how}: ${gets.length} GET, slowest ${Math.round(slowest)} ms; ${posts.length} POST, ${lost} failed; ` +
        `who came later than ${goneMs} ms after did not meet it`,
    );
    expect(gets.filter(({ status }) => status !== 200)).toEqual([]);
    expect([...runs.values()].filter((count) => count !== 1)).toEqual([]);
    for (const { id, status } of posts) if (status === 200) expect(runs.get(id!)).toBe(1);
    expect(goneMs).toBeLessThan(failure.goneMs + SLACK_MS);
    // The load went on.
    expect(gets.length).toBeGreaterThan(300);
  });
});

describe("two threads", () => {
  test("share a server's limit, and hear of its health from the one that asks", async () => {
    let running = 0;
    let most = 0;
    let checks = 0;
    let well = true;
    const limited = http.createServer((_request, response) => {
      most = Math.max(most, ++running);
      setTimeout(() => {
        running--;
        response.end("ok");
      }, 10);
    });
    const ill = http.createServer((incoming, response) => {
      if (incoming.url === "/healthz") {
        checks++;
        response.writeHead(well ? 200 : 503).end();
      } else response.end("ill");
    });
    const other = http.createServer((_request, response) => response.end("other"));
    const addresses: string[] = [];
    for (const server of [limited, ill, other]) {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      addresses.push(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    }
    await using front = await ProxyUnderTest.start({
      ...site({ path: "/limited", proxy: { upstream: "limited" } }, { path: "/*", proxy: { upstream: "pair" } }),
      threads: 2,
      upstreams: {
        limited: { servers: [{ address: addresses[0], maxConnections: 3 }] },
        pair: {
          servers: [addresses[1], addresses[2]],
          balance: "round-robin",
          health: { path: "/healthz", interval: "100ms", jitter: 0, fall: 2 },
        },
      },
    });
    /** A connection each, so that both threads get some. */
    const ask = async (path: string): Promise<string> =>
      (await fetch(front.url + path, { headers: { connection: "close" } })).text();
    try {
      const answers = await Promise.all(Array.from({ length: 60 }, () => ask("/limited")));
      expect(answers.filter((text) => text !== "ok")).toEqual([]);
      // Two threads that see the last place at the same moment may both take it.
      expect(most).toBeLessThanOrEqual(4);
      expect(most).toBeGreaterThanOrEqual(2);

      expect(new Set(await Promise.all(Array.from({ length: 20 }, () => ask("/"))))).toEqual(new Set(["ill", "other"]));
      const from = checks;
      const at = performance.now();
      await pause(1_000);
      // One thread asks for both: two would ask twenty times.
      expect(checks - from).toBeLessThanOrEqual(Math.ceil((performance.now() - at) / 100) + 1);
      well = false;
      await front.command.printed(/server is unhealthy/);
      // The news is on its way to the other thread.
      await pause(200);
      const after = await Promise.all(Array.from({ length: 40 }, () => ask("/")));
      expect(new Set(after)).toEqual(new Set(["other"]));
    } finally {
      for (const server of [limited, ill, other]) {
        server.closeAllConnections();
        server.close();
      }
    }
  });
});
