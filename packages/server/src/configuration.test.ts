import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parseCommandLine, splitWords } from "./command.ts";
import { checkConfiguration, loadConfiguration, printableConfiguration, restartOnlyChanges } from "./configuration.ts";
import { PorticoServerError } from "./error.ts";
import { nearest } from "./nearest.ts";
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
    expect(usage("-w", "many").message).toBe("--workers many: not a value it takes");
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
  test("flags over environment over file over WEB_CONCURRENCY over defaults", async () => {
    const cwd = folder({
      "server.config.ts": "const workers: number = 4; export default { workers, timeout: 7, queue: 1 };",
    });
    const env = { WEB_CONCURRENCY: "9" };
    const { config, file } = await load(cwd, { queue: 3 }, { env, env2: { queue: 2, keepAlive: 5 } });
    expect(file).toBe(join(cwd, "server.config.ts"));
    expect(config).toMatchObject({ workers: 4, timeout: 7, queue: 3, keepAlive: 5, bind: ["127.0.0.1:8000"] });
    expect((await load(folder(), {}, { env })).config.workers).toBe(9);
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

  test("WEB_CONCURRENCY and secrets are checked, and a secret is not printed", async () => {
    expect((await failure(load(folder(), {}, { env: { WEB_CONCURRENCY: "x" } }))).message).toMatch(
      /^WEB_CONCURRENCY: /,
    );
    expect((await failure(load(folder(), {}, { env: { PORTICO_LINK_SECRET: "short" } }))).message).toContain(
      "16 characters",
    );
    const cwd = folder({ secret: "0123456789abcdef0123\n" });
    const { config } = await load(cwd, { linkSecretFile: join(cwd, "secret") });
    expect(config.linkSecret).toBe("0123456789abcdef0123");
    expect(printableConfiguration(config)).not.toContain("0123456789abcdef");
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

test("nearest", () => {
  expect(nearest("graceful-timout", ["gracefulTimeout", "timeout"])).toBe("gracefulTimeout");
  expect(nearest("bnid", ["bind", "backlog"])).toBe("bind");
  expect(nearest("xyzzy", ["bind", "backlog"])).toBeUndefined();
});
