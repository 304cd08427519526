/**
 * The proxy in front of servers that are not ours: nginx, apache2, gunicorn with Flask, node:http, each with what it
 * can. What is asked is what every site asks: files, conditions, bodies of all sizes and framings, events, WebSockets.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { folder, freePort, missing, type Peer, program } from "../support/peers/peers.ts";
import { ProxyUnderTest } from "../support/proxy.ts";

const FILE = Buffer.from("0123456789abcdef".repeat(65_536));

interface Foreign {
  readonly name: string;
  readonly absent: string | undefined;
  readonly events: boolean;
  readonly upgrades: boolean;
  /** Starts it; resolves to its address for the proxy. */
  start(): Promise<{ readonly address: string; readonly peer: AsyncDisposable }>;
}

/**
 * The application that node:http serves, and that nginx passes on to. `duplex`: what it echoes leaves while the rest
 * still comes. Not behind nginx, which reads no more of a response than it has sent of the request: both stand still
 * then, with curl in our place too.
 */
function application(duplex: boolean): http.Server {
  const server = http.createServer((request, response) => {
    if (request.url === "/echo") {
      if (duplex) {
        request.pipe(response);
        return;
      }
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => response.end(Buffer.concat(parts)));
      return;
    }
    if (request.url === "/events") {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      let number = 0;
      const send = (): void => {
        response.write(`data: ${number} ${Date.now()}\n\n`);
        if (++number === 3) response.end();
        else setTimeout(send, 100);
      };
      send();
      return;
    }
    if (request.headers["if-none-match"] === '"file"') {
      response.writeHead(304, { ETag: '"file"' }).end();
      return;
    }
    response.writeHead(200, { ETag: '"file"', "Content-Length": FILE.length });
    response.end(request.method === "HEAD" ? undefined : FILE);
  });
  server.keepAliveTimeout = 75_000;
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  return server;
}

async function startApplication(
  duplex: boolean,
): Promise<{ readonly address: string; readonly peer: AsyncDisposable }> {
  const server = application(duplex).listen(0, "127.0.0.1");
  await once(server, "listening");
  const peer = {
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, peer };
}

const about = (name: string, at: Peer["at"]): Omit<Peer, keyof AsyncDisposable> => ({
  name,
  style: "each",
  pipelines: false,
  at,
});

const FOREIGN: readonly Foreign[] = [
  { name: "node:http", absent: undefined, events: true, upgrades: true, start: () => startApplication(true) },
  {
    name: "nginx",
    absent: missing("nginx"),
    events: true,
    upgrades: true,
    async start() {
      const own = folder("nginx");
      const behind = await startApplication(false);
      const port = await freePort();
      writeFileSync(join(own, "file"), FILE);
      writeFileSync(
        join(own, "nginx.conf"),
        `daemon off; master_process off; pid ${own}/pid; error_log stderr crit;
        events { worker_connections 256; }
        http {
          access_log off; client_body_temp_path ${own}/body; proxy_temp_path ${own}/proxy;
          fastcgi_temp_path ${own}/f; uwsgi_temp_path ${own}/u; scgi_temp_path ${own}/s; client_max_body_size 0;
          map $http_upgrade $hop { default upgrade; '' ''; }
          server {
            listen 127.0.0.1:${port};
            location = /file { root ${own}; }
            location / {
              proxy_pass ${behind.address}; proxy_http_version 1.1; proxy_buffering off;
              proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $hop;
            }
          }
        }`,
      );
      const args = ["-p", own, "-c", join(own, "nginx.conf"), "-e", "stderr"];
      const peer = await program(about("nginx", { port }), own, "nginx", args, [behind.peer]);
      return { address: `http://127.0.0.1:${port}`, peer };
    },
  },
  {
    name: "apache2",
    absent: missing("apache2"),
    events: false,
    upgrades: false,
    async start() {
      const own = folder("apache2");
      const port = await freePort();
      writeFileSync(join(own, "file"), FILE);
      const modules = ["mpm_event", "authz_core", "reflector"]
        .map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`)
        .join("\n");
      writeFileSync(
        join(own, "apache2.conf"),
        `${modules}
ServerRoot ${own}
ServerName localhost
DefaultRuntimeDir ${own}
PidFile ${own}/pid
Listen 127.0.0.1:${port}
ErrorLog ${own}/error.log
LogLevel crit
DocumentRoot ${own}
StartServers 1
ServerLimit 1
ThreadsPerChild 8
MaxRequestWorkers 8
MinSpareThreads 1
MaxSpareThreads 8
KeepAlive On
<Location /echo>
  SetHandler reflector
  ReflectorHeader Content-Type
</Location>
`,
      );
      const args = ["-D", "FOREGROUND", "-f", join(own, "apache2.conf")];
      return {
        address: `http://127.0.0.1:${port}`,
        peer: await program(about("apache2", { port }), own, "apache2", args),
      };
    },
  },
  {
    name: "gunicorn",
    absent: missing("gunicorn"),
    events: true,
    upgrades: false,
    async start() {
      const own = folder("gunicorn");
      const path = join(own, "gunicorn.sock");
      const fixtures = join(import.meta.dirname, "../fixtures/apps");
      const workers = ["--workers", "1", "--worker-class", "gthread", "--threads", "4", "--keep-alive", "30"];
      const args = ["--bind", `unix:${path}`, ...workers, "--chdir", fixtures, "--log-level", "critical"];
      const all = [...args, "--worker-tmp-dir", own, "--env", "PYTHONDONTWRITEBYTECODE=1", "flask_app:app"];
      return {
        address: `http+unix:${path}`,
        peer: await program(about("gunicorn", { path }), own, "gunicorn", all),
      };
    },
  },
];

const present = FOREIGN.filter(({ absent }) => absent === undefined);
for (const { name, absent } of FOREIGN) if (absent !== undefined) console.log(`${name}: left out, ${absent}`);

const peers: AsyncDisposable[] = [];
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
let proxy: ProxyUnderTest | undefined;

beforeAll(async () => {
  const starting = await Promise.allSettled(present.map((foreign) => foreign.start()));
  // Those that run are stopped at the end, whatever became of the others.
  for (const one of starting) if (one.status === "fulfilled") peers.push(one.value.peer);
  const started = starting.map((one) => {
    if (one.status === "rejected") throw one.reason;
    return one.value;
  });
  const name = (at: number): string => present[at]!.name.replace(":", "-");
  proxy = await ProxyUnderTest.start({
    threads: 1,
    limits: { bodySize: "64MiB" },
    upstreams: Object.fromEntries(
      started.map(({ address }, at) => [name(at), { servers: [address], keepAlive: "10s" }]),
    ),
    sites: present.map((_, at) => ({
      hosts: [`${name(at)}.test`],
      routes: [{ path: "/*", proxy: { upstream: name(at) } }],
    })),
  });
});

afterAll(async () => {
  agent.destroy();
  await proxy?.[Symbol.asyncDispose]();
  for (const peer of peers) await peer[Symbol.asyncDispose]();
});

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
  /** When each part came, milliseconds since the epoch. */
  readonly times: number[];
}

describe.each(present)("$name behind the proxy", ({ name, events, upgrades }) => {
  const host = `${name.replace(":", "-")}.test`;

  /** `parts`: sent in chunks, without a length. */
  function ask(
    path: string,
    options: { method?: string; headers?: http.OutgoingHttpHeaders; body?: Buffer; parts?: readonly Buffer[] } = {},
  ): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const length = options.body === undefined ? {} : { "Content-Length": options.body.length };
    const headers = { Host: host, ...length, ...options.headers };
    const request = http.request(
      new URL(path, proxy!.url),
      { agent, method: options.method ?? "GET", headers },
      (response) => {
        const parts: Buffer[] = [];
        const times: number[] = [];
        response.on("data", (part: Buffer) => {
          parts.push(part);
          times.push(Date.now());
        });
        response.on("error", reject);
        response.on("end", () =>
          resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(parts), times }),
        );
      },
    );
    request.on("error", reject);
    for (const part of options.parts ?? []) request.write(part);
    request.end(options.body);
    return promise;
  }

  test("gives a file whole, many times over kept connections", async () => {
    for (let count = 0; count < 30; count++) {
      const answer = await ask("/file");
      expect([answer.status, answer.body.equals(FILE)]).toEqual([200, true]);
    }
  });

  test("answers HEAD as GET, without a body", async () => {
    for (let count = 0; count < 3; count++) {
      const answer = await ask("/file", { method: "HEAD" });
      expect([answer.status, answer.body.length]).toEqual([200, 0]);
      expect(answer.headers["content-length"]).toBe(String(FILE.length));
    }
  });

  test("says that nothing has changed", async () => {
    const { etag } = (await ask("/file")).headers;
    const answer = await ask("/file", { headers: { "If-None-Match": etag! } });
    expect([answer.status, answer.body.length, answer.headers.etag]).toEqual([304, 0, etag]);
    expect((await ask("/file")).body.length).toBe(FILE.length);
  });

  test.each([1, 8_192, 100_000, 20_000_000])("takes %i bytes and gives them back", async (size) => {
    const body = randomBytes(size);
    const answer = await ask("/echo", {
      method: "POST",
      body,
      headers: { "Content-Type": "application/octet-stream" },
    });
    expect([answer.status, answer.body.equals(body)]).toEqual([200, true]);
  });

  test("takes a body of unknown length", async () => {
    const parts = [randomBytes(10), randomBytes(70_000), randomBytes(3)];
    const headers = { "Content-Type": "application/octet-stream" };
    const answer = await ask("/echo", { method: "POST", parts, headers });
    expect([answer.status, answer.body.equals(Buffer.concat(parts))]).toEqual([200, true]);
  });

  test.runIf(events)("has its events passed on as they come", async () => {
    const answer = await ask("/events");
    const sent = answer.body
      .toString()
      .trim()
      .split("\n\n")
      .map((line) => Number(line.split(" ")[2]));
    expect(sent).toHaveLength(3);
    // The first is here before the last was sent.
    expect(answer.times[0]!).toBeLessThan(sent[2]!);
  });

  test.runIf(upgrades)("speaks WebSocket", async () => {
    const socket = new WebSocket(proxy!.url.replace("http", "ws"), { headers: { Host: host } });
    const echoed = Promise.withResolvers<string>();
    socket.on("error", echoed.reject);
    socket.on("open", () => socket.send("hello"));
    socket.on("message", (data) => echoed.resolve((data as Buffer).toString()));
    expect(await echoed.promise).toBe("hello");
    socket.close();
    await once(socket, "close");
  });
});
