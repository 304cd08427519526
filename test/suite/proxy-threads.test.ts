/** A thread of the proxy that ends, or stands still, takes nobody with it but its own connections. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { request } from "undici";
import { expect, test } from "vitest";
import { descendants } from "../support/command.ts";
import { ProxyUnderTest, site } from "../support/proxy.ts";
import { ServerUnderTest } from "../support/server.ts";

/** The time after which a thread that does not answer is ended. */
const STUCK_MS = 30_000;

/** Makes the second thread of every proxy do as it says once a file is there. */
class Saboteur implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "portico-sabotage-"));
  readonly #trigger = join(this.#folder, "now");
  readonly file = join(this.#folder, "sabotage.mjs");

  constructor(deed: string) {
    writeFileSync(
      this.file,
      `import { existsSync, rmSync } from "node:fs";
import { workerData } from "node:worker_threads";
if (workerData?.thread === 1) {
  const timer = setInterval(() => {
    if (!existsSync(${JSON.stringify(this.#trigger)})) return;
    rmSync(${JSON.stringify(this.#trigger)});
    clearInterval(timer);
    ${deed}
  }, 20);
  timer.unref();
}`,
    );
  }

  act(): void {
    writeFileSync(this.#trigger, "");
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function sabotaged(deed: string, slowMs: number) {
  using saboteur = new Saboteur(deed);
  await using server = await ServerUnderTest.start("tsgi.ts", [], { linked: true });
  await using proxy = await ProxyUnderTest.start(
    {
      ...site({ path: "/*", proxy: { upstream: "app" } }),
      upstreams: { app: { servers: [`link+unix:${server.socket}.link`] } },
      threads: 2,
    },
    { env: { NODE_OPTIONS: `--import=${saboteur.file}` } },
  );
  const processes = (): number[] => descendants(proxy.command.pid);
  const [before] = processes();
  const ask = async (path: string): Promise<string> => {
    const { body } = await request(proxy.url + path, { reset: true });
    return await body.text();
  };
  // On connections of their own, so that both threads have some.
  const slow = Array.from({ length: 24 }, () => ask(`/slow?ms=${slowMs}`).catch((error: unknown) => String(error)));
  await proxy.command.printed(/ready on/);
  await expect.poll(async () => JSON.parse(await ask("/worker")).pid).toBeGreaterThan(0);
  saboteur.act();
  const [line] = await proxy.command.printed(/^.*a proxy thread ended unexpectedly; the process is replaced.*$/m);
  await proxy.command.printed(/"type":"ready"[^\n]*"id":2/);
  const answers = await Promise.all(slow);
  expect(await ask("/")).toBe("hello from tsgi");
  await expect.poll(processes, { timeout: 10_000 }).not.toContain(before);
  expect(proxy.command.output).not.toContain('"type":"crashed"');
  return { line, finished: answers.filter((text) => text === "slow").length, asked: slow.length };
}

test("an exception that nobody caught in one thread: the requests of the others are finished", async () => {
  const { line, finished, asked } = await sabotaged(`throw new RangeError("sabotage");`, 1_500);
  expect(line).toContain("RangeError: sabotage");
  expect(finished).toBeGreaterThan(0);
  expect(finished).toBeLessThan(asked);
});

test.runIf(process.env["PORTICO_LONG"] !== undefined)(
  "a thread in an endless loop is found and ended; the requests of the others are finished",
  { timeout: 3 * STUCK_MS },
  async () => {
    const { line, finished } = await sabotaged("for (;;);", STUCK_MS + 5_000);
    expect(line).toMatch(/its event loop stood still for 3\d{4} ms/);
    expect(finished).toBeGreaterThan(0);
  },
);
