/** The command portico-proxy: what it says, what it ends with, what each signal does, and what it leaves behind. */
import { mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, existsSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Agent, request } from "undici";
import { Command, descendants, running } from "../support/command.ts";
import { openSocket, say, startEcho } from "../support/echo.ts";
import { ProxyUnderTest, site } from "../support/proxy.ts";
import { RawClient } from "../support/raw.ts";

const answer = (body: string) => site({ path: "/*", respond: { body } });

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "portico-cli-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs the command to its end. */
async function ended(...args: string[]): Promise<{ code: number | null; output: string }> {
  await using command = new Command("proxy", args, { cwd: folder, env: { TMPDIR: folder } });
  const { code } = await command.exited;
  return { code, output: command.output };
}

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const text = async (url: string): Promise<string> => {
  const { body } = await request(url, { reset: true });
  return body.text();
};

describe("bad input has one clear message and an exit code", () => {
  test("unknown flag", async () => {
    const { code, output } = await ended("--confg", "x");
    expect([code, output]).toEqual([
      2,
      expect.stringMatching(/^portico-proxy: unknown option '--confg'[^]*Did you mean --config\?/),
    ]);
  });

  test("the version", async () => {
    const { code, output } = await ended("--version");
    expect([code, output]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\S*\n$/)]);
  });

  test("no configuration", async () => {
    const { code, output } = await ended();
    expect([code, output]).toEqual([2, expect.stringContaining("there is no configuration: give one with -c FILE")]);
  });

  test("absent file", async () => {
    const { code, output } = await ended("-c", "none.yaml");
    expect([code, output]).toEqual([2, "portico-proxy: none.yaml: there is no such file\n"]);
  });

  test("misspelt key, with line and what was meant", async () => {
    file("typo.yaml", 'sites:\n  - hosts: ["*"]\n    routes:\n      - { path: "/*", respnd: {} }\n');
    for (const args of [
      ["-c", "typo.yaml"],
      ["check", "-c", "typo.yaml"],
      ["-c", "typo.yaml", "check"],
    ]) {
      const { code, output } = await ended(...args);
      expect(code).toBe(2);
      expect(output).toContain('typo.yaml:4: sites[0].routes[0].respnd: unknown setting (did you mean "respond"?)');
    }
  });

  test("port in use", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    const { code, output } = await ended(
      "-c",
      file("used.json", JSON.stringify({ listen: [`127.0.0.1:${port}`], ...answer("") })),
    );
    expect([code, output]).toEqual([
      5,
      `portico-proxy: cannot listen on http://127.0.0.1:${port}: another process already listens there\n`,
    ]);
    other.close();
  });

  test("address that this machine does not have", async () => {
    const { code, output } = await ended(
      "-c",
      file("addr.json", JSON.stringify({ listen: ["192.0.2.1:80"], ...answer("") })),
    );
    expect([code, output]).toEqual([5, expect.stringContaining("no interface of this machine has that address")]);
  });

  test("and leaves nothing behind", () => {
    expect(readdirSync(folder).filter((name) => name.startsWith("portico-proxy-"))).toEqual([]);
  });
});

describe("questions", () => {
  test("check", async () => {
    const { code, output } = await ended("check", "-c", file("good.json", JSON.stringify(answer("hi"))));
    expect([code, output]).toEqual([
      0,
      expect.stringMatching(/good\.json: correct \(sites: 1, routes: 1, upstreams: 0\)/),
    ]);
  });

  test("print-config shows every default, and is itself a configuration", async () => {
    const { output } = await ended("print-config", "-c", file("good.json", JSON.stringify(answer("hi"))));
    expect(JSON.parse(output)).toMatchObject({
      threads: "auto",
      timeouts: { header: "15s" },
      limits: { bodySize: "10MiB" },
    });
    expect((await ended("check", "-c", file("printed.json", output))).code).toBe(0);
  });

  test("the file is found where one expects it", async () => {
    file("portico.config.ts", `export default ${JSON.stringify(answer("hi"))};`);
    expect((await ended("check")).output).toMatch(/^portico\.config\.ts: correct/);
    rmSync(join(folder, "portico.config.ts"));
  });
});

describe("signals", () => {
  test.each(["SIGTERM", "SIGINT", "SIGQUIT"] as const)("%s stops it and leaves nothing behind", async (signal) => {
    await using proxy = await ProxyUnderTest.start(answer("hi"));
    expect(await text(proxy.url)).toBe("hi");
    const children = descendants(proxy.command.pid);
    expect(children.length).toBeGreaterThan(0);
    const exit = await proxy.command.stop(signal);
    expect(exit).toEqual({ code: 0, signal: null });
    expect(children.filter(running)).toEqual([]);
    expect(existsSync(proxy.socket)).toBe(false);
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith(`portico-proxy-${proxy.command.pid}-`))).toEqual([]);
  });

  test("SIGQUIT lets a download finish, SIGTERM does not", async () => {
    for (const [signal, whole] of [
      ["SIGQUIT", true],
      ["SIGTERM", false],
    ] as const) {
      await using proxy = await ProxyUnderTest.start(site({ path: "/*", static: { root: "." } }), {
        files: { "large.bin": Buffer.alloc(20_000_000) },
      });
      using client = await RawClient.open(proxy.url);
      client.send("GET /large.bin HTTP/1.1\r\nHost: a.test\r\n\r\n");
      await client.until(/\r\n\r\n/);
      client.socket.pause();
      proxy.command.signal(signal);
      await proxy.command.printed(/drains/);
      await expect
        .poll(() =>
          RawClient.open(proxy.url).then(
            () => "accepted",
            () => "refused",
          ),
        )
        .toBe("refused");
      client.socket.resume();
      const received = await client.closed();
      expect(received.length > 20_000_000, signal).toBe(whole);
      expect((await proxy.command.exited).code).toBe(0);
    }
  });

  test("SIGUSR1 goes on in a new file", async () => {
    await using proxy = await ProxyUnderTest.start({ ...answer("hi"), log: { access: "access.log" } });
    const lines = (name: string): Record<string, unknown>[] =>
      existsSync(proxy.path(name))
        ? readFileSync(proxy.path(name), "utf8")
            .split("\n")
            .filter(Boolean)
            .map((line) => JSON.parse(line) as Record<string, unknown>)
        : [];
    await text(`${proxy.url}/one?a="b"`);
    await expect.poll(() => lines("access.log")).toHaveLength(1);
    expect(lines("access.log")[0]).toMatchObject({
      log: "access",
      client: "127.0.0.1",
      method: "GET",
      target: "/one?a=%22b%22",
      status: 200,
      bytesOut: 2,
      ended: "completed",
    });
    renameSync(proxy.path("access.log"), proxy.path("access.old"));
    proxy.command.signal("SIGUSR1");
    await expect.poll(() => existsSync(proxy.path("access.log"))).toBe(true);
    await text(`${proxy.url}/two`);
    await expect.poll(() => lines("access.log").map((line) => line["target"])).toEqual(["/two"]);
    expect(lines("access.old")).toHaveLength(1);
  });
});

describe("SIGHUP", () => {
  test("swaps the configuration in place: same process, same connection", async () => {
    await using proxy = await ProxyUnderTest.start(answer("one"));
    using client = await RawClient.open(proxy.url);
    const ask = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    client.send(ask);
    await client.until(/one$/);
    const children = descendants(proxy.command.pid);
    expect(await proxy.reload(answer("two"))).toBe("configuration reloaded");
    client.send(ask);
    await client.until(/two$/);
    expect(await text(proxy.url)).toBe("two");
    expect(descendants(proxy.command.pid)).toEqual(children);
  });

  test("with a mistake changes nothing and says why", async () => {
    await using proxy = await ProxyUnderTest.start(answer("one"));
    const refusal = await proxy.reload({ ...answer("two"), thread: 1 });
    expect(refusal).toContain("reload refused, nothing was changed");
    await proxy.command.printed(/thread: unknown setting \(did you mean "threads"\?\)/);
    expect(await text(proxy.url)).toBe("one");
    expect(await proxy.reload(answer("three"))).toBe("configuration reloaded");
    expect(await text(proxy.url)).toBe("three");
  });

  test("opens and closes addresses, and what stays is never refused", async () => {
    await using proxy = await ProxyUnderTest.start(answer("one"));
    const added = "unix:added.sock";
    expect(await proxy.reload({ ...answer("two"), listen: ["127.0.0.1:0", added] })).toBe("configuration reloaded");
    const over = async (socketPath: string): Promise<string> => {
      const agent = new Agent({ connect: { socketPath } });
      try {
        const { body } = await request("http://a.test/", { dispatcher: agent });
        return await body.text();
      } finally {
        await agent.close();
      }
    };
    expect(await over(proxy.path("added.sock"))).toBe("two");
    expect(await text(proxy.url)).toBe("two");
    expect(existsSync(proxy.socket)).toBe(false);
  });

  test("leaves WebSockets and streams under way alone", async () => {
    await using echo = await startEcho();
    const upstreams = { app: { servers: [echo.url] } };
    const config = (timeout: string) => ({
      ...site({ path: "/*", proxy: { upstream: "app" } }),
      upstreams,
      timeouts: { keepAlive: timeout },
    });
    await using proxy = await ProxyUnderTest.start(config("60s"));
    const sockets = await Promise.all(Array.from({ length: 10 }, () => openSocket(proxy.url)));
    const events = await request(`${proxy.url}/events`);
    const received: string[] = [];
    events.body.on("data", (chunk: Buffer) => received.push(chunk.toString()));
    await expect.poll(() => received.length).toBeGreaterThan(0);
    for (let turn = 1; turn <= 5; turn++) {
      expect(await proxy.reload(config(`${60 + turn}s`))).toBe("configuration reloaded");
      expect(await Promise.all(sockets.map((socket) => say(socket, `turn ${turn}`)))).toEqual(
        Array.from({ length: 10 }, () => `turn ${turn}`),
      );
      const before = received.length;
      await expect.poll(() => received.length).toBeGreaterThan(before);
    }
    for (const socket of sockets) socket.terminate();
    events.body.destroy();
  });

  test("twenty times under load loses nothing", async () => {
    await using proxy = await ProxyUnderTest.start(answer("generation 0"));
    const agent = new Agent({ connections: 8 });
    const seen = new Set<string>();
    const load = { going: true };
    let asked = 0;
    const clients = Array.from({ length: 8 }, async () => {
      while (load.going) {
        const { statusCode, body } = await request(proxy.url, { dispatcher: agent, reset: asked % 50 === 0 });
        expect(statusCode).toBe(200);
        seen.add(await body.text());
        asked++;
      }
    });
    for (let turn = 1; turn <= 20; turn++)
      expect(await proxy.reload(answer(`generation ${turn}`))).toBe("configuration reloaded");
    load.going = false;
    await Promise.all(clients);
    await agent.close();
    expect(await text(proxy.url)).toBe("generation 20");
    expect(seen.size).toBeGreaterThan(10);
    expect(asked).toBeGreaterThan(100);
  });
});

describe("a killed proxy process", () => {
  test("is replaced at once, no connection is refused, and it has the configuration in force", async () => {
    await using proxy = await ProxyUnderTest.start(answer("one"));
    await proxy.reload(answer("two"));
    const [before] = descendants(proxy.command.pid);
    process.kill(before!, "SIGKILL");
    const answers = await Promise.all(Array.from({ length: 20 }, () => text(proxy.url)));
    expect(new Set(answers)).toEqual(new Set(["two"]));
    expect(descendants(proxy.command.pid)).not.toContain(before);
  });

  test("and a killed master takes its process along", async () => {
    await using proxy = await ProxyUnderTest.start(answer("one"));
    const children = descendants(proxy.command.pid);
    proxy.command.signal("SIGKILL");
    await proxy.command.exited;
    await expect.poll(() => children.filter(running), { timeout: 10_000 }).toEqual([]);
    // Its addresses are free for the next one.
    await using next = await ProxyUnderTest.start({
      ...answer("next"),
      listen: ["127.0.0.1:0", `unix:${proxy.socket}`],
    });
    expect(await text(next.url)).toBe("next");
  });
});

describe("limits", () => {
  test("of connections, all threads together", async () => {
    await using proxy = await ProxyUnderTest.start({ ...answer("hi"), limits: { connections: 5 } });
    const clients = await Promise.all(Array.from({ length: 5 }, () => RawClient.open(proxy.url)));
    for (const client of clients) {
      client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
      await client.until(/hi$/);
    }
    using sixth = await RawClient.open(proxy.url);
    expect(await sixth.closed()).toBe("");
    clients[0]![Symbol.dispose]();
    await expect.poll(() => text(proxy.url).catch(() => "refused")).toBe("hi");
    for (const client of clients) client[Symbol.dispose]();
  });

  test("of a head, its time and its size", async () => {
    await using proxy = await ProxyUnderTest.start({
      ...answer("hi"),
      timeouts: { header: "1s" },
      limits: { requestLine: 100, headerFields: 3 },
    });
    using slow = await RawClient.open(proxy.url);
    slow.send("GET / HTTP/1.1\r\nHo");
    expect(await slow.closed()).toMatch(/^HTTP\/1\.1 408 /);
    for (const [head, status] of [
      [`GET /${"a".repeat(100)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
      ["GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", 431],
    ] as const) {
      using client = await RawClient.open(proxy.url);
      client.send(head);
      expect(await client.closed()).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    }
  });

  test("of a body", async () => {
    await using proxy = await ProxyUnderTest.start(
      site({ path: "/*", limits: { bodySize: 10 }, respond: { body: "hi" } }),
    );
    const post = async (length: number): Promise<number> => {
      const { statusCode, body } = await request(proxy.url, { method: "POST", body: "x".repeat(length), reset: true });
      await body.dump();
      return statusCode;
    };
    expect(await post(10)).toBe(200);
    expect(await post(11)).toBe(413);
  });
});
