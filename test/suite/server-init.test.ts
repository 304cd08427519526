/** The master as process 1, as in a container without an init. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Agent, request } from "undici";
import { afterAll, expect, test } from "vitest";
import { bins, descendants, running } from "../support/command.ts";
import { apps } from "../support/server.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-init-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const NAMESPACE = ["--pid", "--fork", "--kill-child", "--mount-proc"];
/** Needs root, or a kernel that lets anybody have namespaces. */
const mayUnshare = spawnSync("unshare", [...NAMESPACE, "true"]).status === 0;

test.runIf(mayUnshare)(
  "TERM is graceful, a killed worker is replaced, an upgrade is refused with the reason",
  async () => {
    const path = join(folder, "s.sock");
    const node = [process.execPath, "--conditions=@portico/source", bins.server];
    const child = spawn("unshare", [...NAMESPACE, ...node, "tsgi.ts", "-b", `unix:${path}`, "--control", "false"], {
      cwd: apps,
      stdio: ["ignore", "inherit", "pipe"],
    });
    const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
    const agent = new Agent({ connect: { socketPath: path } });
    try {
      const lines = createInterface({ input: child.stderr })[Symbol.asyncIterator]();
      const printed = async (pattern: RegExp): Promise<string> => {
        for (let next = await lines.next(); next.done !== true; next = await lines.next())
          if (pattern.test(next.value)) return next.value;
        throw new TypeError(`it ended before it printed ${String(pattern)}`);
      };
      await printed(/ready on/);
      const [master] = descendants(child.pid!);
      const worker = async (): Promise<{ pid: number }> =>
        (await (await request("http://app.test/worker", { dispatcher: agent })).body.json()) as { pid: number };
      expect((await worker()).pid).toBeGreaterThan(1);
      process.kill(master!, "SIGUSR2");
      expect(await printed(/upgrade failed|cannot be followed/)).toContain(
        "process 1 cannot be followed by another master: its container ends with it",
      );
      const before = descendants(master!);
      // Process 1 must hear of the death of its own.
      process.kill(before[0]!, "SIGKILL");
      await printed(/"type":"ready"/);
      expect((await worker()).pid).toBeGreaterThan(1);
      process.kill(master!, "SIGTERM");
      expect(await exited).toBe(0);
      expect(before.filter(running)).toEqual([]);
      expect(existsSync(path)).toBe(false);
    } finally {
      await agent.destroy();
      child.kill("SIGKILL"); // and with it, by --kill-child, process 1 and everything in the namespace
    }
  },
);
