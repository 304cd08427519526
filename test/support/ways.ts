/**
 * The ways to one application: the server alone over TCP and over a unix socket, both tiers over the link, and behind
 * nginx as one would configure it. Suites that must see the same on each run over all.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingHttpHeaders, type IncomingMessage, request, type RequestOptions } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { apps, ServerUnderTest } from "./server.ts";
import { Playground, StackUnderTest } from "./stack.ts";

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The body as JSON; undefined where it is none. */
  readonly json: unknown;
}

/** One way, open. */
export class Way implements AsyncDisposable {
  /** Where to connect. */
  readonly target: RequestOptions;
  readonly #close: () => Promise<void>;

  constructor(target: RequestOptions, close: () => Promise<void>) {
    this.target = { agent: false, ...target };
    this.#close = close;
  }

  /** Sends a request without body, and gives the response as it begins. */
  async open(path: string, options: RequestOptions = {}): Promise<IncomingMessage> {
    const sent = request({ ...this.target, path, ...options }).end();
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    return response;
  }

  async ask(path: string, options: RequestOptions = {}): Promise<Reply> {
    const response = await this.open(path, options);
    const body = Buffer.concat(await response.toArray());
    const isJson = response.headers["content-type"]?.startsWith("application/json") === true;
    return {
      status: response.statusCode!,
      headers: response.headers,
      body,
      json: isJson ? JSON.parse(body.toString()) : undefined,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}

export interface Front {
  readonly name: string;
  /** Something stands between the client and the server, and speaks for the client. */
  readonly hasFront: boolean;
  start(app: string): Promise<Way>;
}

const nginxIsThere = spawnSync("nginx", ["-v"]).error === undefined;

export const fronts: readonly Front[] = [
  {
    name: "server alone, TCP",
    hasFront: false,
    async start(app) {
      const server = await ServerUnderTest.start(app);
      return new Way(tcp(server.url), () => server[Symbol.asyncDispose]());
    },
  },
  {
    name: "server alone, unix",
    hasFront: false,
    async start(app) {
      const server = await ServerUnderTest.start(app);
      return new Way({ socketPath: server.socket }, () => server[Symbol.asyncDispose]());
    },
  },
  {
    name: "both tiers, link",
    hasFront: true,
    async start(app) {
      const playground = new Playground();
      const stack = await StackUnderTest.start(playground, join(apps, app), ["--body-size", "2GiB"]);
      return new Way(tcp(stack.url), async () => {
        await stack[Symbol.asyncDispose]();
        playground[Symbol.dispose]();
      });
    },
  },
  ...(nginxIsThere ? [{ name: "behind nginx", hasFront: true, start: startBehindNginx }] : []),
];

function tcp(url: string): RequestOptions {
  const { hostname, port } = new URL(url);
  return { host: hostname, port };
}

/** nginx listens on a unix socket of its own, so no port has to be found for it. */
async function startBehindNginx(app: string): Promise<Way> {
  const server = await ServerUnderTest.start(app);
  const folder = mkdtempSync(join(tmpdir(), "portico-nginx-"));
  const port = await freePort();
  const file = join(folder, "nginx.conf");
  writeFileSync(file, nginxConfiguration(folder, port, server.socket));
  const nginx = spawn("nginx", ["-p", folder, "-e", "stderr", "-c", file], { stdio: ["ignore", "ignore", "pipe"] });
  const way = new Way({ host: "127.0.0.1", port }, async () => {
    await stopped(nginx);
    await server[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  try {
    await started(nginx);
    return way;
  } catch (error) {
    await way[Symbol.asyncDispose]();
    throw error;
  }
}

/** As the guide recommends it for a server on a unix socket. */
function nginxConfiguration(folder: string, port: number, socket: string): string {
  return `daemon off; master_process off; worker_processes 1; pid ${folder}/nginx.pid; error_log stderr notice;
events { worker_connections 256; }
http {
  access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
  upstream app { server unix:${socket}; keepalive 8; }
  server {
    listen 127.0.0.1:${port}; client_max_body_size 2g;
    location / {
      proxy_pass http://app; proxy_http_version 1.1;
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Forwarded ""; proxy_set_header Connection $connection_upgrade; proxy_set_header TE $http_te;
      proxy_request_buffering off; proxy_buffering off;
    }
  }
}
`;
}

/** nginx says that it has begun when it listens. */
async function started(nginx: ChildProcess): Promise<void> {
  let said = "";
  await new Promise<void>((resolve, reject) => {
    nginx.stderr?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (/start worker process|using the "epoll" event method/.test(said)) resolve();
    });
    nginx.once("exit", (code) => reject(new Error(`nginx ended with ${code}: ${said}`)));
  });
}

async function stopped(nginx: ChildProcess): Promise<void> {
  if (nginx.exitCode !== null || nginx.signalCode !== null) return;
  nginx.kill("SIGTERM");
  await once(nginx, "exit");
}

async function freePort(): Promise<number> {
  const { createServer } = await import("node:net");
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, "close");
  return port;
}
