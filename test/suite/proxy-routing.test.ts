/** Routing as a client meets it: what is told apart, changed, divided, copied and refused; who is believed about whom. */
import { once } from "node:events";
import { type IncomingMessage, createServer } from "node:http";
import { spawn } from "node:child_process";
import { createServer as createTcpServer } from "node:net";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { Agent, request } from "undici";
import { bins, Command } from "../support/command.ts";
import { type ConfigObject, ProxyUnderTest, site } from "../support/proxy.ts";
import { RawClient } from "../support/raw.ts";

interface App extends AsyncDisposable {
  readonly url: string;
  readonly asked: { method: string; url: string; body: string; host: string }[];
}

/** An application that keeps what it was asked, and answers with its name. */
async function startApp(
  name: string,
  answer?: (request: IncomingMessage, body: string) => { status: number; body: string } | undefined,
): Promise<App> {
  const asked: App["asked"] = [];
  const server = createServer((message, response) => {
    let body = "";
    message.on("data", (chunk: Buffer) => (body += chunk.toString()));
    message.on("end", () => {
      asked.push({ method: message.method!, url: message.url!, body, host: message.headers.host! });
      const given = answer?.(message, body) ?? { status: 200, body: `${name} ${message.url}` };
      if (given.status > 0) response.writeHead(given.status, { "retry-after": "9" }).end(given.body);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

type Options = Parameters<typeof request>[1];
async function get(
  url: string,
  options: Options = {},
): Promise<{ status: number; text: string; headers: Record<string, unknown> }> {
  const { statusCode, headers, body } = await request(url, { reset: true, ...options });
  return { status: statusCode, text: await body.text(), headers };
}

describe("requests", () => {
  test("are told apart, rewritten and redirected as the configuration says", async () => {
    await using app = await startApp("app");
    await using proxy = await ProxyUnderTest.start({
      upstreams: { app: { servers: [app.url] } },
      ...site(
        {
          path: "/api/*",
          match: { headers: { "x-version": "2" } },
          rewrite: { stripPrefix: "/api", addPrefix: "/v2" },
          proxy: { upstream: "app" },
        },
        { path: "/api/*", rewrite: { stripPrefix: "/api" }, proxy: { upstream: "app" } },
        { path: "~^/user/(?<id>\\d+)$", rewrite: { to: "/users?id=$id" }, proxy: { upstream: "app" } },
        { path: "/img/*.png", respond: { body: "picture" } },
        { path: "/old/*", redirect: { to: "/new/$1$query", status: 301 } },
        { path: "/*", match: { cookies: { beta: "yes" } }, respond: { body: "beta" } },
      ),
    });
    expect((await get(`${proxy.url}/api/a%20b?c=d`)).text).toBe("app /a%20b?c=d");
    expect((await get(`${proxy.url}/api/x`, { headers: { "X-Version": "2" } })).text).toBe("app /v2/x");
    expect((await get(`${proxy.url}/user/42`)).text).toBe("app /users?id=42");
    expect((await get(`${proxy.url}/user/x`)).status).toBe(404);
    expect((await get(`${proxy.url}/img/a.png`)).text).toBe("picture");
    expect((await get(`${proxy.url}/old/a/b?x`)).headers["location"]).toBe("/new/a/b?x");
    expect((await get(proxy.url, { headers: { cookie: "beta=yes" } })).text).toBe("beta");
    using client = await RawClient.open(proxy.url);
    client.send("GET /api/../../etc HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 400 /);
    expect(app.asked.length).toBe(3);
  });

  test("go to the one address of their site, unless it is a certificate's challenge", async () => {
    await using proxy = await ProxyUnderTest.start({
      sites: [
        {
          hosts: ["*.a.test", "a.test"],
          canonical: "https://a.test",
          routes: [{ path: "/*", respond: { body: "plain" } }],
        },
      ],
    });
    const asked = await get(`${proxy.url}/x?y`, { headers: { host: "www.a.test:8080" } });
    expect([asked.status, asked.headers["location"]]).toEqual([308, "https://a.test/x?y"]);
    const challenge = await get(`${proxy.url}/.well-known/acme-challenge/t`, { headers: { host: "a.test" } });
    expect(challenge.text).toBe("plain");
    expect((await get(proxy.url, { headers: { host: "b.test" } })).status).toBe(421);
  });
});

describe("split", () => {
  test("divides, and a cookie keeps a client where it was drawn", async () => {
    await using stable = await startApp("stable");
    await using canary = await startApp("canary");
    await using proxy = await ProxyUnderTest.start({
      upstreams: { stable: { servers: [stable.url] }, canary: { servers: [canary.url] } },
      ...site({ path: "/*", proxy: { split: { upstreams: { stable: 1, canary: 1 }, by: "cookie:release" } } }),
    });
    const drawn = new Map<string, string>();
    for (let index = 0; index < 40; index++) {
      const { text, headers } = await get(proxy.url);
      drawn.set(text.split(" ")[0]!, String(headers["set-cookie"]).split(";")[0]!);
    }
    // Forty equal draws that all fall to one side: once in 5 · 10^11 runs.
    expect([...drawn.keys()].sort()).toEqual(["canary", "stable"]);
    for (const [name, cookie] of drawn) {
      for (let index = 0; index < 5; index++) {
        const again = await get(proxy.url, { headers: { cookie } });
        expect([again.text, again.headers["set-cookie"]]).toEqual([`${name} /`, undefined]);
      }
    }
  });
});

describe("mirror", () => {
  const config = (app: App, shadow: string): ConfigObject => ({
    upstreams: {
      app: { servers: [app.url] },
      shadow: { servers: [shadow], responseTimeout: "1s", connectTimeout: "1s" },
    },
    ...site({ path: "/*", proxy: { upstream: "app", mirror: { upstream: "shadow", bodySize: 1000, concurrency: 3 } } }),
    log: { error: "off" },
  });

  test("gets what the application gets, and nobody sees its answers", async () => {
    await using app = await startApp("app");
    await using shadow = await startApp("shadow", () => ({ status: 500, body: "broken" }));
    await using proxy = await ProxyUnderTest.start(config(app, shadow.url));
    expect((await get(`${proxy.url}/a?b`)).text).toBe("app /a?b");
    const posted = await get(`${proxy.url}/p`, { method: "POST", body: "x".repeat(1000) });
    expect([posted.status, posted.text]).toEqual([200, "app /p"]);
    expect((await get(`${proxy.url}/large`, { method: "POST", body: "x".repeat(1001) })).text).toBe("app /large");
    await expect.poll(() => shadow.asked.length).toBe(2);
    const plain = ({ method, url, body }: App["asked"][number]): string => `${method} ${url} ${body.length}`;
    expect(shadow.asked.map(plain).sort()).toEqual(["GET /a?b 0", "POST /p 1000"]);
    expect(app.asked.map(plain)).toEqual(["GET /a?b 0", "POST /p 1000", "POST /large 1001"]);
  });

  test("that hangs or is not there delays and fails nothing", async () => {
    await using app = await startApp("app");
    await using hanging = await startApp("hanging", () => ({ status: 0, body: "" }));
    const nobody = createTcpServer().listen(0, "127.0.0.1");
    await once(nobody, "listening");
    const { port } = nobody.address() as { port: number };
    nobody.close();
    for (const shadow of [hanging.url, `http://127.0.0.1:${port}`]) {
      await using proxy = await ProxyUnderTest.start(config(app, shadow));
      const agent = new Agent({ connections: 4 });
      const answers = await Promise.all(
        Array.from({ length: 40 }, (_, index) =>
          get(`${proxy.url}/${index}`, { dispatcher: agent, reset: false, method: "POST", body: `${index}` }),
        ),
      );
      expect(answers.map(({ text }) => text)).toEqual(Array.from({ length: 40 }, (_, index) => `app /${index}`));
      await agent.close();
    }
    // Three at once for each of two threads; forty requests came far faster than its one second.
    expect(hanging.asked.length).toBeLessThanOrEqual(6);
  });
});

describe("error pages", () => {
  test("are the site's own, also in place of an application's", async () => {
    await using app = await startApp("app", ({ url }) =>
      url === "/fails" ? { status: 503, body: "stack trace of theirs" } : undefined,
    );
    await using proxy = await ProxyUnderTest.start(
      {
        upstreams: { app: { servers: [app.url] }, dead: { servers: ["http://127.0.0.1:1"] } },
        sites: [
          {
            hosts: ["*"],
            errorPages: { pages: { "5xx": "5xx.html", 404: "404.html" }, intercept: true },
            routes: [
              { path: "/dead", proxy: { upstream: "dead" } },
              { path: "/files/*", static: { root: "files" } },
              { path: "/fails", proxy: { upstream: "app" } },
              { path: "/works", proxy: { upstream: "app" } },
            ],
          },
        ],
      },
      { files: { "5xx.html": "<p>{{status}} ours, id {{id}}</p>", "404.html": "nothing here", "files/a": "a" } },
    );
    const html = { headers: { accept: "text/html" } };
    const fails = await get(`${proxy.url}/fails`, html);
    expect([fails.status, fails.headers["retry-after"], fails.headers["content-type"]]).toEqual([
      503,
      "9",
      "text/html; charset=utf-8",
    ]);
    expect(fails.text).toBe(`<p>503 ours, id ${String(fails.headers["x-request-id"])}</p>`);
    expect((await get(`${proxy.url}/dead`, html)).text).toMatch(/^<p>502 ours, id \S+<\/p>$/);
    expect((await get(`${proxy.url}/files/none`, html)).text).toBe("nothing here");
    expect((await get(`${proxy.url}/none`, html)).text).toBe("nothing here");
    expect((await get(`${proxy.url}/works`, html)).text).toBe("app /works");
    // What cannot be put in force is known before anything changes.
    const from = proxy.command.output.length;
    proxy.configure({ ...site({ path: "/*", respond: {} }), errorPages: { pages: { 404: "gone.html" } } });
    proxy.command.signal("SIGHUP");
    await proxy.command.printed(/reload refused[^]*errorPages\.pages\["404"\]: there is no file .*gone\.html/, from);
  });
});

describe("who the client is", () => {
  const echo = (trusted: string[], more: ConfigObject = {}): ConfigObject => ({
    listen: [{ host: "127.0.0.1", port: 0, proxyProtocol: { trusted, timeout: "300ms" } }],
    ...site(
      { path: "/*", match: { clients: ["192.0.2.0/24"] }, respond: { body: "by header" } },
      { path: "/*", match: { clients: ["2001:db8::/32"] }, respond: { body: "by block" } },
      { path: "/*", match: { clients: ["198.51.100.0/24"] }, respond: { body: "forwarded" } },
      { path: "/*", respond: { body: "by socket" } },
    ),
    ...more,
  });
  const V1 = "PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\n";
  const V2 = Buffer.concat([
    Buffer.from("0d0a0d0a000d0a515549540a2121 0024".replace(" ", ""), "hex"),
    Buffer.from("20010db8000000000000000000000007".repeat(2), "hex"),
    Buffer.from("13880050", "hex"),
  ]);
  const GET = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

  test("a trusted balancer says it in front of the connection, whole or byte by byte", async () => {
    await using proxy = await ProxyUnderTest.start(echo(["loopback"]));
    for (const [header, expected] of [
      [Buffer.from(V1), "by header"],
      [V2, "by block"],
      [Buffer.from("PROXY UNKNOWN\r\n"), "by socket"],
    ] as const) {
      using whole = await RawClient.open(proxy.url);
      whole.send(Buffer.concat([header, Buffer.from(GET)]));
      expect(await whole.closed()).toContain(expected);
      using slow = await RawClient.open(proxy.url);
      slow.socket.setNoDelay(true);
      for (const byte of Buffer.concat([header, Buffer.from(GET)])) slow.send(Uint8Array.of(byte));
      expect(await slow.closed()).toContain(expected);
    }
  });

  test("who leaves the header out, sends another or takes too long is cut off, and holds up nobody", async () => {
    await using proxy = await ProxyUnderTest.start(echo(["loopback"]));
    for (const bytes of [GET, "PROXY TCP4 nonsense\r\n", V1.slice(0, 20), ""]) {
      using client = await RawClient.open(proxy.url);
      client.send(bytes);
      expect(await client.closed()).toBe("");
    }
    using client = await RawClient.open(proxy.url);
    client.send(V1 + GET);
    expect(await client.closed()).toContain("by header");
  });

  test("nobody else is believed, and the balancer's trust does not go over to its clients", async () => {
    await using untrusting = await ProxyUnderTest.start(echo(["10.0.0.0/8"]));
    using liar = await RawClient.open(untrusting.url);
    liar.send(V1 + GET);
    expect(await liar.closed()).toMatch(/^HTTP\/1\.1 400 /);
    using plain = await RawClient.open(untrusting.url);
    plain.send(GET);
    expect(await plain.closed()).toContain("by socket");

    const forged = GET.replace("Connection", "X-Forwarded-For: 198.51.100.9\r\nConnection");
    await using proxy = await ProxyUnderTest.start(echo(["loopback"], { trustedProxies: ["loopback"] }));
    using client = await RawClient.open(proxy.url);
    client.send(V1 + forged);
    expect(await client.closed()).toContain("by header");
    // Where the one the header names is trusted, its word counts.
    await using both = await ProxyUnderTest.start(echo(["loopback"], { trustedProxies: ["192.0.2.0/24"] }));
    using trusted = await RawClient.open(both.url);
    trusted.send(V1 + forged);
    expect(await trusted.closed()).toContain("forwarded");
  });
});

describe("listening", () => {
  test("on a socket that systemd passed, by its name", async () => {
    const listener = createTcpServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address() as { port: number };
    const { fd } = (listener as unknown as { _handle: { fd: number } })._handle;
    await using parked = await ProxyUnderTest.start(site({ path: "/*", respond: {} }), {
      files: {
        "systemd.json": JSON.stringify({
          listen: ["systemd:web"],
          threads: 2,
          ...site({ path: "/*", respond: { body: "activated" } }),
        }),
      },
    });
    // LISTEN_PID is the process's own: a shell knows it before it becomes the proxy.
    const child = spawn(
      "/bin/sh",
      [
        "-c",
        'LISTEN_PID=$$ exec "$0" "$@"',
        process.execPath,
        "--conditions=@portico/source",
        bins.proxy,
        "-c",
        parked.path("systemd.json"),
      ],
      { stdio: ["ignore", "pipe", "inherit", fd], env: { ...process.env, LISTEN_FDS: "1", LISTEN_FDNAMES: "web" } },
    );
    const exited = once(child, "exit");
    try {
      let output = "";
      child.stdout!.on("data", (chunk: Buffer) => (output += chunk.toString()));
      await expect.poll(() => output, { timeout: 20_000 }).toContain(`ready on http://127.0.0.1:${port}`);
      // Ours must not take the connection.
      listener.close();
      expect((await get(`http://127.0.0.1:${port}`)).text).toBe("activated");
    } finally {
      child.kill("SIGTERM");
      await exited;
    }
  });

  test("on IPv4, IPv6 and a unix socket with an owner, all at once", async () => {
    await using proxy = await ProxyUnderTest.start({
      ...site({ path: "/*", respond: { body: "hi" } }),
      listen: ["127.0.0.1:0", "[::1]:0", { unix: "p.sock", mode: "0600", owner: String(process.getuid!()) }],
    });
    const [, v6] = await proxy.command.printed(/(http:\/\/\[::1\]:\d+)/);
    expect((await get(v6!)).text).toBe("hi");
    const agent = new Agent({ connect: { socketPath: proxy.socket } });
    expect((await get("http://a/", { dispatcher: agent, reset: false })).text).toBe("hi");
    await agent.close();
  });

  test("everywhere is said in a way that a browser takes", async () => {
    await using parked = await ProxyUnderTest.start(site({ path: "/*", respond: {} }), {
      files: { "all.json": JSON.stringify({ listen: [0], ...site({ path: "/*", respond: { body: "hi" } }) }) },
    });
    await using command = new Command("proxy", ["-c", parked.path("all.json")]);
    const [, url] = await command.printed(/ready on (\S+) \(/);
    expect(url).toMatch(/^http:\/\/localhost:\d+$/);
    expect((await get(url!)).text).toBe("hi");
  });
});

describe("explain", () => {
  const ask = async (...args: string[]): Promise<string> => {
    const file = fileURLToPath(new URL("../corpus/config/valid/routing.yaml", import.meta.url));
    await using command = new Command("proxy", ["-c", file, "explain", ...args]);
    const { code } = await command.exited;
    return code === 0 ? command.output : `${code} ${command.output}`;
  };

  test("says which route, and why not the others", async () => {
    const found = await ask("GET", "http://www.example.com/api/users?x=1", "-H", "X-Beta: 1");
    expect(found).toContain('host   www.example.com is of sites[0], by the wildcard "*.example.com"');
    expect(found).toMatch(/route {2}sites\[0\]\.routes\[\d\] "\/api\/\*": proxy/);
    expect(found).toContain("another method: it takes POST");
    expect(found).toContain("it asks for cookie beta");
    expect(found).toContain("a longer prefix goes before it");
    expect(found).toContain('"bodySize": "10MiB"');
  });

  test.each([
    [["GET", "http://nobody.test/"], "421: no site has this host"],
    [["PUT", "http://www.example.com/form"], "405: no route takes this method"],
    [["GET", "http://old.example.org/x"], "308 to https://example.org/x"],
    [["GET", "example.com"], "2 portico-proxy: example.com: must be a URL"],
    [["GET", "http://www.example.com/", "-H", "nonsense"], 'must be "Name: value"'],
  ] as const)("%j: %s", async (args, expected) => {
    expect(await ask(...args)).toContain(expected);
  });
});
