/** What the README shows is what happens. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseCommandLine } from "./command.ts";

const PACKAGE = new URL("..", import.meta.url).pathname;
const BIN = join(PACKAGE, "src/bin.ts");
const SOURCE = "--conditions=@portico/source";

let readme: string;
let folder: string;
beforeAll(async () => {
  readme = await readFile(join(PACKAGE, "README.md"), "utf8");
  folder = await mkdtemp(join(PACKAGE, ".readme-")); // inside the package, so that it can import itself
  for (const [, name = "", code = ""] of readme.matchAll(/```\w+ file=(\S+)\n(.*?)```/gs))
    await writeFile(join(folder, name), code);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test("usage is what --help prints", () => {
  const shown = /```text help\n(.*?)\n```/s.exec(readme)![1];
  const line = parseCommandLine(["serve", "--help"], "0.0.0");
  expect(line).toEqual({ action: "text", text: expect.any(String) });
  expect(shown).toBe(line.action === "text" && line.text.trim());
});

test("the command serves the application behind the configuration shown", async () => {
  const command = spawn(
    process.execPath,
    [SOURCE, BIN, "serve", "app.ts", "--workers", "2", "--config", "front.json"],
    {
      cwd: folder,
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const exit = once(command, "exit");
  try {
    const lines = createInterface({ input: command.stdout });
    const banner: string[] = [];
    lines.on("line", (line) => banner.push(line));
    await once(lines, "line");
    const url = /^portico: ready on (http:\S+)$/.exec(banner[0]!)![1]!;
    expect(await (await fetch(`${url}/healthz`)).text()).toBe("ok\n");
    expect(await (await fetch(`${url}/world`)).json()).toEqual({ hello: "/world", from: expect.any(Number) });
    command.kill("SIGTERM");
    expect(await exit).toEqual([0, null]);
    const heads = banner.slice(1, 5).map((line) => /^ {2}(\w+)/.exec(line)?.[1]);
    expect(heads).toEqual(["routes", "application", "stop", "reload"]);
  } finally {
    command.kill("SIGKILL");
  }
});

test("the library serves, reloads and stops", async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [SOURCE, "both-tiers.ts"], {
    cwd: folder,
    timeout: 30_000,
  });
  expect(stdout).toBe("200 /from/a/library\n");
});
