import { describe, expect, it } from "vitest";
import { TICK_MS, Wheel, type WheelEntry } from "./wheel.ts";

/** A wheel whose time the test moves. */
function fake(): { wheel: Wheel; advance: (ms: number) => void; running: () => boolean } {
  let now = 1_000;
  let tick: (() => void) | undefined;
  const wheel = new Wheel({
    now: () => now,
    every(_ms, callback) {
      tick = callback;
      return () => {
        tick = undefined;
      };
    },
  });
  return {
    wheel,
    advance: (ms) => {
      for (const end = now + ms; now < end;) {
        now = Math.min(end, now + TICK_MS);
        tick?.();
      }
    },
    running: () => tick !== undefined,
  };
}

function entry(fired: string[], name: string): WheelEntry {
  return {
    dueAt: 0,
    wheelSlot: 0,
    wheelNext: null,
    wheelPrevious: null,
    onDeadline: () => fired.push(name),
  };
}

describe("Wheel", () => {
  it("fires once, not early, and at most two ticks late", () => {
    const { wheel, advance } = fake();
    const fired: string[] = [];
    wheel.arm(entry(fired, "a"), wheel.now() + 500);
    advance(499);
    expect(fired).toEqual([]);
    advance(2 * TICK_MS);
    expect(fired).toEqual(["a"]);
    advance(60_000);
    expect(fired).toEqual(["a"]);
  });

  it("moves an armed entry, later and earlier", () => {
    const { wheel, advance } = fake();
    const fired: string[] = [];
    const later = entry(fired, "later");
    const earlier = entry(fired, "earlier");
    wheel.arm(later, wheel.now() + 200);
    wheel.arm(later, wheel.now() + 5_000);
    wheel.arm(earlier, wheel.now() + 5_000);
    wheel.arm(earlier, wheel.now() + 200);
    advance(1_000);
    expect(fired).toEqual(["earlier"]);
    advance(4_200);
    expect(fired).toEqual(["earlier", "later"]);
  });

  it("keeps deadlines beyond one turn of the wheel", () => {
    const { wheel, advance } = fake();
    const fired: string[] = [];
    wheel.arm(entry(fired, "far"), wheel.now() + 100_000);
    advance(99_900);
    expect(fired).toEqual([]);
    advance(300);
    expect(fired).toEqual(["far"]);
  });

  it("stops its timer when nothing is armed, and starts it again", () => {
    const { wheel, advance, running } = fake();
    const fired: string[] = [];
    const one = entry(fired, "one");
    wheel.arm(one, wheel.now() + 100);
    expect(running()).toBe(true);
    wheel.disarm(one);
    advance(500);
    expect(running()).toBe(false);
    expect(wheel.armed).toBe(0);
    wheel.arm(one, wheel.now() + 100);
    advance(500);
    expect(fired).toEqual(["one"]);
  });

  it("lets what fires disarm a neighbour of the same slot", () => {
    const { wheel, advance } = fake();
    const fired: string[] = [];
    const second = entry(fired, "second");
    const first = { ...entry(fired, "first"), onDeadline: () => wheel.disarm(second) };
    const deadline = wheel.now() + 100;
    wheel.arm(second, deadline);
    wheel.arm(first, deadline);
    advance(1_000);
    expect(fired).toEqual([]);
  });
});
