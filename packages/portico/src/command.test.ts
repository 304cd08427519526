import { expect, test } from "vitest";
import { parseCommandLine } from "./command.ts";
import { PorticoError } from "./error.ts";

const serve = (...args: string[]) => {
  const line = parseCommandLine(["serve", ...args], "1.2.3");
  return line.action === "serve" ? line.options : undefined;
};

test("what is not said is undefined", () => {
  expect(Object.entries(serve("app.ts")!).filter(([, value]) => value !== undefined)).toEqual([["app", "app.ts"]]);
});

test("every flag, long and short", () => {
  const long = [
    "--listen",
    "80",
    "--listen",
    "unix:/a.sock",
    "--workers",
    "3",
    "--threads",
    "auto",
    "--static",
    "public",
  ];
  const short = ["-l", "80", "-l", "unix:/a.sock", "-w", "3", "-t", "auto", "-s", "public"];
  for (const flags of [long, short]) {
    expect(serve("app.ts:create()", ...flags, "--access-log", "stdout", "--body-size", "1GiB")).toEqual({
      app: "app.ts:create()",
      listen: [80, "unix:/a.sock"],
      workers: 3,
      threads: "auto",
      static: "public",
      config: undefined,
      accessLog: "stdout",
      bodySize: "1GiB",
    });
  }
  expect(serve("app.ts", "-c", "front.yaml")?.config).toBe("front.yaml");
});

test.each([["80"], ["127.0.0.1:80"], ["[::1]:80"], ["unix:/run/a.sock"]])("--listen %s", (address) => {
  expect(serve("app.ts", "-l", address)?.listen).toEqual([address === "80" ? 80 : address]);
});

test.each([
  [[], /^say what to serve, for example: portico serve app\.ts$/],
  [["serve"], /^missing required argument 'MODULE'/],
  [["serve", "a.ts", "b.ts"], /^too many arguments/],
  [["serve", "a.ts", "--nope"], /^unknown option '--nope'/],
  [["serve", "a.ts", "--listen"], /^option '-l, --listen <address>' argument missing/],
  [["serve", "a.ts", "-w", "0"], /^--workers 0: must be a whole number from 1, or auto$/],
  [["serve", "a.ts", "-w", "1.5"], /^--workers 1\.5: must be/],
  [["serve", "a.ts", "-t", ""], /^--threads : must be/],
  [["serve", "a.ts", "-l", "65536"], /^--listen 65536: a port is a number from 0 to 65535$/],
  [["serve", "a.ts", "-s", "public", "-c", "front.json"], /^--static and --config exclude each other/],
])("%j is refused in one line", (args, message) => {
  let thrown: unknown;
  try {
    parseCommandLine(args, "1.2.3");
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(PorticoError);
  expect(thrown).toMatchObject({ code: "usage", message: expect.stringMatching(message) });
  expect((thrown as Error).message).not.toContain("\n");
});

test("--version and --help are texts", () => {
  expect(parseCommandLine(["--version"], "1.2.3")).toEqual({ action: "text", text: "1.2.3\n" });
  expect(parseCommandLine(["--help"], "1.2.3")).toMatchObject({ text: expect.stringMatching(/^Usage: portico /) });
});
