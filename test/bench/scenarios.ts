/**
 * What is measured, against whom, and what it must reach (docs: performance).
 *
 * A system under test is a set of processes and a URL. Both sides of a scenario give the same answer, byte for byte in
 * the body, with the access log off.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { accepting, launch, type Launched, which } from "./processes.ts";
import { nginxProxy, nginxStatic } from "./nginx.ts";

export interface System {
  readonly url: string;
  readonly body: Uint8Array;
  /** Processes whose CPU counts; their descendants count too. */
  readonly measured: readonly Launched[];
  readonly all: readonly Launched[];
}

export interface Scenario {
  readonly name: string;
  readonly connections: number;
  readonly peerName: string;
  /** Programs without which the peer cannot run. */
  readonly needs: readonly string[];
  readonly due: number;
  readonly aim: number;
  ours(folder: string): Promise<System>;
  peer(folder: string): Promise<System>;
}

const here = import.meta.dirname;
const root = join(here, "../..");
const node = process.execPath;
const source = "--conditions=@portico/source";
const target = (name: string): string => join(here, "targets", name);

const HELLO = Buffer.from("Hello from the application, exactly fifty bytes.\n\n");

async function started(
  measured: Launched[],
  others: Launched[],
  port: number,
  path: string,
  body: Uint8Array,
): Promise<System> {
  await accepting(port);
  return { url: `http://127.0.0.1:${port}${path}`, body, measured, all: [...measured, ...others] };
}

function staticFile(folder: string, size: number): Buffer {
  mkdirSync(join(folder, "files"), { recursive: true });
  const body = Buffer.alloc(size, "portico ");
  writeFileSync(join(folder, "files", "file.bin"), body);
  return body;
}

function proxy(folder: string, config: object): Launched {
  const file = join(folder, "proxy.json");
  writeFileSync(file, JSON.stringify({ threads: 1, log: { access: "off" }, ...config }));
  return launch(node, [source, join(root, "packages/proxy/src/bin.ts"), "-c", file]);
}

type Sides = Pick<Scenario, "ours" | "peer" | "connections" | "peerName" | "needs">;

/** With the access log on, both sides write a line for each request, gathered as their users have it. */
function logOf(folder: string, logged: boolean): object {
  return logged ? { log: { access: join(folder, "access.log") } } : {};
}

function files(size: number, logged = false): Sides {
  return {
    connections: 64,
    peerName: "nginx",
    needs: ["nginx"],
    ours: async (folder) => {
      const body = staticFile(folder, size);
      const port = await freePort();
      const config = {
        ...logOf(folder, logged),
        listen: [{ host: "127.0.0.1", port }],
        sites: [{ hosts: ["*"], routes: [{ path: "/*", static: { root: join(folder, "files") } }] }],
      };
      return started([proxy(folder, config)], [], port, "/file.bin", body);
    },
    peer: async (folder) => {
      const body = staticFile(folder, size);
      const port = await freePort();
      return started([nginxStatic(folder, port, join(folder, "files"), logged)], [], port, "/file.bin", body);
    },
  };
}

function wholeStack(
  connections: number,
  due: number,
  aim: number,
  ours: string,
  peer: string,
  name: string,
  peerName: string,
): Scenario {
  return {
    name,
    connections,
    peerName,
    due,
    aim,
    needs: ["nginx"],
    ours: async () => {
      const port = await freePort();
      const args = [source, join(root, "packages/portico/src/bin.ts"), "serve", target(ours)];
      const flags = ["--listen", `127.0.0.1:${port}`, "--workers", "1", "--threads", "1"];
      return started([launch(node, [...args, ...flags])], [], port, "/", HELLO);
    },
    peer: async (folder) => {
      const port = await freePort();
      const socket = join(folder, "app.sock");
      const worker = launch(node, [target(peer), socket]);
      await accepting(socket);
      return started([nginxProxy(folder, port, `unix:${socket}`), worker], [], port, "/", HELLO);
    },
  };
}

/** A fixed answer behind so many routes, divided among a tenth as many sites; the one that is asked for is in the middle. */
async function behindRoutes(folder: string, count: number): Promise<System> {
  const port = await freePort();
  const sites = Math.max(1, count / 10);
  const middle = Math.floor(sites / 2);
  const config = {
    listen: [{ host: "127.0.0.1", port }],
    sites: Array.from({ length: sites }, (_, site) => ({
      hosts: [site === middle ? "127.0.0.1" : `site${site}.test`],
      routes: Array.from({ length: 10 }, (_unused, route) => ({
        path: `/part${route}/*`,
        respond: { body: HELLO.toString() },
      })),
    })),
  };
  return started([proxy(folder, config)], [], port, "/part5/page", HELLO);
}

function foreign(logged = false): Sides {
  return {
    connections: 64,
    peerName: "nginx",
    needs: ["nginx"],
    ours: async (folder) => {
      const port = await freePort();
      const socket = join(folder, "app.sock");
      const upstream = launch(node, [target("node-http.mjs"), socket]);
      await accepting(socket);
      const config = {
        ...logOf(folder, logged),
        listen: [{ host: "127.0.0.1", port }],
        upstreams: { app: { servers: [`http+unix:${socket}`] } },
        sites: [{ hosts: ["*"], routes: [{ path: "/*", proxy: { upstream: "app" } }] }],
      };
      return started([proxy(folder, config)], [upstream], port, "/", HELLO);
    },
    peer: async (folder) => {
      const port = await freePort();
      const socket = join(folder, "app.sock");
      const upstream = launch(node, [target("node-http.mjs"), socket]);
      await accepting(socket);
      return started([nginxProxy(folder, port, `unix:${socket}`, logged)], [upstream], port, "/", HELLO);
    },
  };
}

const dynamic = (connections: number, due: number, aim: number): Scenario =>
  wholeStack(
    connections,
    due,
    aim,
    "fetch.ts",
    "node-http.mjs",
    `stack dynamic, ${connections} connections`,
    "nginx → node:http",
  );

export const scenarios: readonly Scenario[] = [
  { name: "static 1 KiB", due: 1, aim: 0.8, ...files(1_024) },
  { name: "static 100 KiB", due: 1.1, aim: 0.9, ...files(102_400) },
  dynamic(1, 1.1, 1),
  dynamic(8, 0.8, 0.65),
  dynamic(64, 0.7, 0.5),
  dynamic(256, 0.5, 0.3),
  wholeStack(64, 0.9, 0.7, "express.mjs", "express-http.mjs", "stack Express", "nginx → node:http Express"),
  {
    name: "10,000 routes",
    connections: 64,
    peerName: "the same with 10",
    needs: [],
    due: 1.1,
    aim: 1,
    ours: (folder) => behindRoutes(folder, 10_000),
    peer: (folder) => behindRoutes(folder, 10),
  },
  { name: "foreign HTTP upstream", due: 2.2, aim: 1, ...foreign() },
  { name: "static 1 KiB, access log on", due: 1, aim: 0.8, ...files(1_024, true) },
  { name: "foreign HTTP upstream, access log on", due: 2.2, aim: 1, ...foreign(true) },
];

/** Programs of the scenario that this machine lacks. */
export function missing(scenario: Scenario): string[] {
  return ["wrk", "taskset", ...scenario.needs].filter((program) => which(program) === undefined);
}
