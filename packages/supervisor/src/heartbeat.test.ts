import { expect, test } from "vitest";
import { backoffDelay, DEFAULT_BACKOFF } from "./backoff.ts";
import { Heartbeat } from "./heartbeat.ts";

function setUp(): { heartbeat: Heartbeat<{ lastBeat: number }>; child: { lastBeat: number }; heard: string[] } {
  const heard: string[] = [];
  const heartbeat = new Heartbeat<{ lastBeat: number }>(
    { interval: 1_000, timeout: 10_000 },
    {
      onSlow: (_, ms) => heard.push(`slow ${ms}`),
      onRecovered: (_, ms) => heard.push(`recovered ${ms}`),
      onHung: (_, ms) => heard.push(`hung ${ms}`),
    },
    0,
  );
  return { heartbeat, child: { lastBeat: 0 }, heard };
}

test("warns once at half the timeout, reports once at the timeout", () => {
  const { heartbeat, child, heard } = setUp();
  for (let now = 1_000; now <= 15_000; now += 1_000) heartbeat.tick([child], now);
  expect(heard).toEqual(["slow 5000", "hung 10000"]);
});

test("a beat after a warning is a recovery, and the next silence is warned of again", () => {
  const { heartbeat, child, heard } = setUp();
  for (let now = 1_000; now <= 6_000; now += 1_000) heartbeat.tick([child], now);
  child.lastBeat = 6_500;
  heartbeat.beat(child);
  for (let now = 7_000; now <= 12_000; now += 1_000) heartbeat.tick([child], now);
  expect(heard).toEqual(["slow 5000", "recovered 6500", "slow 5500"]);
});

test("time in which the master itself stood still is nobody's silence", () => {
  const { heartbeat, child, heard } = setUp();
  heartbeat.tick([child], 1_000);
  heartbeat.tick([child], 3_600_000);
  expect(heard).toEqual([]);
  for (let now = 3_601_000; now <= 3_610_000; now += 1_000) heartbeat.tick([child], now);
  expect(heard).toEqual(["slow 5000", "hung 10000"]);
});

test("back-off: at once, then doubled up to the maximum, less the jitter", () => {
  const delays = (random: number): number[] =>
    [1, 2, 3, 4, 20, 2_000].map((failures) => backoffDelay(failures, DEFAULT_BACKOFF, () => random));
  expect(delays(0)).toEqual([0, 250, 500, 1_000, 30_000, 30_000]);
  expect(delays(1)).toEqual([0, 125, 250, 500, 15_000, 15_000]);
});
