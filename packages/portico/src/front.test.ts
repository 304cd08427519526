import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConfigSource, loadConfig, PorticoProxyError } from "@portico/proxy";
import { afterAll, expect, test } from "vitest";
import type { ServeOptions } from "./command.ts";
import { PorticoError } from "./error.ts";
import { checkFront, frontSource } from "./front.ts";

const LINK = "link+unix:/run/app.sock";
const folder = mkdtempSync(join(tmpdir(), "portico-front-"));
afterAll(() => rmSync(folder, { recursive: true }));

const source = (options: Partial<ServeOptions>): ConfigSource => frontSource({ app: "app.ts", ...options }, LINK);
const written = (content: unknown): string => {
  const file = join(folder, "front.json");
  writeFileSync(file, JSON.stringify(content));
  return file;
};
const site = { hosts: ["*"], routes: [{ path: "/*", proxy: { upstream: "app" } }] };

test("without a word: loopback, one site, everything to the application, warnings only", async () => {
  const config = await loadConfig(source({}));
  expect(config.listen).toMatchObject([{ host: "127.0.0.1", port: 8080 }]);
  expect(config.upstreams["app"]?.servers).toMatchObject([{ address: LINK }]);
  expect(config.sites).toMatchObject([{ hosts: ["*"], routes: [{ path: "/*", proxy: { upstream: "app" } }] }]);
  expect(config.log).toMatchObject({ level: "warn", access: "off" });
});

test("--static goes first, for GET, and lets through what it does not have", async () => {
  const { sites } = await loadConfig(source({ static: folder }));
  expect(sites[0]?.routes).toMatchObject([
    { methods: ["GET"], static: { root: folder, fallthrough: true, cacheControl: "immutable" } },
    { proxy: { upstream: "app" } },
  ]);
});

test("a file: the application is added, flags go before what it says, what it says before our defaults", async () => {
  const config = written({
    listen: [1],
    threads: 3,
    sites: [site],
    upstreams: { other: { servers: ["http://127.0.0.1:9"] } },
    log: { level: "debug" },
    limits: { bodySize: "1KiB", headerFields: 7 },
  });
  const plain = await loadConfig(source({ config }));
  expect(plain.listen).toMatchObject([{ port: 1 }]);
  expect(Object.keys(plain.upstreams)).toEqual(["other", "app"]);
  expect(plain.log).toMatchObject({ level: "debug", access: "off" });
  const flags = await loadConfig(
    source({ config, listen: ["127.0.0.1:2"], threads: 1, bodySize: "2KiB", accessLog: "stdout" }),
  );
  expect(flags.listen).toMatchObject([{ host: "127.0.0.1", port: 2 }]);
  expect(flags.threads).toBe(1);
  expect(flags.limits).toMatchObject({ bodySize: 2048, headerFields: 7 });
  expect(flags.log).toMatchObject({ level: "debug", access: "stdout" });
});

test("a file that does not say where to listen stays on this machine", async () => {
  const { listen } = await loadConfig(source({ config: written({ sites: [site] }) }));
  expect(listen).toMatchObject([{ host: "127.0.0.1", port: 8080 }]);
});

test("a file must not have an upstream of the application's name", async () => {
  const config = written({ sites: [site], upstreams: { app: { servers: ["http://127.0.0.1:9"] } } });
  await expect(loadConfig(source({ config }))).rejects.toThrow(/upstreams\.app: this name is the application itself/);
});

test("what is wrong in a file is not hidden by flags", async () => {
  const config = written({ sites: [site], log: "loud", limits: [] });
  const check = checkFront({ app: "app.ts", config, bodySize: "1KiB" }, source({ config, bodySize: "1KiB" }));
  await expect(check).rejects.toThrow(PorticoProxyError);
  await expect(check).rejects.toThrow(/log: must be.*\n.*limits: must be|limits: must be.*\n.*log: must be/s);
});

test.each<[Partial<ServeOptions>, RegExp]>([
  [{ listen: [0, "nonsense"] }, /^--listen nonsense: must be "host:port"/],
  [{ threads: 1000 }, /^--threads 1000: must be at most 256$/],
  [{ bodySize: "big" }, /^--body-size big: must be a size/],
  [{ static: "/no/such/folder" }, /^--static \/no\/such\/folder: there is no such folder$/],
  [{ static: "/dev/null" }, /^--static \/dev\/null: it is not a folder$/],
])("%j is reported as the flag it was", async (options, message) => {
  const check = checkFront({ app: "app.ts", ...options }, source(options));
  await expect(check).rejects.toThrow(PorticoError);
  await expect(check).rejects.toThrow(message);
});
