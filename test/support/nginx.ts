/** nginx before a server on a unix socket, as one would configure it, with connections kept alive; or serving files. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const nginxIsThere: boolean = spawnSync("nginx", ["-v"]).error === undefined;

export class NginxUnderTest implements AsyncDisposable {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(url: string, child: ChildProcess, folder: string) {
    this.url = url;
    this.#child = child;
    this.#folder = folder;
  }

  static start(socket: string): Promise<NginxUnderTest> {
    return NginxUnderTest.#run((port) => forwarding(port, socket));
  }

  static serving(root: string): Promise<NginxUnderTest> {
    return NginxUnderTest.#run(
      (port) => `types { text/plain txt; } server { listen 127.0.0.1:${port}; root ${root}; index index.html; }`,
    );
  }

  static async #run(http: (port: number) => string): Promise<NginxUnderTest> {
    const folder = mkdtempSync(join(tmpdir(), "portico-nginx-"));
    const port = await freePort();
    const file = join(folder, "nginx.conf");
    writeFileSync(file, configuration(folder, http(port)));
    const child = spawn("nginx", ["-p", folder, "-e", "stderr", "-c", file], { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    await new Promise<void>((resolve, reject) => {
      child.stderr?.on("data", (chunk: Buffer) => {
        said += chunk.toString();
        if (/using the "epoll" event method/.test(said)) resolve(); // it listens by then
      });
      child.once("exit", (code) => reject(new TypeError(`nginx ended with ${code}: ${said}`)));
    });
    return new NginxUnderTest(`http://127.0.0.1:${port}`, child, folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill("SIGTERM");
      await once(this.#child, "exit");
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function configuration(folder: string, http: string): string {
  return `daemon off; master_process off; worker_processes 1; pid ${folder}/nginx.pid; error_log stderr notice;
events { worker_connections 1024; }
http {
  access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  ${http}
}
`;
}

function forwarding(port: number, socket: string): string {
  return `upstream app { server unix:${socket} max_fails=0; keepalive 16; }
  server {
    listen 127.0.0.1:${port} backlog=1024; keepalive_requests 1000000;
    location / {
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
    }
  }`;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}
