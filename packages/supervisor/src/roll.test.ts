import { afterEach, describe, expect, test } from "vitest";
import { ask, bound, cleanUp, TestGroup } from "./fixtures/group.ts";
import type { FixtureInit } from "./fixtures/child.ts";
import type { ProcessGroupOptions } from "./index.ts";

async function started(options: Partial<ProcessGroupOptions>, init: FixtureInit = {}): Promise<TestGroup> {
  const group = new TestGroup(init, options);
  await group.start();
  return group;
}

const states = (group: TestGroup): string[] => group.children.map(({ generation, state }) => `${generation} ${state}`);

afterEach(cleanUp);

describe("probation", () => {
  test.each([
    [1, 3],
    [2, 3],
  ])("a generation that dies in its first seconds replaces nothing (%s at a time of %s)", async (maxSurge, count) => {
    const listener = await bound("127.0.0.1:0");
    const group = await started({ count, maxSurge, probation: 5_000, listeners: [listener] });
    const from = group.events.items.length;
    await expect(group.reload({ dieAfter: 100 })).rejects.toMatchObject({
      code: "reload_failed",
      message: "no such table",
      exitCode: 3,
    });
    expect(states(group)).toEqual(Array.from({ length: count }, () => "1 ready"));
    expect(group.types().slice(from)).not.toContain("draining");
    expect(group.types().slice(from)).not.toContain("restarting");
    expect(await ask(listener)).toMatchObject({ generation: 1 });
    expect(group.generation).toBe(1);
  });

  test("a replacement that exits by itself says with what", async () => {
    const group = await started({ probation: 5_000 });
    const ready = group.event("ready");
    const reload = expect(group.reload({})).rejects.toMatchObject({
      message: expect.stringMatching(
        /^a replacement ended \d+ ms after it was ready: it ended by itself, exit code 9$/,
      ),
    });
    await ready;
    group.children.at(-1)?.send("exit 9");
    await reload;
    expect(states(group)).toEqual(["1 ready"]);
  });

  test("a replacement whose event loop stands still as soon as it is ready is not good enough", async () => {
    const group = await started({
      probation: 300,
      watchdog: true,
      heartbeat: { interval: 50, timeout: 2_000 },
    });
    await expect(group.reload({ blockAfter: 0 })).rejects.toMatchObject({ code: "reload_failed" });
    expect(group.children.find(({ generation }) => generation === 1)?.state).toBe("ready");
  });

  test("old and new serve together meanwhile; only the first ones are waited for", async () => {
    const group = await started({ count: 3, probation: 400 });
    const began = performance.now();
    const drained = group.event("draining");
    const reload = group.reload({});
    await drained;
    expect(performance.now() - began).toBeGreaterThan(400);
    expect(states(group).slice(0, 3)).toEqual(["1 draining", "1 ready", "1 ready"]);
    await reload;
    expect(states(group)).toEqual(["2 ready", "2 ready", "2 ready"]);
    const readyAt = group.children.map((child) => child.readyAt ?? 0);
    // The second and third did not wait for a probation of their own: the old one of the second was told to go at once.
    const times = group.events.items.flatMap((event) => (event.type === "reloaded" ? [event.tookMs] : []));
    expect(times[0]).toBeGreaterThanOrEqual(400);
    expect(readyAt).toEqual(readyAt.toSorted((a, b) => a - b));
  });

  test("one that dies later in the same reload ends it; the old ones that are left stay", async () => {
    const group = await started({ count: 3, probation: 50 });
    const drained = group.event("draining");
    const reload = expect(group.reload({ dieAfter: 150 })).rejects.toMatchObject({
      code: "reload_failed",
      message: "no such table",
    });
    await drained;
    await reload;
    expect(states(group)).toContain("1 ready");
  });

  test("an old child that dies during the probation is replaced all the same", async () => {
    const group = await started({ probation: 600 });
    const [old] = group.children;
    const ready = group.event("ready");
    const reload = group.reload({});
    await ready;
    old?.send("exit 1");
    await reload;
    await expect.poll(() => states(group)).toEqual(["2 ready"]);
  });

  test("stop during the probation ends all of it", async () => {
    const group = await started({ probation: 60_000 });
    const ready = group.event("ready");
    const reload = group.reload({});
    await ready;
    await Promise.all([expect(reload).rejects.toMatchObject({ code: "stopped" }), group.stop("graceful")]);
    expect(group.children).toEqual([]);
  });
});

test("retirements: a replacement is ready before each leaves, never two at once", async () => {
  const group = await started({ count: 3, drainPatience: 10 }, { ignoreDrain: false });
  const from = group.events.items.length;
  await Promise.all(group.children.map((child) => group.retire(child, "too old")));
  await Promise.all(group.children.filter(({ state }) => state === "draining").map(({ gone }) => gone));
  const order = group.types().slice(from);
  expect(order.filter((type) => type === "retiring")).toHaveLength(3);
  let leaving = 0;
  let spare = 0;
  for (const type of order) {
    if (type === "ready") spare++;
    if (type === "draining") {
      leaving++;
      spare--;
    }
    if (type === "exited") leaving--;
    expect(leaving).toBeLessThanOrEqual(1);
    expect(spare).toBeGreaterThanOrEqual(0);
  }
  expect(states(group)).toEqual(["1 ready", "1 ready", "1 ready"]);
});
