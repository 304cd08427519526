/** Several servers and workers: who gets a request, what happens when one is away, what waits, what a reload keeps. */
import { renameSync } from "node:fs";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import type { Exchange } from "@portico/gateway/exchange";
import { acceptLink } from "@portico/link/socket";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { configSchema } from "../config/schema.ts";
import { ask, Stage, until } from "./test-front.ts";

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.close());

const named =
  (name: string): http.RequestListener =>
  (_request, response) =>
    response.end(name);

/** A port that nothing listens on. */
async function closedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe("several servers", () => {
  it("share the requests by weight, in turn", async () => {
    const [a, b] = [await stage.backend("tcp", named("a")), await stage.backend("unix", named("b"))];
    const front = await stage.front({
      servers: [{ address: a.address, weight: 3 }, b.address],
      upstream: { balance: "round-robin" },
    });
    const answers: string[] = [];
    for (let count = 0; count < 8; count++) answers.push((await ask(front.port)).text);
    expect(answers.filter((name) => name === "a")).toHaveLength(6);
  });

  it("get the next request when they have the fewest under way", async () => {
    const waiting: http.ServerResponse[] = [];
    const slow = await stage.backend("tcp", (_request, response) => {
      waiting.push(response);
    });
    const fast = await stage.backend("tcp", named("fast"));
    const front = await stage.front({ servers: [slow.address, fast.address] });
    const first: Promise<unknown>[] = [];
    while (waiting.length === 0) {
      const one = ask(front.port);
      first.push(one);
      // Either the fast one answers, or the slow one has it.
      await Promise.race([one, until(() => waiting.length > 0, "the slow one has a request")]);
    }
    for (let count = 0; count < 10; count++) expect((await ask(front.port)).text).toBe("fast");
    for (const response of waiting) response.end("slow");
    await Promise.all(first);
  });

  it("stand in for one that is away, for every method, and it is left alone after a few failures", async () => {
    const port = await closedPort();
    let posts = 0;
    const good = await stage.backend("tcp", (_request, response) => {
      posts++;
      response.end("good");
    });
    const front = await stage.front({
      servers: [`http://127.0.0.1:${port}`, good.address],
      upstream: { balance: "round-robin", ejection: { failures: 2, time: "60s" } },
    });
    for (let count = 0; count < 10; count++) {
      expect((await ask(front.port, { method: "POST", body: "x" })).text).toBe("good");
    }
    expect(posts).toBe(10);
    expect(front.upstream.status().servers[0]!.state).toBe("ejected");
    expect(front.records.filter((record) => record.attempts === 2)).toHaveLength(2);
  });

  it("are never all left alone", async () => {
    const port = await closedPort();
    const front = await stage.front({
      servers: [`http://127.0.0.1:${port}`],
      upstream: { ejection: { failures: 1, time: "60s" } },
    });
    expect((await ask(front.port)).status).toBe(502);
    expect((await ask(front.port)).status).toBe(502);
    const server = http.createServer(named("back"));
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    stage.onClose(() => void server.close());
    expect((await ask(front.port)).text).toBe("back");
  });
});

describe("when all are busy", () => {
  it("requests wait for their turn, first come first served", async () => {
    let running = 0;
    let most = 0;
    const order: string[] = [];
    const backend = await stage.backend("tcp", (request, response) => {
      most = Math.max(most, ++running);
      order.push(request.url!);
      setTimeout(() => {
        running--;
        response.end("ok");
      }, 20);
    });
    const front = await stage.front({ servers: [{ address: backend.address, maxConnections: 1 }] });
    const answers: Promise<{ text: string }>[] = [];
    for (let count = 0; count < 8; count++) {
      answers.push(ask(front.port, { path: `/${count}` }));
      await until(() => order.length + front.upstream.queued > count, "it has arrived");
    }
    for (const answer of answers) expect((await answer).text).toBe("ok");
    expect(most).toBe(1);
    expect(order).toEqual(["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"]);
    expect(front.records.at(-1)!.queuedMs).toBeGreaterThan(10);
  });

  it("answers 503 with Retry-After at once when enough wait, and when one has waited too long", async () => {
    const backend = await stage.backend("tcp", () => {});
    const front = await stage.front({
      servers: [{ address: backend.address, maxConnections: 1 }],
      upstream: { queue: { size: 1, timeout: "200ms" } },
    });
    const stuck = http.get(front.url).on("error", () => {});
    await until(() => front.upstream.status().servers[0]!.inFlight === 1, "one under way");
    const waiting = ask(front.port);
    await until(() => front.upstream.queued === 1, "one waits");
    const full = await ask(front.port);
    expect([full.status, full.headers["retry-after"]]).toEqual([503, "1"]);
    const late = await waiting;
    expect([late.status, late.headers["retry-after"]]).toEqual([503, "1"]);
    expect(front.records.map((record) => record.failure)).toEqual(["queue-full: queue", "queue-timeout: queue"]);
    stuck.destroy();
  });

  it("forgets a client that leaves while it waits", async () => {
    let runs = 0;
    const backend = await stage.backend("tcp", () => {
      runs++;
    });
    const front = await stage.front({ servers: [{ address: backend.address, maxConnections: 1 }] });
    const first = net.connect(front.port, "127.0.0.1");
    first.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await until(() => runs === 1, "one under way");
    const second = net.connect(front.port, "127.0.0.1");
    second.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await until(() => front.upstream.queued === 1, "one waits");
    second.resetAndDestroy();
    await until(() => front.upstream.queued === 0, "none waits");
    first.resetAndDestroy();
    await until(() => front.upstream.status().servers[0]!.inFlight === 0, "nothing under way");
    expect(runs).toBe(1);
  });
});

describe("a link", () => {
  const answerWith =
    (text: string) =>
    (exchange: Exchange): void =>
      exchange.respond(200, [], text);

  it("reaches every worker, and sends each request to the one with the fewest under way", async () => {
    const held: Exchange[] = [];
    const backend = await stage.linkBackend(
      (exchange) => {
        if (exchange.head.target === "/hold") held.push(exchange);
        else exchange.respond(200, [], "ok");
      },
      [{}, {}, {}],
    );
    const front = await stage.front({ servers: [backend.address] });
    await until(() => backend.sessions.filter((session) => session.ready).length === 3, "three links");
    const waiting = [
      ask(front.port, { path: "/hold" }),
      ask(front.port, { path: "/hold" }),
      ask(front.port, { path: "/hold" }),
    ];
    await until(() => held.length === 3, "three under way");
    expect(backend.sessions.map((session) => session.inFlight)).toEqual([1, 1, 1]);
    for (const exchange of held) exchange.respond(200, [], "ok");
    await Promise.all(waiting);
  });

  it("keeps to the concurrency of the workers; the rest wait", async () => {
    const held: Exchange[] = [];
    const backend = await stage.linkBackend(
      (exchange) => held.push(exchange),
      [{ concurrency: 1 }, { concurrency: 2 }],
    );
    const front = await stage.front({ servers: [backend.address] });
    await until(() => backend.sessions.length === 2, "two links");
    const answers = Array.from({ length: 5 }, () => ask(front.port));
    await until(() => front.upstream.queued === 2, "two wait");
    expect(held).toHaveLength(3);
    const queued: number[] = [];
    for (let done = 0; done < 5; done++) {
      await until(() => held.length > done, "the next");
      queued.push(held[done]!.facts.queuedMs);
      held[done]!.respond(200, [], "ok");
    }
    for (const answer of answers) expect((await answer).status).toBe(200);
    expect(queued.slice(0, 3)).toEqual([0, 0, 0]);
    expect(Math.max(...queued)).toBeGreaterThan(0);
  });

  it("gives nothing to a worker that drains, and loses no request", async () => {
    const backend = await stage.linkBackend(answerWith("ok"), [{}, {}]);
    const front = await stage.front({ servers: [backend.address] });
    await until(() => backend.sessions.filter((session) => session.ready).length === 2, "two links");
    let drains = 0;
    const drainer = setInterval(() => {
      drains++;
      for (const session of backend.sessions.slice()) session.drain();
    }, 10);
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        for (let count = 0; count < 25; count++) {
          expect((await ask(front.port, { method: "POST", body: "x" })).status).toBe(200);
        }
      }),
    );
    clearInterval(drainer);
    expect(drains).toBeGreaterThan(2);
    expect(backend.sessions.length).toBeGreaterThan(4);
    expect(front.records.every((record) => record.failure === undefined)).toBe(true);
  });

  it("tells the worker of no deadline that the client does not have", async () => {
    const seen: (number | undefined)[] = [];
    const backend = await stage.linkBackend((exchange) => {
      seen.push(exchange.facts.deadline);
      // Longer than the link's clock needs to notice a deadline that has passed.
      setTimeout(() => exchange.respond(200, [], "late"), 1_300);
    });
    const front = await stage.front({ servers: [backend.address] });
    expect((await ask(front.port)).text).toBe("late");
    expect(seen).toEqual([undefined]);
  });

  it("comes back after the server was away; meanwhile 502 at once", async () => {
    const backend = await stage.linkBackend(answerWith("first"));
    const path = backend.address.slice("link+unix:".length);
    const front = await stage.front({ servers: [backend.address] });
    expect((await ask(front.port)).text).toBe("first");
    await backend.stop();
    const at = performance.now();
    expect((await ask(front.port)).status).toBe(502);
    expect(performance.now() - at).toBeLessThan(1_000);
    const again = await stage.linkBackend(answerWith("second"));
    renameSync(again.address.slice("link+unix:".length), path);
    expect((await ask(front.port)).text).toBe("second");
  });

  it("is waited for while all workers start again, for longer than connecting may take", async () => {
    const path = stage.socketPath();
    const sockets = new Set<net.Socket>();
    let starting = false;
    // As the server's master does it: connections are accepted always, and wait for a worker.
    const server = net.createServer((socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      socket.on("error", () => {});
      if (!starting)
        acceptLink(socket, answerWith("ok"), { worker: { id: 1, generation: 1, count: 1, concurrency: 9 } });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    stage.onClose(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const front = await stage.front({
      servers: [`link+unix:${path}`],
      upstream: { connectTimeout: "150ms", queue: { timeout: "1s" } },
    });
    expect((await ask(front.port)).text).toBe("ok");
    starting = true;
    for (const socket of sockets) socket.destroy();
    const answers = Array.from({ length: 3 }, () => ask(front.port, { method: "POST", body: "x" }));
    for (const answer of answers) answer.catch(() => {});
    await until(() => front.upstream.queued === 3, "they wait");
    // Twice as long as connecting may take.
    await new Promise((resolve) => setTimeout(resolve, 350));
    starting = false;
    expect((await Promise.all(answers)).map(({ text }) => text)).toEqual(["ok", "ok", "ok"]);
    // Workers that never come are not waited for for ever.
    starting = true;
    for (const socket of sockets) socket.destroy();
    const late = await ask(front.port);
    expect([late.status, late.headers["retry-after"]]).toEqual([503, "1"]);
  });

  it("waits for a server that is being connected to at the start", async () => {
    const backend = await stage.linkBackend(answerWith("ready"));
    const front = await stage.front({ servers: [backend.address] });
    // No link is ready in this very turn: the first request must wait for it, not fail.
    expect((await ask(front.port)).text).toBe("ready");
  });
});

describe("names", () => {
  it("are followed: every address is a server, and a name that does not resolve is not fatal", async () => {
    const port = await closedPort();
    const servers: http.Server[] = [];
    for (const host of ["127.0.0.2", "127.0.0.3"]) {
      const server = http.createServer(named(host));
      await new Promise<void>((resolve) => server.listen(port, host, resolve));
      servers.push(server);
    }
    stage.onClose(() => {
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
    });
    let known: string[] = [];
    const front = await stage.front({
      servers: [`http://app.internal:${port}`],
      upstream: { balance: "round-robin" },
      lookup: () =>
        known.length === 0
          ? Promise.reject(new DOMException("not known", "NotFoundError"))
          : Promise.resolve(known.map((address) => ({ address, family: 4 }))),
    });
    const early = await ask(front.port);
    expect(early.status).toBeGreaterThanOrEqual(502);
    expect(early.status).toBeLessThanOrEqual(503);
    known = ["127.0.0.2"];
    await until(() => front.upstream.members.length === 1, "one address");
    expect((await ask(front.port)).text).toBe("127.0.0.2");
    known = ["127.0.0.2", "127.0.0.3"];
    await until(() => front.upstream.members.length === 2, "two addresses");
    const answers = new Set([(await ask(front.port)).text, (await ask(front.port)).text]);
    expect(answers).toEqual(new Set(["127.0.0.2", "127.0.0.3"]));
  });
});

describe("a reload", () => {
  it("keeps the connections of what stays, and lets requests of what goes finish", async () => {
    const held: Exchange[] = [];
    const stays = await stage.linkBackend((exchange) => exchange.respond(200, [], "stays"));
    const goes = await stage.linkBackend((exchange) => held.push(exchange));
    const front = await stage.front({ servers: [goes.address] });
    const answer = ask(front.port);
    await until(() => held.length === 1, "one under way");
    const settings = (servers: string[]) =>
      configSchema.parse({
        upstreams: { app: { servers } },
        sites: [{ hosts: ["*"], routes: [{ path: "/*", respond: {} }] }],
      }).upstreams;
    front.registry.apply(settings([goes.address, stays.address]), 1_000);
    await until(() => stays.sessions.length === 1, "a link to the new one");
    expect(goes.sessions).toHaveLength(1);
    front.registry.apply(settings([stays.address]), 1_000);
    expect(stays.sessions).toHaveLength(1);
    expect((await ask(front.port)).text).toBe("stays");
    held[0]!.respond(200, [], "finished");
    expect((await answer).text).toBe("finished");
    await until(() => goes.sessions.every((session) => session.isClosed), "the old link is closed");
    front.registry.apply({}, 1_000);
    await until(() => stays.sessions.every((session) => session.isClosed), "all closed");
  });
});
