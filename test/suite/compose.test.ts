/**
 * The reference deployment in real containers. Part of the long suite (PORTICO_LONG=1), and only where a container
 * engine with Compose answers; says which of the two is missing.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../bench/ports.ts";
import { RawClient } from "../support/raw.ts";

const root = join(import.meta.dirname, "../..");
const BUILD_MS = 600_000; // a first build fetches the workspace from the registry

const missing =
  process.env["PORTICO_LONG"] !== "1"
    ? "long suite only: set PORTICO_LONG=1"
    : spawnSync("docker", ["compose", "version"]).status !== 0 || spawnSync("docker", ["info"]).status !== 0
      ? "no container engine with Compose answers here"
      : undefined;

describe.skipIf(missing !== undefined)(`docker compose${missing === undefined ? "" : ` (skipped: ${missing})`}`, () => {
  let port: number;
  const compose = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync("docker", ["compose", "-p", "portico-test", ...args], {
      cwd: root,
      encoding: "utf8",
      env: { ...process.env, PORTICO_PUBLISH: `127.0.0.1:${port}` },
    });
    if (status !== 0) throw new Error(`docker compose ${args.join(" ")} ended with ${status}:\n${stderr}`);
    return stdout;
  };
  const workers = async () => {
    const facts = (await (await fetch(`http://127.0.0.1:${port}/stack.json`)).json()) as {
      groups: { rows: [string, string][] }[];
    };
    return new Map(facts.groups.flatMap(({ rows }) => rows));
  };

  beforeAll(async () => {
    port = await freePort();
    compose("up", "--build", "--detach", "--wait");
  }, BUILD_MS);
  afterAll(() => {
    compose("down", "--volumes", "--timeout", "40");
  }, BUILD_MS);

  test("the page is served, over the link", async () => {
    const page = await fetch(`http://127.0.0.1:${port}/`);
    expect(page.status).toBe(200);
    expect(await page.text()).toContain("Notice board");
    expect((await workers()).get("between the tiers")).toBe("link");
  });

  test(
    "more of the application is used without a restart of the proxy",
    async () => {
      const started = () => compose("ps", "--format", "{{.Service}} {{.ID}}", "proxy").trim();
      const before = started();
      compose("up", "--detach", "--wait", "--no-recreate", "--scale", "app=3");
      const seen = new Set<string>();
      while (seen.size < 3) {
        // Two workers in each of three containers; process ids repeat between containers, names do not.
        const logs = compose("logs", "--no-log-prefix", "proxy");
        for (const [, list] of logs.matchAll(/"addresses":\[([^\]]*)\]/g)) {
          for (const address of list!.split(",")) seen.add(address);
        }
        expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
      }
      expect(started()).toBe(before);
    },
    BUILD_MS,
  );

  test(
    "a stop finishes what is under way",
    async () => {
      using client = await RawClient.open(`http://127.0.0.1:${port}`);
      const body = "name=somebody&password=wrong-password";
      client.send(
        `POST /login HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nOrigin: http://127.0.0.1:${port}\r\n` +
          `Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 10)}`,
      );
      await fetch(`http://127.0.0.1:${port}/healthz`); // what was sent before has arrived
      const stopped = once(spawn("docker", ["compose", "-p", "portico-test", "stop", "proxy"], { cwd: root }), "exit");
      while (await answers()) await new Promise((resolve) => setImmediate(resolve));
      client.send(body.slice(10));
      const answer = await client.closed();
      expect(answer).toMatch(/^HTTP\/1\.1 400 /);
      expect(answer).toContain("</html>");
      await stopped;
      expect(compose("ps", "--all", "--format", "{{.ExitCode}}", "proxy").trim()).toBe("0");
    },
    BUILD_MS,
  );

  const answers = () =>
    fetch(`http://127.0.0.1:${port}/healthz`, { headers: { connection: "close" } }).then(
      () => true,
      () => false,
    );
});
