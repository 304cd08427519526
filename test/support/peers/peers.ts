/**
 * Other people's servers, each started with the plainest configuration that lets it say what it read. nginx, haproxy
 * and apache2 pass what they read on to our server, which says it; gunicorn runs a WSGI application.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { Command } from "../command.ts";
import type { FieldStyle } from "./reading.ts";

export interface Peer extends AsyncDisposable {
  readonly name: string;
  readonly style: FieldStyle;
  /** Reads message after message on one connection. */
  readonly pipelines: boolean;
  /** Targets that are the same to it, by design, become the same. */
  readonly target?: (target: string) => string;
  /** Where it listens: a port, or the path of a unix socket. */
  readonly at: { readonly port: number } | { readonly path: string };
}

export interface PeerKind {
  readonly name: string;
  /** Why it cannot take part here; undefined where it can. */
  readonly absent: string | undefined;
  start(): Promise<Peer>;
}

const fixtures = join(import.meta.dirname, "../../fixtures/apps");
const echo = join(fixtures, "echo.mjs");

/** As apache2 writes a path anew that it cannot match as it came: decoded, dot segments resolved, several slashes in front as one. */
function canonicalPath(target: string): string {
  const query = target.indexOf("?");
  const path = (query < 0 ? target : target.slice(0, query)).replaceAll(/%([0-9A-Fa-f]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
  const segments: string[] = [];
  for (const segment of path.split("/").slice(1)) {
    if (segment === "..") segments.pop();
    else if (segment !== ".") segments.push(segment);
  }
  const resolved = `/${segments.join("/")}${/\/\.{1,2}$/.test(path) ? "/" : ""}`;
  return resolved.replace(/^\/+/, "/") + (query < 0 ? "" : target.slice(query));
}

export function missing(command: string): string | undefined {
  return spawnSync(command, ["-v"], { stdio: "ignore" }).error === undefined
    ? undefined
    : `${command} is not installed`;
}

/** A program with a folder of its own, both gone at the end. */
export async function program(
  peer: Omit<Peer, keyof AsyncDisposable>,
  folder: string,
  command: string,
  args: readonly string[],
  also: AsyncDisposable[] = [],
): Promise<Peer> {
  const child = spawn(command, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const exited = once(child, "close");
  await answers(peer.at, child, () => output);
  return {
    ...peer,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await exited;
      for (const each of also) await each[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** How long a program may take until it accepts connections, and how often that is tried. */
const START_MS = 15_000;
const TRY_MS = 20;

/** These programs do not say when they are ready: it is when they accept a connection. */
async function answers(at: Peer["at"], child: ChildProcess, output: () => string): Promise<void> {
  for (const end = performance.now() + START_MS; performance.now() < end; await setTimeout(TRY_MS)) {
    if (child.exitCode !== null) break;
    const socket = connect("path" in at ? at : { ...at, host: "127.0.0.1" });
    const [event] = await Promise.race([
      once(socket, "connect").then(() => ["connect"]),
      once(socket, "close").then(() => ["close"]),
    ]).catch(() => ["error"]);
    socket.destroy();
    if (event === "connect") return;
  }
  throw new Error(`${child.spawnfile} did not start:\n${output()}`);
}

export function folder(name: string): string {
  return mkdtempSync(join(tmpdir(), `portico-${name}-`));
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** node:http as it comes, saying what it reads. */
async function startNode(): Promise<Peer> {
  const { default: handler } = await import(echo);
  const server = createServer({ maxHeaderSize: 128 * 1024, keepAliveTimeout: 60_000 }, handler);
  server.maxHeadersCount = 0;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    name: "node:http",
    style: "each",
    pipelines: true,
    at: { port: (server.address() as AddressInfo).port },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** Our own server, whose application says what it reads. It takes any method, so it is also what the others pass theirs on to. */
async function startServer(): Promise<Peer & { readonly at: { readonly port: number } }> {
  const command = new Command("server", [echo, "-b", "127.0.0.1:0", "-w", "1"]);
  const [, url] = await command.printed(/ready on (http:\/\/127\.0\.0\.1:\d+)/);
  return {
    name: "portico-server",
    style: "each",
    pipelines: true,
    at: { port: Number(new URL(url!).port) },
    [Symbol.asyncDispose]: () => command[Symbol.asyncDispose](),
  };
}

export const peerKinds: readonly PeerKind[] = [
  { name: "node:http", absent: undefined, start: startNode },
  {
    name: "portico-server",
    absent: undefined,
    start: startServer,
  },
  {
    name: "nginx",
    absent: missing("nginx"),
    async start() {
      const own = folder("nginx");
      const backend = await startServer();
      const path = join(own, "nginx.sock");
      writeFileSync(
        join(own, "nginx.conf"),
        `daemon off; master_process off; pid ${own}/pid; error_log stderr crit;
        events { worker_connections 512; }
        http {
          access_log off; client_body_temp_path ${own}/body; proxy_temp_path ${own}/proxy;
          fastcgi_temp_path ${own}/f; uwsgi_temp_path ${own}/u; scgi_temp_path ${own}/s;
          underscores_in_headers on; ignore_invalid_headers off; keepalive_requests 1000000; merge_slashes off;
          client_header_buffer_size 64k; large_client_header_buffers 8 64k; proxy_headers_hash_max_size 4096;
          upstream echo { server 127.0.0.1:${backend.at.port}; keepalive 8; keepalive_requests 1000000; }
          server {
            listen unix:${path};
            location / {
              proxy_pass http://echo; proxy_http_version 1.1; proxy_buffer_size 64k; proxy_buffers 8 64k;
              proxy_set_header Host $http_host; proxy_set_header Connection "";
            }
          }
        }`,
      );
      const args = ["-p", own, "-c", join(own, "nginx.conf"), "-e", "stderr"];
      return program({ name: "nginx", style: "each", pipelines: true, at: { path } }, own, "nginx", args, [backend]);
    },
  },
  {
    name: "haproxy",
    absent: missing("haproxy"),
    async start() {
      const own = folder("haproxy");
      const backend = await startServer();
      const path = join(own, "haproxy.sock");
      writeFileSync(
        join(own, "haproxy.cfg"),
        `global
  maxconn 256
  tune.bufsize 131072
  tune.http.maxhdr 400
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend in
  bind unix@${path}
  default_backend echo
backend echo
  http-reuse always
  server echo 127.0.0.1:${backend.at.port}
`,
      );
      const args = ["-db", "-q", "-f", join(own, "haproxy.cfg")];
      return program({ name: "haproxy", style: "each", pipelines: true, at: { path } }, own, "haproxy", args, [
        backend,
      ]);
    },
  },
  {
    name: "apache2",
    absent: missing("apache2"),
    async start() {
      const own = folder("apache2");
      const backend = await startServer();
      const port = await freePort();
      const modules = ["mpm_event", "authz_core", "proxy", "proxy_http"]
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
StartServers 1
ServerLimit 1
ThreadsPerChild 8
MaxRequestWorkers 8
MinSpareThreads 1
MaxSpareThreads 8
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
LimitRequestFields 0
LimitRequestFieldSize 65536
LimitRequestLine 65536
AllowEncodedSlashes NoDecode
MergeSlashes Off
ProxyPreserveHost On
ProxyAddHeaders Off
ProxyPass / http://127.0.0.1:${backend.at.port}/ nocanon
`,
      );
      const args = ["-D", "FOREGROUND", "-f", join(own, "apache2.conf")];
      const target = canonicalPath;
      const peer = { name: "apache2", style: "joined", pipelines: true, at: { port }, target } as const;
      return program(peer, own, "apache2", args, [backend]);
    },
  },
  {
    name: "gunicorn",
    absent: missing("gunicorn"),
    async start() {
      const own = folder("gunicorn");
      const path = join(own, "gunicorn.sock");
      const args = ["--bind", `unix:${path}`, "--workers", "1", "--chdir", fixtures, "--log-level", "critical"];
      const limits = ["--limit-request-line", "8190", "--limit-request-fields", "200", "echo:app"];
      const peer = { name: "gunicorn", style: "cgi", pipelines: false, at: { path } } as const;
      return program(peer, own, "gunicorn", [...args, "--worker-tmp-dir", own, ...limits]);
    },
  },
];
