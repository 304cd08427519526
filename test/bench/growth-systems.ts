/** What grows: our systems as the benchmark starts them, with ports instead of peers. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { accepting, launch, type Launched, tree } from "./processes.ts";

const here = import.meta.dirname;
const root = join(here, "../..");
const node = process.execPath;
const source = "--conditions=@portico/source";

export interface Running {
  readonly port: number;
  readonly launched: readonly Launched[];
  /** All processes, and what each is. */
  processes(): Map<number, string>;
}

async function running(port: number, launched: readonly Launched[]): Promise<Running> {
  await accepting(port);
  return {
    port,
    launched,
    processes: () => new Map(launched.flatMap(({ pid }) => tree(pid)).map((pid) => [pid, roleOf(pid)])),
  };
}

/** What a process is, by its command line. */
function roleOf(pid: number): string {
  const line = readFileSync(`/proc/${pid}/cmdline`, "latin1");
  if (line.includes("proxy/src/process")) return "proxy";
  if (line.includes(": worker")) return "worker";
  return /targets\/node-http/.test(line) ? "peer" : "master";
}

/** Both tiers, one thread and one worker, with room for bodies of gigabytes. */
export function stack(application: string, front: object | undefined, folder: string): Promise<Running> {
  return freePort().then((port) => {
    const flags = ["--listen", `127.0.0.1:${port}`, "--workers", "1", "--threads", "1", "--body-size", "4GiB"];
    if (front !== undefined) {
      const file = join(folder, "front.json");
      writeFileSync(file, JSON.stringify(front));
      flags.push("--config", file);
    }
    const args = [source, join(root, "packages/portico/src/bin.ts"), "serve", application, ...flags];
    return running(port, [launch(node, args, { TMPDIR: folder })]);
  });
}

/** The front alone; `routes` of one site for every host. */
export async function front(folder: string, config: object): Promise<Running> {
  const port = await freePort();
  const file = join(folder, "proxy.json");
  writeFileSync(
    file,
    JSON.stringify({ threads: 1, log: { access: "off" }, listen: [{ host: "127.0.0.1", port }], ...config }),
  );
  return running(port, [launch(node, [source, join(root, "packages/proxy/src/bin.ts"), "-c", file])]);
}

/** The front with a folder of files of these sizes: `/1024` has 1,024 bytes. */
export function files(folder: string, sizes: readonly number[]): Promise<Running> {
  const served = join(folder, "files");
  mkdirSync(served, { recursive: true });
  for (const size of sizes) writeFileSync(join(served, String(size)), Buffer.alloc(size, "portico "));
  return front(folder, { sites: [{ hosts: ["*"], routes: [{ path: "/*", static: { root: served } }] }] });
}

/** The front before node:http on a unix socket. Only the front counts. */
export async function foreign(folder: string): Promise<Running> {
  const socket = join(folder, "app.sock");
  const upstream = launch(node, [join(here, "targets/node-http.mjs"), socket]);
  await accepting(socket);
  const ours = await front(folder, {
    upstreams: { app: { servers: [`http+unix:${socket}`] } },
    sites: [{ hosts: ["*"], routes: [{ path: "/*", proxy: { upstream: "app" } }] }],
  });
  return { ...ours, launched: [...ours.launched, upstream] };
}

export async function nodeHttp(): Promise<Running> {
  const port = await freePort();
  return running(port, [launch(node, [join(here, "targets/node-http-tcp.mjs"), String(port)])]);
}
