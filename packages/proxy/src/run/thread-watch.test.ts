import { setTimeout as pause } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { BEAT_MS, beatsFor, ThreadWatch } from "./thread-watch.ts";

const TIMEOUT_MS = 30_000;

test("half of the time is told once for each silence, the whole once for each thread; one that beats is neither", () => {
  const beats = beatsFor(2);
  const counts = new Int32Array(beats);
  const told: string[] = [];
  const watch = new ThreadWatch(
    beats,
    {
      onSlow: (thread, ms) => told.push(`slow ${thread} ${ms}`),
      onStuck: (thread, ms) => told.push(`stuck ${thread} ${ms}`),
    },
    0,
    TIMEOUT_MS,
  );
  let now = 0;
  const pass = (ms: number, ...beating: number[]): void => {
    for (const end = now + ms; now < end;) {
      now += BEAT_MS;
      for (const thread of beating) Atomics.add(counts, thread, 1);
      watch.look(now);
    }
  };
  pass(20_000, 0);
  expect(told).toEqual(["slow 1 15000"]);
  pass(1_000, 0, 1);
  pass(40_000, 0);
  expect(told).toEqual(["slow 1 15000", "slow 1 15000", "stuck 1 30000"]);
});

test("time in which the looking thread stood still itself is nobody's silence", () => {
  const told: number[] = [];
  const watch = new ThreadWatch(
    beatsFor(1),
    { onSlow: () => {}, onStuck: (thread) => told.push(thread) },
    0,
    TIMEOUT_MS,
  );
  watch.look(1_000_000);
  expect(told).toEqual([]);
});

test("a real thread: it beats, and is found when it loops", async () => {
  const beats = beatsFor(1);
  const module = new URL("./thread-watch.ts", import.meta.url).href;
  const worker = new Worker(
    `const { workerData, parentPort } = require("node:worker_threads");
     import(${JSON.stringify(module)}).then(({ beat }) => {
       beat(workerData, 0);
       parentPort.once("message", () => { for (;;); });
       parentPort.postMessage("up");
     });`,
    { eval: true, workerData: beats },
  );
  try {
    await new Promise((resolve) => worker.once("message", resolve));
    await expect.poll(() => Atomics.load(new Int32Array(beats), 0), { timeout: 5_000 }).toBeGreaterThan(0);
    const { promise, resolve } = Promise.withResolvers<number>();
    const watch = new ThreadWatch(beats, { onSlow() {}, onStuck: resolve }, performance.now(), 2_500);
    const timer = setInterval(() => watch.look(performance.now()), 100);
    await pause(3_000); // it beats: nothing is found
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    worker.postMessage("loop");
    expect(await promise).toBe(0);
    clearInterval(timer);
  } finally {
    await worker.terminate();
  }
});
