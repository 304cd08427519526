/**
 * From the command to the first response: `node app.mjs` (Express) against `portico-server app.mjs` with one and two
 * workers, run in turn, medians. Ours is what is built in `dist` (`npm run build` first), as an installation has it.
 *
 * node --conditions=@portico/source test/bench/start.ts [rounds]
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
const app = join(import.meta.dirname, "targets/express-port.mjs");
const server = join(root, "packages/server/dist/bin.js");
const DEFAULT_ROUNDS = 15;
/** A refused connection is tried again after this many milliseconds: what is measured is known to about so much. */
const RETRY_MS = 1;

/** Name of a column → its command line for a port. */
type Contestants = Readonly<Record<string, (port: number) => { args: string[]; env?: NodeJS.ProcessEnv }>>;

/** Medians of milliseconds, by contestant. */
async function measureStart(contestants: Contestants, rounds: number): Promise<Map<string, number>> {
  const samples = new Map<string, number[]>(Object.keys(contestants).map((name) => [name, []]));
  for (let round = -1; round < rounds; round += 1)
    for (const [name, commandOf] of Object.entries(contestants)) {
      const port = await freePort();
      const { args, env } = commandOf(port);
      const took = await timeOne(args, port, env);
      if (round >= 0) samples.get(name)!.push(took); // the first round fills caches
    }
  return new Map([...samples].map(([name, list]) => [name, median(list)]));
}

async function timeOne(args: string[], port: number, env: NodeJS.ProcessEnv = {}): Promise<number> {
  const began = performance.now();
  const child = spawn(process.execPath, args, {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, PORT: String(port), ...env },
  });
  try {
    await firstResponse(child, port);
    return performance.now() - began;
  } finally {
    child.kill("SIGTERM");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
}

async function firstResponse(child: ChildProcess, port: number): Promise<void> {
  while (child.exitCode === null) {
    if (await answers(port)) return;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  throw new Error(`it ended with ${child.exitCode} before it answered`);
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () =>
      socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    );
    socket.once("data", () => {
      resolve(true);
      socket.destroy();
    });
    socket.once("error", () => resolve(false));
    socket.once("close", () => resolve(false));
  });
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

function median(list: number[]): number {
  const sorted = list.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

if (import.meta.main) {
  const folder = mkdtempSync(join(tmpdir(), "portico-start-"));
  const ours = (port: number, workers: number, ...more: string[]): string[] => [
    server,
    app,
    "-b",
    `127.0.0.1:${port}`,
    "-w",
    String(workers),
    "--log-level",
    "warn",
    ...more,
  ];
  try {
    const medians = await measureStart(
      {
        "node app.mjs": () => ({ args: [app] }),
        "1 worker": (port) => ({ args: ours(port, 1), env: { XDG_CACHE_HOME: folder } }),
        "2 workers": (port) => ({ args: ours(port, 2), env: { XDG_CACHE_HOME: folder } }),
        "1 worker, no compile cache": (port) => ({
          args: ours(port, 1, "--compile-cache", "false"),
          env: { NODE_DISABLE_COMPILE_CACHE: "1" },
        }),
      },
      Number(process.argv[2] ?? DEFAULT_ROUNDS),
    );
    const base = medians.get("node app.mjs")!;
    for (const [name, ms] of medians)
      console.log(`${name.padEnd(28)} ${ms.toFixed(0).padStart(5)} ms  ${(ms / base).toFixed(2)}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
