import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, expect, test } from "vitest";
import { cleanUp, later } from "./fixtures/group.ts";

const PACKAGE = new URL("..", import.meta.url).pathname;

afterEach(cleanUp);

test("the README's example does what it says", async () => {
  const readme = await readFile(join(PACKAGE, "README.md"), "utf8");
  const folder = await mkdtemp(join(PACKAGE, ".readme-")); // inside the package, so that it can import itself
  later(() => rm(folder, { recursive: true }));
  for (const [, name = "", code = ""] of readme.matchAll(/```ts file=(\S+)\n(.*?)```/gs))
    await writeFile(join(folder, name), code);
  const master = spawn(process.execPath, ["--conditions=@portico/source", join(folder, "master.ts")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  later(async () => void master.kill("SIGKILL"));
  const exit = once(master, "exit");
  let url = "";
  let ready = 0;
  for await (const line of createInterface({ input: master.stdout })) {
    if (/^worker \d of 2 is ready$/.test(line)) ready++;
    url = /^listening on (\S+)$/.exec(line)?.[1] ?? url;
    if (url !== "" && ready === 2) break;
  }
  expect(await (await fetch(`${url}/hello`, { headers: { connection: "close" } })).text()).toMatch(
    /^\/hello from process \d+\n$/,
  );
  master.kill("SIGTERM");
  expect(await exit).toEqual([0, null]);
});
