/** A thousand clients that send one byte a second must not slow the others, nor occupy the application. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { Playground, StackUnderTest } from "../support/stack.ts";

const SLOW_CLIENTS = 1_000;
const CLIENTS = 4;
/** Between two requests of a client: some 500 a second in all, far from what the load generator or the stack can do. */
const PAUSE_MS = 6;
const WITHOUT_MS = 4_000;
/** Measured in slices of this, until the slow ones were cut off, after 5 s of a slow body, and came again: that costs too. */
const SLICE_MS = 1_000;
/** What a scheduler may add to a 99th percentile on a busy machine. */
const NOISE_MS = 5;

const application = `
const seen = { slow: 0 };
export default (request, ctx) => {
  if (ctx.http.target.startsWith("/slow")) seen.slow++;
  return { headers: { "content-type": "application/json" }, body: JSON.stringify(seen) };
};`;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Times of normal requests, in milliseconds, over as long as this. */
async function measure(stack: StackUnderTest, forMs: number): Promise<number[]> {
  const times: number[] = [];
  const end = performance.now() + forMs;
  const loops = Array.from({ length: CLIENTS }, async () => {
    const ask = stack.client();
    while (performance.now() < end) {
      const began = performance.now();
      const { status } = await ask("/normal");
      times.push(performance.now() - began);
      expect(status).toBe(200);
      await pause(PAUSE_MS);
    }
  });
  await Promise.all(loops);
  return times.toSorted((a, b) => a - b);
}

const percentile = (sorted: readonly number[], share: number): number => sorted[Math.floor(sorted.length * share)]!;

test(`${SLOW_CLIENTS} clients at a byte a second: p99 of the others stays within twice`, async () => {
  using playground = new Playground();
  await using stack = await StackUnderTest.start(playground, playground.write("app.mjs", application), [
    "--workers",
    "2",
  ]);
  await measure(stack, 1_000); // the first requests meet cold code
  const before = await measure(stack, WITHOUT_MS);

  const { port } = new URL(stack.url);
  const slow = spawn(
    process.execPath,
    [join(import.meta.dirname, "../fixtures/slow-clients.ts"), port, String(SLOW_CLIENTS)],
    {
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  const lines = createInterface({ input: slow.stdout })[Symbol.asyncIterator]();
  try {
    expect((await lines.next()).value).toBe(`open ${SLOW_CLIENTS}`);
    const progress = { steady: false };
    const reached = lines.next().then(({ value }) => (progress.steady = value === "steady"));
    let during: number[] = [];
    while (!progress.steady) during = [...during, ...(await measure(stack, SLICE_MS))];
    await reached;
    during = during.toSorted((a, b) => a - b);
    slow.stdin.end();
    const told = JSON.parse(String((await lines.next()).value)) as Record<string, number>;
    await once(slow, "close");
    const after = await measure(stack, WITHOUT_MS / 2);

    const without = Math.max(percentile(before, 0.99), percentile(after, 0.99));
    const withSlow = percentile(during, 0.99);
    console.log(
      `p99 without slow clients ${percentile(before, 0.99).toFixed(1)} ms before, ${percentile(after, 0.99).toFixed(1)} ms after; ` +
        `with ${told["open"]} open ${withSlow.toFixed(1)} ms (p50 ${percentile(before, 0.5).toFixed(1)} → ${percentile(during, 0.5).toFixed(1)} ms, ` +
        `${during.length} requests; slow: ${told["bytes"]} bytes, ${told["cut"]} cut off)`,
    );
    // The slow ones were there all the time, and those that were too slow were cut off.
    expect(told["open"]).toBeGreaterThan(SLOW_CLIENTS * 0.8);
    expect(told["bytes"]).toBeGreaterThan(SLOW_CLIENTS * 5);
    expect(told["cut"]).toBeGreaterThan(SLOW_CLIENTS * 0.4);
    expect(told["refused"]).toBe(0);
    expect(during.length).toBeGreaterThan(500);
    expect(withSlow).toBeLessThanOrEqual(2 * without + NOISE_MS);
    // None of them reached the application: a body is read before a worker is bothered with it.
    const ask = stack.client();
    for (let tries = 0; tries < 10; tries++) expect((await ask("/normal")).text).toBe('{"slow":0}');
  } finally {
    slow.kill("SIGKILL");
  }
});
