/** Servers that are ill, come back, stand by, leave or grow: over real sockets. */
import type http from "node:http";
import net from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask, type Backend, Stage, until } from "../proxying/test-front.ts";
import type { ServerState } from "./status.ts";

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.close());

/** A server whose health can be changed. */
interface Patient {
  readonly address: string;
  readonly backend: Backend;
  /** What `/healthz` answers; undefined: nothing. */
  status: number | undefined;
  body: string;
  checks: string[];
  served: number;
  /** Requests that were not answered. */
  held: http.ServerResponse[];
  hold: boolean;
}

async function patient(name: string, transport: "tcp" | "link" = "tcp"): Promise<Patient> {
  const self = { status: 200, body: "fine", checks: [] as string[], served: 0, hold: false } as Patient;
  self.held = [];
  const backend = await stage.backend(transport, (request, response) => {
    if (request.url === "/healthz") {
      self.checks.push(`${request.method} ${request.headers.host}`);
      if (self.status !== undefined) response.writeHead(self.status).end(self.body);
      return;
    }
    self.served++;
    if (self.hold) self.held.push(response);
    else response.end(name);
  });
  return Object.assign(self, { address: backend.address, backend });
}

const QUICK = { path: "/healthz", interval: "60ms", timeout: "100ms", jitter: 10, rise: 2, fall: 2 };

const stateOf = (front: Awaited<ReturnType<Stage["front"]>>, at: number): ServerState =>
  front.upstream.status().servers[at]!.state;

const portOf = ({ address }: Patient): string => new URL(address).port;

/** Asks; a failure is seen where the answer is looked at. */
function asking(...args: Parameters<typeof ask>): ReturnType<typeof ask> {
  const answer = ask(...args);
  answer.catch(() => {});
  return answer;
}

async function answers(port: number, count: number): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (let at = 0; at < count; at++) {
    const { text, status } = await ask(port);
    found[status === 200 ? text : status] = (found[status === 200 ? text : status] ?? 0) + 1;
  }
  return found;
}

describe.each(["tcp", "link"] as const)("health checks over %s", (transport) => {
  it("take an ill server out and bring it back, with the method and host that are set", async () => {
    const [a, b] = [await patient("a", transport), await patient("b", transport)];
    const front = await stage.front({
      servers: [a.address, b.address],
      upstream: { balance: "round-robin", health: { ...QUICK, method: "HEAD", host: "check.test" } },
    });
    await until(() => a.checks.length > 0 && b.checks.length > 0, "both are asked");
    expect(a.checks[0]).toBe("HEAD check.test");
    a.status = 503;
    await until(() => stateOf(front, 0) === "unhealthy", "a is out");
    expect(await answers(front.port, 6)).toEqual({ b: 6 });
    expect(front.told.at(-1)).toMatchObject({ upstream: "app", healthy: false });
    expect(front.logged.find((line) => line["message"] === "server is unhealthy")).toMatchObject({
      reason: "the answer is 503",
    });
    a.status = 204;
    await until(() => stateOf(front, 0) === "up", "a is back");
    expect(await answers(front.port, 6)).toEqual({ a: 3, b: 3 });
  });

  it("notice a server that does not answer in time", async () => {
    const [a, b] = [await patient("a", transport), await patient("b", transport)];
    const front = await stage.front({ servers: [a.address, b.address], upstream: { health: QUICK } });
    await until(() => a.checks.length > 0, "it is asked");
    a.status = undefined;
    await until(() => stateOf(front, 0) === "unhealthy", "a is out");
    expect(await answers(front.port, 4)).toEqual({ b: 4 });
  });
});

describe("health checks", () => {
  it("look for a text in the answer, and for the statuses that are set", async () => {
    const [a, b] = [await patient("a"), await patient("b")];
    a.body = "degraded";
    b.status = 418;
    const front = await stage.front({
      servers: [a.address, b.address],
      upstream: { health: { ...QUICK, body: "fine", status: [200, "410-420"] } },
    });
    await until(() => stateOf(front, 0) === "unhealthy", "a is out");
    expect(stateOf(front, 1)).toBe("up");
    expect(front.logged.find((line) => line["message"] === "server is unhealthy")).toMatchObject({
      reason: "the answer does not have the text that it should",
    });
  });

  it("need so many bad and good answers in a row, but the first decides at once", async () => {
    const ill = await patient("ill");
    ill.status = 500;
    const [a, b] = [await patient("a"), await patient("b")];
    const front = await stage.front({
      servers: [a.address, b.address, ill.address],
      upstream: { health: { ...QUICK, rise: 3, fall: 4 } },
    });
    await until(() => stateOf(front, 2) === "unhealthy", "it is out");
    const asked = ill.checks.length;
    expect(asked).toBe(1);
    ill.status = 200;
    await until(() => stateOf(front, 2) === "up", "it is back");
    expect(ill.checks.length - asked).toBe(3);
  });

  it("never take the last servers away: with too few up, all get requests", async () => {
    const servers = [await patient("a"), await patient("b"), await patient("c"), await patient("d")];
    const front = await stage.front({
      servers: servers.map(({ address }) => address),
      upstream: { balance: "round-robin", panic: 40, health: QUICK },
    });
    for (const one of servers) one.status = 500;
    await until(() => front.upstream.status().panic, "panic");
    await until(() => [0, 1, 2, 3].every((at) => stateOf(front, at) === "unhealthy"), "all are out");
    expect(await answers(front.port, 8)).toEqual({ a: 2, b: 2, c: 2, d: 2 });
    servers[0]!.status = 200;
    await until(() => stateOf(front, 0) === "up", "one is back");
    // One of four is below 40 percent.
    expect(front.upstream.status().panic).toBe(true);
    servers[1]!.status = 200;
    await until(() => !front.upstream.status().panic, "no panic");
    expect(await answers(front.port, 4)).toEqual({ a: 2, b: 2 });
  });

  it("judge a link without a path by its workers", async () => {
    const a = await patient("a", "link");
    const b = await patient("b");
    const front = await stage.front({
      servers: [a.address, b.address],
      upstream: { health: { interval: "50ms", fall: 2, rise: 1, status: ["200-499"] } },
    });
    expect(await answers(front.port, 1)).toEqual({ a: 1 });
    await a.backend.stop();
    await until(() => stateOf(front, 0) === "unhealthy", "the link is out");
    expect(a.checks).toEqual([]);
    expect(await answers(front.port, 3)).toEqual({ b: 3 });
  });

  it("move requests that wait on a server that hangs to another, if they may be sent twice", async () => {
    const [a, b] = [await patient("a"), await patient("b")];
    a.hold = true;
    const front = await stage.front({
      servers: [a.address, { address: b.address, backup: true }],
      upstream: { health: QUICK },
    });
    await until(() => a.checks.length > 0, "it is asked");
    const get = asking(front.port);
    const post = asking(front.port, { method: "POST", body: "x" });
    await until(() => a.held.length === 2, "both are there");
    a.status = undefined;
    expect((await get).text).toBe("b");
    expect(b.served).toBe(1);
    for (const response of a.held) response.end("late");
    expect((await post).text).toBe("late");
  });
});

describe("what other threads find out", () => {
  it("holds here too, also for servers that are not known yet", async () => {
    const [a, b, c] = [await patient("a"), await patient("b"), await patient("c")];
    const front = await stage.front({ servers: [a.address, b.address], upstream: { balance: "round-robin" } });
    const [first, second] = front.upstream.members;
    front.registry.hear({ upstream: "app", server: first!.key, healthy: false });
    expect(await answers(front.port, 2)).toEqual({ b: 2 });
    front.registry.tellAll();
    expect(front.told).toEqual([{ upstream: "app", server: first!.key, healthy: false }]);
    front.registry.hear({ upstream: "app", server: first!.key, healthy: true });
    front.registry.hear({ upstream: "app", server: second!.key, restMs: 60_000 });
    expect(await answers(front.port, 2)).toEqual({ a: 2 });
    front.registry.hear({ upstream: "app", server: first!.key.replaceAll(portOf(a), portOf(c)), healthy: false });
    front.upstream.setServer({ ...first!.server, address: c.address });
    expect(front.upstream.status().servers.map(({ state }) => state)).toEqual(["up", "ejected", "unhealthy"]);
  });
});

describe("a server that was left alone", () => {
  it("is tried by one request when its time is over, and rests twice as long if that fails", async () => {
    const good = await patient("good");
    let refuse = true;
    let tries = 0;
    const flaky = await stage.rawBackend((socket) => {
      tries++;
      if (refuse) socket.destroy();
      else socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nflaky"));
    });
    const front = await stage.front({
      servers: [flaky.address, good.address],
      upstream: { balance: "round-robin", ejection: { failures: 2, time: "150ms" } },
    });
    expect(await answers(front.port, 8)).toEqual({ good: 8 });
    expect([stateOf(front, 0), tries]).toEqual(["ejected", 2]);
    const { passive } = front.upstream.members[0]!;
    expect(passive.restMs).toBe(150);
    await until(() => front.wheel.now() > passive.until, "its rest is over");
    expect(await answers(front.port, 8)).toEqual({ good: 8 });
    expect([tries, passive.restMs]).toEqual([3, 300]);
    refuse = false;
    await until(() => front.wheel.now() > passive.until, "its rest is over");
    expect(await answers(front.port, 8)).toEqual({ good: 4, flaky: 4 });
    expect(stateOf(front, 0)).toBe("up");
  });

  it("lets those that wait for it go elsewhere", async () => {
    const [a, b] = [await patient("a"), await patient("b")];
    a.hold = true;
    const front = await stage.front({
      servers: [a.address, b.address],
      upstream: { balance: "round-robin", responseTimeout: "200ms", ejection: { failures: 1, time: "60s" } },
    });
    const first = asking(front.port);
    await until(() => a.held.length === 1, "one waits");
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(await answers(front.port, 1)).toEqual({ b: 1 });
    const at = performance.now();
    const second = asking(front.port);
    await until(() => a.held.length === 2, "another waits");
    expect((await first).text).toBe("b");
    expect((await second).text).toBe("b");
    // With the first one's verdict, not after its own 200 ms.
    expect(performance.now() - at).toBeLessThan(190);
  });
});

describe("backups", () => {
  it("serve while no other server is up, and not before", async () => {
    const [a, b] = [await patient("a"), await patient("b")];
    const front = await stage.front({
      servers: [a.address, { address: b.address, backup: true }],
      upstream: { health: QUICK },
    });
    expect(await answers(front.port, 4)).toEqual({ a: 4 });
    a.status = 500;
    await until(() => stateOf(front, 0) === "unhealthy", "a is out");
    expect(front.upstream.status().panic).toBe(false);
    expect(await answers(front.port, 4)).toEqual({ b: 4 });
    a.status = 200;
    await until(() => stateOf(front, 0) === "up", "a is back");
    expect(await answers(front.port, 4)).toEqual({ a: 4 });
  });

  it("take over at once where a server cannot be reached", async () => {
    const a = await patient("a", "link");
    const b = await patient("b");
    const front = await stage.front({ servers: [a.address, { address: b.address, backup: true }] });
    expect(await answers(front.port, 2)).toEqual({ a: 2 });
    await a.backend.stop();
    await until(() => stateOf(front, 0) === "down", "a is away");
    expect(await answers(front.port, 3)).toEqual({ b: 3 });
  });
});

describe("servers changed while they run", () => {
  it("are added, weighted, drained and removed; what is under way finishes", async () => {
    const [a, b, c] = [await patient("a"), await patient("b"), await patient("c")];
    const front = await stage.front({ servers: [a.address, b.address], upstream: { balance: "round-robin" } });
    const { upstream } = front;
    const added = { address: c.address, weight: 2, maxConnections: 0, backup: false, drain: false };
    upstream.setServer(added);
    expect(await answers(front.port, 8)).toEqual({ a: 2, b: 2, c: 4 });
    expect(upstream.changeServer(c.address, { weight: 4 })).toBe(true);
    expect(await answers(front.port, 12)).toEqual({ a: 2, b: 2, c: 8 });

    c.hold = true;
    const held = Array.from({ length: 6 }, () => asking(front.port));
    await until(() => c.held.length > 0, "some wait at c");
    expect(upstream.changeServer(c.address, { drain: true })).toBe(true);
    expect(stateOf(front, 2)).toBe("draining");
    expect(await answers(front.port, 4)).toEqual({ a: 2, b: 2 });
    expect(upstream.removeServer(c.address)).toBe(true);
    expect(upstream.members).toHaveLength(2);
    for (const response of c.held) response.end("c");
    const texts = (await Promise.all(held)).map(({ text }) => text);
    expect(texts.filter((text) => text === "c")).toHaveLength(c.held.length);

    expect(upstream.changeServer("http://nowhere", { drain: true })).toBe(false);
    expect(upstream.removeServer("http://nowhere")).toBe(false);
  });

  it("that all drain leave 503 with Retry-After", async () => {
    const a = await patient("a");
    const front = await stage.front({ servers: [{ address: a.address, drain: true }] });
    const answer = await ask(front.port);
    expect([answer.status, answer.headers["retry-after"]]).toEqual([503, "1"]);
  });

  it("grow into their weight where they start slowly", async () => {
    const [a, b] = [await patient("a"), await patient("b")];
    const front = await stage.front({
      servers: [{ address: a.address, weight: 10 }],
      upstream: { balance: "round-robin", slowStart: "600ms" },
    });
    expect(front.upstream.status().servers[0]!.weight).toBe(10);
    front.upstream.setServer({ address: b.address, weight: 10, maxConnections: 0, backup: false, drain: false });
    const weights: number[] = [];
    const at = performance.now();
    await until(() => {
      const { weight } = front.upstream.status().servers[1]!;
      if (weight !== weights.at(-1)) weights.push(weight);
      return weight === 10;
    }, "it has its weight");
    expect(performance.now() - at).toBeGreaterThan(500);
    expect(weights[0]).toBe(1);
    expect(weights.length).toBeGreaterThan(5);
    expect(weights).toEqual(weights.toSorted((left, right) => left - right));
    expect(await answers(front.port, 4)).toEqual({ a: 2, b: 2 });
  });
});

describe("a sticky upstream", () => {
  const cookieOf = (answer: { headers: http.IncomingHttpHeaders }): string | undefined =>
    answer.headers["set-cookie"]?.[0];

  it("keeps a client on its server, over reloads, and gives it another when that is gone", async () => {
    const [a, b] = [await patient("a"), await patient("b")];
    const options = { servers: [a.address, b.address], upstream: { balance: "round-robin", sticky: { maxAge: "1h" } } };
    const front = await stage.front(options as Parameters<Stage["front"]>[0]);
    const first = await ask(front.port);
    const cookie = cookieOf(first)!;
    expect(cookie).toMatch(/^portico_server=[\w-]{16}; Path=\/; Max-Age=3600; HttpOnly; SameSite=Lax$/);
    const headers = { Cookie: `x=1; ${cookie.split(";")[0]}` };
    // Another thread, another process: the same id.
    const other = await stage.front(options as Parameters<Stage["front"]>[0]);
    for (const { port } of [front, other, front]) {
      const again = await ask(port, { headers });
      expect([again.text, cookieOf(again)]).toEqual([first.text, undefined]);
    }
    front.upstream.reconfigure({ ...front.upstream.settings, queue: { size: 5, timeout: 100 } });
    expect((await ask(front.port, { headers })).text).toBe(first.text);
    front.upstream.removeServer(first.text === "a" ? a.address : b.address);
    const moved = await ask(front.port, { headers });
    expect(moved.text).not.toBe(first.text);
    expect(cookieOf(moved)).toMatch(/^portico_server=/);
    expect(cookieOf(moved)).not.toBe(cookie);
  });

  it("treats an invented id as none, and hides addresses behind a secret", async () => {
    const a = await patient("a");
    const ids: (string | undefined)[] = [];
    for (const secret of ["a secret of sixteen bytes", "another secret of so many"]) {
      const front = await stage.front({ servers: [a.address], upstream: { sticky: { cookie: "s", secret } } });
      const answer = await ask(front.port, { headers: { Cookie: "s=AAAAAAAAAAAAAAAA" } });
      expect(answer.text).toBe("a");
      ids.push(cookieOf(answer));
    }
    expect(new Set(ids).size).toBe(2);
  });
});

describe("limits of an upstream", () => {
  it("hold requests back beyond maxRequests", async () => {
    const [a, b] = [await patient("a"), await patient("b")];
    a.hold = true;
    b.hold = true;
    const front = await stage.front({ servers: [a.address, b.address], upstream: { maxRequests: 3 } });
    const all = Array.from({ length: 5 }, () => asking(front.port));
    await until(() => front.upstream.queued === 2, "two wait");
    expect(a.held.length + b.held.length).toBe(3);
    a.hold = false;
    b.hold = false;
    for (const response of [...a.held, ...b.held]) response.end("held");
    expect((await Promise.all(all)).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
  });

  it("allow no more retries than the budget has", async () => {
    const server = net.createServer((socket) => socket.once("data", () => socket.destroy()));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    stage.onClose(() => void server.close());
    const { port } = server.address() as net.AddressInfo;
    const front = await stage.front({
      servers: [`http://127.0.0.1:${port}`],
      upstream: { retries: { budget: 10 }, ejection: { failures: 0 } },
    });
    for (let count = 0; count < 150; count++) expect((await ask(front.port)).status).toBe(502);
    const retried = front.records.filter((record) => record.attempts === 2).length;
    // 100 in hand, and a tenth of 150.
    expect(retried).toBeGreaterThanOrEqual(110);
    expect(retried).toBeLessThanOrEqual(115);
  });
});
