import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { PorticoServerError } from "./error.ts";
import { startServer } from "./server.ts";

const cwd = mkdtempSync(join(tmpdir(), "portico-library-"));
afterAll(() => rmSync(cwd, { recursive: true, force: true }));
const write = (name: string, text: string): void => writeFileSync(join(cwd, name), text);

test("start, ask, reload to new addresses, scale, stop: nothing is left", async () => {
  write("app.mjs", "export default () => ({ body: 'one' });");
  const base = { app: "app.mjs", logLevel: "silent" } as const;
  const server = await startServer({ ...base, bind: ["127.0.0.1:0", "unix:old.sock"] }, { cwd });
  const [url] = server.addresses as [string];
  expect(server.addresses).toEqual([url, `unix:${join(cwd, "old.sock")}`]);
  expect(server.application).toBe("tsgi");
  expect(await (await fetch(url)).text()).toBe("one");

  write("app.mjs", "export default { fetch: () => ({ body: 'two' }) };");
  await server.reload({ ...base, bind: ["127.0.0.1:0", "unix:new.sock"] });
  expect(server.addresses).toEqual([url, `unix:${join(cwd, "new.sock")}`]);
  expect(existsSync(join(cwd, "old.sock"))).toBe(false);
  expect(await (await fetch(url)).text()).toBe("two");

  await server.scale(2);
  expect(server.workers().map(({ id, generation, state }) => ({ id, generation, state }))).toEqual([
    { id: 1, generation: 2, state: "ready" },
    { id: 2, generation: 2, state: "ready" },
  ]);
  await server.stop();
  expect(server.workers()).toEqual([]);
  expect(readdirSync(cwd)).toEqual(["app.mjs"]);
  await expect(server.reload()).rejects.toThrow("the server is not running");
});

test("a reload that fails closes what it opened, and the old goes on", async () => {
  write("fragile.mjs", "export default () => ({ body: 'fine' });");
  const base = { app: "fragile.mjs", logLevel: "silent" } as const;
  const server = await startServer({ ...base, bind: ["127.0.0.1:0"] }, { cwd });
  write("fragile.mjs", "throw new Error('no luck');");
  const error: unknown = await server
    .reload({ ...base, bind: ["127.0.0.1:0", "unix:late.sock"] })
    .catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(PorticoServerError);
  expect(error).toMatchObject({ code: "app-threw", message: "fragile.mjs failed while it was loaded: Error: no luck" });
  expect(server.addresses).toHaveLength(1);
  expect(existsSync(join(cwd, "late.sock"))).toBe(false);
  expect(await (await fetch(server.addresses[0]!)).text()).toBe("fine");
  await server.stop("quick");
});

test("a start that fails rejects with the exit code, and leaves nothing", async () => {
  write("empty.mjs", "export const x = 1;");
  const starting = startServer({ app: "empty.mjs", bind: ["unix:none.sock"], logLevel: "silent" }, { cwd });
  await expect(starting).rejects.toMatchObject({ code: "app-no-handler", exitCode: 4 });
  expect(existsSync(join(cwd, "none.sock"))).toBe(false);
});

test("the application's environment has everything but the link's secret", async () => {
  write(
    "env.mjs",
    "export default () => ({ body: [process.env.PORTICO_LINK_SECRET, process.env.PORTICO_OTHER].join() });",
  );
  vi.stubEnv("PORTICO_LINK_SECRET", "0123456789abcdef");
  vi.stubEnv("PORTICO_OTHER", "seen");
  const server = await startServer({ app: "env.mjs", bind: ["127.0.0.1:0"], logLevel: "silent" }, { cwd });
  expect(await (await fetch(server.addresses[0]!)).text()).toBe(",seen");
  await server.stop("quick");
  vi.unstubAllEnvs();
});

test("the snippet of the README runs", async () => {
  const text = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const [app, script] = [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1]!);
  write("app.ts", app!);
  write("run.mjs", script!.replace('"@portico/server"', JSON.stringify(new URL("./index.ts", import.meta.url).href)));
  const out = execFileSync(process.execPath, ["--conditions=@portico/source", "run.mjs"], {
    cwd,
    encoding: "utf8",
    timeout: 30_000,
  });
  expect(out).toMatch(/^\[ 'http:\/\/127\.0\.0\.1:\d+' \] fetch$/m);
});
