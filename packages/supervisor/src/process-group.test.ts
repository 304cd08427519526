import { readdir, readlink } from "node:fs/promises";
import net from "node:net";
import { once } from "node:events";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, describe, expect, test } from "vitest";
import { ask, bound, cleanUp, exists, later, temporaryFolder, TestGroup } from "./fixtures/group.ts";
import type { FixtureInit } from "./fixtures/child.ts";
import type { ProcessGroupOptions } from "./index.ts";

const FAST_HEARTBEAT = { interval: 50, timeout: 2_000 }; // longer than any pause of a busy machine

async function started(init: FixtureInit = {}, options: Partial<ProcessGroupOptions> = {}): Promise<TestGroup> {
  const group = new TestGroup(init, options);
  await group.start();
  return group;
}

afterEach(cleanUp);

describe("a socket for children that run already", () => {
  test.each(["127.0.0.1:0", "unix"])("%s: passed to the running child, inherited by its successor", async (where) => {
    const address = where === "unix" ? `unix:${await temporaryFolder()}/passed.sock` : where;
    const group = await started();
    const [child] = group.children;
    const added = await bound(address);
    expect(child!.pass("listen", added)).toBe(true);
    await group.messages.find((message): message is unknown => message === "listening");
    expect(await ask(added)).toMatchObject({ id: child!.id, pid: child!.pid });

    group.amend({ listeners: [added] });
    const ready = group.event("ready");
    child!.kill("SIGKILL");
    const { child: successor } = await ready;
    expect(await ask(added)).toMatchObject({ id: successor.id, pid: successor.pid });
  });

  test("a closed one cannot be passed", async () => {
    const group = await started();
    const closed = await bound("127.0.0.1:0");
    await closed.close();
    expect(() => group.children[0]!.pass("listen", closed)).toThrow(
      expect.objectContaining({ code: "listener_closed" }) as Error,
    );
  });
});

describe("starting", () => {
  test("resolves when every child is ready, and stop leaves no process", async () => {
    const listener = await bound("127.0.0.1:0");
    const group = await started({}, { count: 2, listeners: [listener] });
    expect(group.children.map(({ state, slot }) => `${state} ${slot}`)).toEqual(["ready 1", "ready 2"]);
    const { pid } = await ask(listener);
    expect(group.children.map((child) => child.pid)).toContain(pid);
    const pids = group.children.map((child) => child.pid);
    await group.stop("graceful");
    expect(pids.filter(exists)).toEqual([]);
    expect(group.types().slice(-1)).toEqual(["stopped"]);
  });

  test.each([
    ["throw", 3, "no such database"],
    ["throw-load", 4, "unexpected token"],
    ["exit", 3, "exit code 7"],
  ] as const)("a child that %ss while booting rejects with its own error", async (boot, exitCode, message) => {
    const group = new TestGroup({ boot }, { count: 2 });
    await expect(group.start()).rejects.toMatchObject({
      code: "child_failed",
      exitCode,
      message: expect.stringContaining(message),
    });
    expect(group.children).toEqual([]);
  });

  test("an entry that does not exist is a boot failure, not a hang", async () => {
    const group = new TestGroup({}, { entry: "/nonexistent/child.ts" });
    await expect(group.start()).rejects.toMatchObject({ code: "child_failed", exitCode: 3 });
  });

  test("a child that hangs while loading is ended at readyTimeout, with the stack it is in", async () => {
    const group = new TestGroup({ boot: "block" }, { readyTimeout: 4_000, watchdog: true });
    const error: unknown = await group.start().catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: "child_timeout",
      message: expect.stringMatching(/within 4000 ms.*\n\s+at spin \(.*child\.ts:\d+/),
    });
    expect(group.children).toEqual([]);
  });

  test("stop during start rejects start and leaves nothing", async () => {
    const group = new TestGroup({ boot: "hang" }, {});
    const spawned = group.event("spawned");
    const start = group.start();
    await spawned;
    await Promise.all([expect(start).rejects.toMatchObject({ code: "stopped" }), group.stop("graceful")]);
    expect(group.children).toEqual([]);
  });
});

describe("crashes", () => {
  test("a child that throws is replaced, its error is told, the other stays", async () => {
    const group = await started({}, { count: 2 });
    const [first, second] = group.children;
    const crashed = group.event("crashed");
    const ready = group.event("ready");
    first?.send("throw too far");
    expect(await crashed).toMatchObject({ child: { id: 1 }, reason: expect.stringContaining("RangeError: too far") });
    expect(await ready).toMatchObject({ child: { id: 3, slot: 1 } });
    expect(second?.state).toBe("ready");
  });

  test("a crash loop backs off and is reported; the other child serves on", async () => {
    const group = await started({}, { count: 2, backoff: { initialMs: 10, jitter: 0, loopAfter: 3 } });
    const loop = group.event("crash-loop");
    const onReady = (id: number): boolean | undefined =>
      group.children.find((child) => child.id === id)?.send("exit 1");
    onReady(1);
    for (let next = 3; next <= 5; next++) {
      await group.events.find((event): event is typeof event => event.type === "ready" && event.child.id === next);
      if (next < 5) onReady(next);
    }
    expect(await loop).toMatchObject({ slot: 1, failures: 3 });
    const delays = group.events.items.flatMap((event) => (event.type === "restarting" ? [event.delayMs] : []));
    expect(delays).toEqual([0, 10, 20]);
    expect(group.children.find(({ slot }) => slot === 2)).toMatchObject({ id: 2, state: "ready" });
  });

  test("a connection that comes while the only child is dead waits and is served by its successor", async () => {
    const folder = await temporaryFolder();
    for (const listener of [await bound("127.0.0.1:0"), await bound(`unix:${folder}/app.sock`)]) {
      const group = await started({}, { listeners: [listener], backoff: { initialMs: 1 } });
      const before = await ask(listener);
      const crashed = group.event("crashed");
      process.kill(before.pid, "SIGKILL");
      await crashed;
      const after = await ask(listener);
      expect(after.id).toBe(before.id + 1);
      await group.stop("quick");
    }
  });
});

describe("hangs", () => {
  test("a blocked child is told with the stack it is in and what it was doing, and is replaced", async () => {
    const group = await started({}, { count: 2, watchdog: true, heartbeat: FAST_HEARTBEAT });
    const slow = group.event("unresponsive");
    const hung = group.event("hung");
    const ready = group.event("ready");
    group.children[0]?.send("block");
    expect(await slow).toMatchObject({ child: { id: 1 } });
    expect(await hung).toMatchObject({
      kind: "blocked",
      doing: "GET /slow",
      stack: expect.stringMatching(/at spin \(.*fixtures\/child\.ts:\d+:\d+\)/),
    });
    expect((await ready).child).toMatchObject({ id: 3, slot: 1 });
    expect(group.events.items.find(({ type }) => type === "crashed")).toMatchObject({
      reason: expect.stringContaining("SIGABRT"),
    });
    expect(group.children.map(({ id }) => id)).toEqual([2, 3]);
  });

  test("a child blocked in native code is known to be alive, without a stack", async () => {
    const group = await started({}, { watchdog: true, heartbeat: FAST_HEARTBEAT });
    const hung = group.event("hung");
    group.children[0]?.send("native");
    expect(await hung).toMatchObject({
      kind: "blocked",
      stack: undefined,
      reason: expect.stringContaining("native code"),
    });
  });

  test("a stopped process is called dead, killed and replaced", async () => {
    const group = await started({}, { watchdog: true, heartbeat: FAST_HEARTBEAT });
    const hung = group.event("hung");
    const ready = group.event("ready");
    process.kill(group.children[0]?.pid ?? 0, "SIGSTOP");
    expect(await hung).toMatchObject({ kind: "dead", stack: undefined });
    expect((await ready).child.id).toBe(2);
  });

  test("the stack of a healthy child can be taken, and it goes on", async () => {
    const group = await started({}, { watchdog: true });
    const [child] = group.children;
    await expect
      .poll(() => child?.stack(), { timeout: 10_000 })
      .toMatchObject({ doing: "GET /slow", stack: expect.stringContaining("at ") });
    child?.send("echo still here");
    await group.messages.find((message): message is object => (message as { echo?: string }).echo === "still here");
  });
});

describe("reload", () => {
  test("a stream of connections sees no failure, and ends at the new generation", async () => {
    const folder = await temporaryFolder();
    const listeners = [await bound("127.0.0.1:0"), await bound(`unix:${folder}/app.sock`)];
    const group = await started({ patient: true }, { count: 2, listeners, copies: 2 });
    const stream = { open: true };
    let served = 0;
    const failures: unknown[] = [];
    const streams = [...listeners, ...listeners].map(async (listener) => {
      while (stream.open)
        await ask(listener).then(
          () => served++,
          (error: unknown) => failures.push(error),
        );
    });
    for (let round = 0; round < 5; round++) await group.reload();
    stream.open = false;
    await Promise.all(streams);
    expect(failures).toEqual([]);
    expect(served).toBeGreaterThan(50);
    for (const listener of listeners) expect(await ask(listener)).toMatchObject({ generation: 6 });
  }, 60_000);

  test("a replacement is ready before the old one drains, and never more than maxSurge at a time", async () => {
    const group = await started({}, { count: 3 });
    const from = group.events.items.length;
    await group.reload();
    expect(group.types().slice(from)).toEqual([
      "reloading",
      ...Array.from({ length: 3 }, () => ["spawned", "ready", "draining", "exited"]).flat(),
      "reloaded",
    ]);
  });

  test("an old child that takes its time to drain holds up neither the others nor the reload, only the next one", async () => {
    const group = await started({ ignoreDrain: true }, { count: 2, gracefulTimeout: 2_500, drainPatience: 50 });
    const old = [...group.children];
    await group.reload({});
    const states = (): string[] => group.children.map(({ generation, state }) => `${generation} ${state}`);
    expect(states()).toEqual(["1 draining", "1 draining", "2 ready", "2 ready"]);
    await group.reload();
    expect(old.map(({ state }) => state)).toEqual(["gone", "gone"]);
    expect(group.types().filter((type) => type === "killed")).toHaveLength(2);
    expect(states()).toEqual(["3 ready", "3 ready"]);
  });

  test.each(["throw", "exit", "hang"] as const)(
    "a generation that boots with %s leaves the old serving and says why",
    async (boot) => {
      const listener = await bound("127.0.0.1:0");
      const group = await started(
        {},
        { count: 2, listeners: [listener], readyTimeout: boot === "hang" ? 5_000 : 60_000 },
      );
      await expect(group.reload({ boot })).rejects.toMatchObject({ code: "reload_failed", exitCode: 3 });
      expect(group.children.map(({ id, state }) => `${id} ${state}`)).toEqual(["1 ready", "2 ready"]);
      expect(await ask(listener)).toMatchObject({ generation: 1 });
      // A crash of an old one brings an old one back, not the broken generation.
      const ready = group.event("ready");
      group.children[0]?.send("exit 1");
      expect((await ready).child.generation).toBe(1);
    },
  );

  test("calls while one waits are one reload, with the last init", async () => {
    const group = await started();
    const begun = group.event("reloading");
    const running = group.reload();
    await begun;
    const waiting = [group.reload({ boot: "throw" }), group.reload({ patient: true }), group.reload()];
    await Promise.all([running, ...waiting]);
    expect(group.generation).toBe(3);
    expect(group.children.map(({ state }) => state)).toEqual(["ready"]);
  });

  test("scale during a reload takes its turn", async () => {
    const group = await started({}, { count: 1 });
    await Promise.all([group.reload(), group.scale(3)]);
    expect(group.children.map(({ generation, state }) => `${generation} ${state}`)).toEqual([
      "2 ready",
      "2 ready",
      "2 ready",
    ]);
  });

  test("stop during a reload ends all of it", async () => {
    const group = await started();
    const spawned = group.event("spawned");
    const reload = group.reload({ boot: "hang" });
    await spawned;
    await Promise.all([expect(reload).rejects.toMatchObject({ code: "stopped" }), group.stop("graceful")]);
    expect(group.children).toEqual([]);
    await expect(group.reload()).rejects.toMatchObject({ code: "stopped" });
  });

  test("many reloads leave no descriptor behind", async () => {
    const listener = await bound("127.0.0.1:0");
    const group = await started({}, { listeners: [listener] });
    const open = async (): Promise<string[]> => {
      const names = await Promise.all(
        (await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")),
      );
      return names.filter((name) => name.startsWith("socket:") || name.startsWith("pipe:"));
    };
    await group.reload();
    const before = await open();
    const rounds = process.env["PORTICO_LONG"] === undefined ? 20 : 100;
    for (let round = 0; round < rounds; round++) await group.reload();
    expect((await open()).length).toBe(before.length);
  }, 240_000);
});

describe("one child", () => {
  test("SIGTERM to it retires it in order: its replacement is ready first", async () => {
    const group = await started({}, { count: 2 });
    const from = group.events.items.length;
    const exited = group.event("exited");
    process.kill(group.children[0]?.pid ?? 0, "SIGTERM");
    await exited;
    expect(group.types().slice(from)).toEqual(["retiring", "spawned", "ready", "draining", "exited"]);
    expect(group.children.map(({ id }) => id)).toEqual([2, 3]);
  });

  test("signals that a terminal sends to all do not end it", async () => {
    const group = await started();
    const [child] = group.children;
    for (const signal of ["SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR2"] as const) child?.kill(signal);
    child?.send("echo alive");
    await group.messages.find((message): message is object => (message as { echo?: string }).echo === "alive");
    expect(child?.state).toBe("ready");
  });

  test("one that asks to retire while no replacement comes up stays, and may ask again", async () => {
    const group = await started({ onlyFirst: true });
    const refused = group.event("retire-failed");
    group.children[0]?.send("retire too much memory");
    expect(await refused).toMatchObject({ child: { id: 1 } });
    expect(group.children.map(({ id, state }) => `${id} ${state}`)).toEqual(["1 ready"]);
    const again = group.event("retire-failed");
    group.children[0]?.send("retire too much memory");
    await again;
  });

  test("that was killed does not keep a socket that was on its way to it: the other end is told", async () => {
    const group = await started();
    const [child] = group.children;
    const server = net.createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
    later(async () => void server.close());
    await once(server, "listening");
    const accepted = once(server, "connection");
    const client = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1").resume();
    const closed = once(client, "close");
    const [socket] = (await accepted) as [net.Socket];
    process.kill(child!.pid, "SIGKILL");
    // Sent in the same turn: nobody here knows yet that it is dead.
    expect(child!.send("for nobody", socket)).toBe(true);
    await closed;
  });

  test("leaves nothing of the sockets that it was given in the master's memory", async () => {
    const group = await started();
    const [child] = group.children;
    const given: WeakRef<object>[] = [];
    const server = net.createServer({ pauseOnConnect: true }, (socket) => {
      const inside = socket as unknown as { _handle: object };
      given.push(new WeakRef(socket), new WeakRef(inside._handle));
      child!.send("yours", socket);
    });
    server.listen(0, "127.0.0.1");
    later(async () => void server.close());
    await once(server, "listening");
    for (let count = 0; count < 20; count++) {
      const client = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1", () => client.write("who?"));
      expect(String((await once(client, "data"))[0])).toMatch(/^1 1 /);
      client.destroy();
    }
    expect(given).toHaveLength(40);
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    // The last one or two may still be on their way.
    await expect
      .poll(() => {
        collect();
        return given.filter((one) => one.deref() !== undefined).length;
      })
      .toBeLessThanOrEqual(4);
  });

  test("takes a socket with a message", async () => {
    const group = await started();
    const acceptor = net
      .createServer({ pauseOnConnect: true }, (socket) => group.children[0]?.send("socket", socket))
      .listen(0, "127.0.0.1");
    await once(acceptor, "listening");
    const socket = net.connect((acceptor.address() as net.AddressInfo).port, "127.0.0.1", () =>
      socket.write("who are you?"),
    );
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString()).toBe(`1 1 ${group.children[0]?.pid}`);
    socket.destroy();
    acceptor.close();
  });

  test("gives its output by line, its umask and its user", async () => {
    const group = await started(
      {},
      { umask: 0o027, ...(process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}) },
    );
    group.children[0]?.send("print one\ntwo");
    await group.lines.find((line): line is string => line === "1 stdout two");
    expect(group.lines.items).toEqual(["1 stdout one", "1 stdout two"]);
    group.children[0]?.send("echo me");
    const answer = await group.messages.find((message): message is object => typeof message === "object");
    expect(answer).toMatchObject({ umask: 0o027, uid: process.getuid?.() === 0 ? 65_534 : process.getuid?.() });
  });
});

describe("scale", () => {
  test("up and down, and each child knows", async () => {
    const group = await started();
    await group.scale(3);
    group.children[0]?.send("echo how many");
    expect(await group.messages.find((message): message is object => typeof message === "object")).toMatchObject({
      count: 3,
    });
    await group.scale(1);
    expect(group.children.map(({ id }) => id)).toEqual([1]);
    await group.scale(0);
    expect(group.children).toEqual([]);
    await group.scale(1);
    expect(group.children.map(({ slot, state }) => `${slot} ${state}`)).toEqual(["1 ready"]);
  });
});

describe("stop", () => {
  test("graceful waits for what is under way", async () => {
    const listener = await bound("127.0.0.1:0");
    const group = await started({ patient: true }, { listeners: [listener] });
    const socket = net.connect(listener.address.kind === "tcp" ? listener.address.port : 0, "127.0.0.1");
    await once(socket, "connect");
    // Another connection is answered: so the first was accepted before it.
    await ask(listener);
    const draining = group.event("draining");
    const stopped = group.stop("graceful");
    await draining;
    socket.write("who are you?");
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString()).toMatch(/^1 1 /);
    await stopped;
  });

  test("is bounded: a child that does not leave is killed", async () => {
    const group = await started({ ignoreDrain: true }, { gracefulTimeout: 100 });
    const killed = group.event("killed");
    await group.stop("graceful");
    expect((await killed).reason).toContain("100 ms");
    expect(group.children).toEqual([]);
  });

  test("escalates: quick after graceful, kill after quick", async () => {
    const group = await started({ ignoreDrain: true });
    const stopped = [group.stop("graceful"), group.stop("quick"), group.stop("kill")];
    await Promise.all(stopped);
    expect(group.events.items.flatMap((event) => (event.type === "stopping" ? [event.mode] : []))).toEqual([
      "graceful",
      "quick",
      "kill",
    ]);
  });
});
