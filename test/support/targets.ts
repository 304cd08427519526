/**
 * What the one behaviour suite runs against: the server alone over HTTP, the proxy alone in front of node:http, and
 * both tiers over the link.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "./command.ts";

const behaviour = join(import.meta.dirname, "../fixtures/apps/behaviour/app.ts");
const reference = join(import.meta.dirname, "../fixtures/apps/behaviour/reference.ts");

export interface Target extends AsyncDisposable {
  /** Without a slash at the end. */
  readonly url: string;
}

export interface TargetKind {
  readonly name: string;
  /** True where the proxy takes part, and so its promises hold: buffering, error pages, its own limits. */
  readonly front: boolean;
  start(): Promise<Target>;
}

export const targets: readonly TargetKind[] = [
  {
    name: "server alone, HTTP",
    front: false,
    start: async () => {
      const command = new Command("server", [behaviour, "-b", "127.0.0.1:0", "-w", "2"]);
      const [, url] = await command.printed(/ready on (http:\/\/127\.0\.0\.1:\d+)/);
      return { url: url!, [Symbol.asyncDispose]: () => command[Symbol.asyncDispose]() };
    },
  },
  {
    name: "proxy alone, in front of node:http",
    front: true,
    start: async () => {
      const folder = mkdtempSync(join(tmpdir(), "portico-target-"));
      const { upstream, stop } = await startReference();
      const file = join(folder, "proxy.json");
      writeFileSync(
        file,
        JSON.stringify({
          listen: ["127.0.0.1:0"],
          threads: 2,
          upstreams: { app: { servers: [upstream] } },
          limits: { bodySize: "64MiB" },
          sites: [{ hosts: ["*"], routes: [{ path: "/*", proxy: { upstream: "app" } }] }],
        }),
      );
      const command = new Command("proxy", ["-c", file]);
      const [, url] = await command.printed(/ready on (http:\/\/127\.0\.0\.1:\d+)/);
      return {
        url: url!,
        [Symbol.asyncDispose]: async () => {
          await command[Symbol.asyncDispose]();
          stop();
          rmSync(folder, { recursive: true });
        },
      };
    },
  },
  {
    name: "both tiers, link",
    front: true,
    start: async () => {
      const command = new Command("portico", [
        "serve",
        behaviour,
        "--listen",
        "127.0.0.1:0",
        "--workers",
        "2",
        "--body-size",
        "64MiB",
      ]);
      const [, url] = await command.printed(/ready on (http:\/\/127\.0\.0\.1:\d+)/);
      return { url: url!, [Symbol.asyncDispose]: () => command[Symbol.asyncDispose]() };
    },
  },
];

async function startReference(): Promise<{ upstream: string; stop: () => void }> {
  // As large as the heads that the proxy lets through; Node's own limit is half of that.
  const args = ["--max-http-header-size=65536", "--conditions=@portico/source", reference];
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  const upstream = await new Promise<string>((resolve, reject) => {
    child.stdout?.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      const url = /listening on (\S+)/.exec(output)?.[1];
      if (url !== undefined) resolve(url);
    });
    child.once("exit", (code) => reject(new Error(`the reference server ended with ${code}`)));
  });
  return { upstream, stop: () => child.kill("SIGKILL") };
}
