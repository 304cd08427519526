import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parseCommandLine, splitWords } from "./command.ts";
import { checkConfiguration, loadConfiguration, restartOnlyChanges } from "./configuration.ts";
import { PorticoServerError } from "./error.ts";
import { configurationJson, printableConfiguration } from "./print-configuration.ts";
import type { ServerConfig } from "./settings.ts";

const base = mkdtempSync(join(tmpdir(), "portico-config-"));
afterAll(() => rmSync(base, { recursive: true, force: true }));

function folder(files: Record<string, string> = {}): string {
  const path = mkdtempSync(join(base, "case-"));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

function load(
  cwd: string,
  flags: ServerConfig = {},
  more: { env?: Record<string, string>; file?: string; env2?: ServerConfig } = {},
) {
  return loadConfiguration({ flags, environmentFlags: more.env2 ?? {}, file: more.file, cwd, env: more.env ?? {} });
}

async function failure(promise: Promise<unknown>): Promise<PorticoServerError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(PorticoServerError);
  return error as PorticoServerError;
}

function usage(...args: string[]): PorticoServerError {
  try {
    parseCommandLine(args, "1.0.0");
  } catch (error) {
    return error as PorticoServerError;
  }
  return expect.fail("was accepted");
}

describe("command line", () => {
  test("every flag becomes its setting", () => {
    const { flags, configFile } = parseCommandLine(
      [
        "app.ts:create()",
        "-b",
        "127.0.0.1:0",
        "-b",
        "unix:/tmp/x",
        "-w",
        "3",
        "--concurrency",
        "2",
        "--graceful-timeout",
        "1.5",
        "-c",
        "a.ts",
      ],
      "1.0.0",
    );
    expect(flags).toEqual({
      app: "app.ts:create()",
      bind: ["127.0.0.1:0", "unix:/tmp/x"],
      workers: 3,
      concurrency: 2,
      gracefulTimeout: 1.5,
    });
    expect(configFile).toBe("a.ts");
    expect(parseCommandLine(["-e", "A=1", "--env", "B=x=y", "--daemon"], "1").flags).toEqual({
      env: { A: "1", B: "x=y" },
      daemon: true,
    });
    expect(parseCommandLine(["--max-rss", "512MiB", "--metrics", "127.0.0.1:0"], "1").flags).toEqual({
      maxRss: "512MiB",
      metrics: "127.0.0.1:0",
    });
    expect(parseCommandLine(["-w", "auto"], "1").flags.workers).toBe("auto");
    expect(parseCommandLine(["--compile-cache", "false"], "1").flags.compileCache).toBe(false);
    expect(parseCommandLine(["--compile-cache", "/tmp/c"], "1").flags.compileCache).toBe("/tmp/c");
    expect(parseCommandLine(["--forwarded-allow-ips", "10.0.0.0/8, unix"], "1").flags.forwardedAllowIps).toEqual([
      "10.0.0.0/8",
      "unix",
    ]);
  });

  test("a misspelt flag is answered with the nearest one", () => {
    const error = usage("app.ts", "--wrokers", "2");
    expect(error.exitCode).toBe(2);
    expect(error.message).toBe("unknown option '--wrokers' (Did you mean --workers?)");
  });

  test("wrong values name the flag", () => {
    expect(usage("-w", "many").message).toBe('--workers many: expected number, or "auto"');
    expect(usage("-w", "0").message).toMatch(/^--workers 0: /);
    expect(usage("--backlog", "1.5").message).toMatch(/^--backlog 1\.5: /);
    expect(usage("--log-level", "loud").message).toMatch(/^--log-level loud: .*"debug"/);
    expect(usage("--socket-mode", "999").message).toBe("--socket-mode 999: must be an octal mode such as 0660");
    expect(usage("-b").message).toMatch(/argument missing/);
    expect(usage("a.ts", "b.ts").exitCode).toBe(2);
  });

  test("--help and --version are text, and help lists every flag", () => {
    expect(parseCommandLine(["--version"], "1.2.3").text).toBe("1.2.3\n");
    expect(parseCommandLine(["--help"], "1").text).toContain("--graceful-timeout <seconds>");
  });

  test("PORTICO_SERVER_ARGS splits like words of a shell", () => {
    expect(splitWords(` -w 2  --chdir "/a b" -b 'unix:/x y' c\\ d --x="q\\"r" `)).toEqual([
      "-w",
      "2",
      "--chdir",
      "/a b",
      "-b",
      "unix:/x y",
      "c d",
      '--x=q"r',
    ]);
    expect(splitWords("")).toEqual([]);
    expect(() => splitWords('-w "2')).toThrow("a quote is not closed");
  });
});

describe("configuration", () => {
  test("flags over PORTICO_SERVER_ARGS over WEB_CONCURRENCY over file over defaults", async () => {
    const cwd = folder({
      "server.config.ts": "const workers: number = 4; export default { workers, timeout: 7, queue: 1 };",
    });
    const env = { WEB_CONCURRENCY: "9" };
    const { config, file } = await load(cwd, { queue: 3 }, { env, env2: { queue: 2, keepAlive: 5 } });
    expect(file).toBe(join(cwd, "server.config.ts"));
    expect(config).toMatchObject({ workers: 9, timeout: 7, queue: 3, keepAlive: 5, bind: ["127.0.0.1:8000"] });
    expect((await load(cwd, {}, { env, env2: { workers: 3 } })).config.workers).toBe(3);
    expect((await load(cwd, { workers: 2 }, { env, env2: { workers: 3 } })).config.workers).toBe(2);
    expect((await load(cwd)).config.workers).toBe(4);
    expect((await load(folder())).config.workers).toBe(1);
  });

  test("a reload reads the file again", async () => {
    const cwd = folder({ "server.config.mjs": "export default { workers: 1 }" });
    expect((await load(cwd)).config.workers).toBe(1);
    writeFileSync(join(cwd, "server.config.mjs"), "export default () => ({ workers: 2 })");
    expect((await load(cwd)).config.workers).toBe(2);
  });

  test("unknown keys are named with the nearest known one, all mistakes at once", async () => {
    const cwd = folder({
      "server.config.json": '{ "wrokers": 2, "gracefultimeout": 3, "timeout": "x", "workers": 0 }',
    });
    const error = await failure(load(cwd));
    expect(error.exitCode).toBe(2);
    expect(error.message).toBe(`${join(cwd, "server.config.json")}: 4 mistakes`);
    expect(error.detail).toContain('unknown setting "wrokers" (did you mean "workers"?)');
    expect(error.detail).toContain('unknown setting "gracefultimeout" (did you mean "gracefulTimeout"?)');
    expect(error.detail).toContain("timeout: expected number, received string");
    expect(error.detail).toMatch(/workers: .*>=1/);
  });

  test.each([
    ["missing", undefined, "there is no such file"],
    ["broken", "export default {", "cannot read configuration "],
    ["list", "export default []", "must have an object as its default export"],
    ["empty", "export const x = 1", "must have an object as its default export"],
  ])("%s file: one message", async (_name, text, message) => {
    const cwd = folder(text === undefined ? {} : { "c.mjs": text });
    const error = await failure(load(cwd, {}, { file: "c.mjs" }));
    expect(error.code).toBe("config");
    expect(error.message).toContain(message);
  });

  test("what is printed says where each value is from", async () => {
    const cwd = folder({ "server.config.json": '{ "timeout": 7, "queue": 1 }' });
    const loaded = await load(cwd, { queue: 3 }, { env: { WEB_CONCURRENCY: "9" }, env2: { keepAlive: 5 } });
    expect(JSON.parse(configurationJson(loaded))).toMatchObject({
      workers: { value: 9, from: "WEB_CONCURRENCY" },
      timeout: { value: 7, from: join(cwd, "server.config.json") },
      queue: { value: 3, from: "command line" },
      keepAlive: { value: 5, from: "PORTICO_SERVER_ARGS" },
      backlog: { value: 2048, from: "default" },
    });
    expect(printableConfiguration(loaded)).toMatch(/^ {2}"workers": 9, +\/\/ WEB_CONCURRENCY$/m);
  });

  test("sockets that systemd passed to this process are what it listens on, unless told otherwise", async () => {
    const env = { LISTEN_PID: String(process.pid), LISTEN_FDS: "1" };
    expect((await load(folder(), {}, { env })).config.bind).toEqual(["systemd:"]);
    expect((await load(folder(), { bind: ["127.0.0.1:1"] }, { env })).config.bind).toEqual(["127.0.0.1:1"]);
    expect((await load(folder(), {}, { env: { ...env, LISTEN_PID: "1" } })).config.bind).toEqual(["127.0.0.1:8000"]);
  });

  test("WEB_CONCURRENCY and secrets are checked, and a secret is not printed", async () => {
    expect((await failure(load(folder(), {}, { env: { WEB_CONCURRENCY: "x" } }))).message).toMatch(
      /^WEB_CONCURRENCY: /,
    );
    expect((await failure(load(folder(), {}, { env: { PORTICO_LINK_SECRET: "short" } }))).message).toContain(
      "16 characters",
    );
    const cwd = folder({ secret: "0123456789abcdef0123\n" });
    const loaded = await load(cwd, { linkSecretFile: join(cwd, "secret") });
    const { config } = loaded;
    expect(config.linkSecret).toBe("0123456789abcdef0123");
    expect(printableConfiguration(loaded) + configurationJson(loaded)).not.toContain("0123456789abcdef");
    expect((await failure(load(cwd, { linkSecretFile: join(cwd, "none") }))).message).toContain(
      "there is no such file",
    );
  });

  test("changes that wait for a restart are named", () => {
    const before = checkConfiguration({ timeout: 1, bind: ["127.0.0.1:1"] }, "test");
    const after = checkConfiguration({ timeout: 2, bind: ["127.0.0.1:2"], workers: 5 }, "test");
    expect(restartOnlyChanges(before, after)).toEqual(["timeout"]);
  });
});
