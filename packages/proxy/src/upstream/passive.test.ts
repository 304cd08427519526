import { describe, expect, it } from "vitest";
import { PassiveHealth } from "./passive.ts";

const SETTINGS = { failures: 3, within: 10_000, time: 1_000, maxTime: 5_000 };
const at = (ms: number) => () => ms;

describe("passive health", () => {
  it("ejects after failures in a row", () => {
    const health = new PassiveHealth();
    expect([1, 2, 3].map((now) => health.failed(now, SETTINGS))).toEqual([false, false, true]);
    expect(health.out).toBe(true);
    expect(health.until).toBe(1_003);
  });

  it("begins to count again after a response", () => {
    const health = new PassiveHealth();
    for (let now = 0; now < 100; now++) health.succeeded(at(now), false);
    for (let round = 0; round < 10; round++) {
      expect(health.failed(round, SETTINGS)).toBe(false);
      expect(health.failed(round, SETTINGS)).toBe(false);
      for (let passes = 0; passes < 5; passes++) health.succeeded(at(round), false);
    }
    expect(health.out).toBe(false);
  });

  it("ejects a server that fails every second request", () => {
    const health = new PassiveHealth();
    let requests = 0;
    while (!health.out && requests < 100) {
      requests++;
      if (requests % 2 === 0) health.succeeded(at(requests), false);
      else health.failed(requests, SETTINGS);
    }
    expect(requests).toBe(5);
  });

  it("forgets failures that are long ago", () => {
    const health = new PassiveHealth();
    for (let round = 0; round < 20; round++) {
      expect(health.failed(round * 10_001, SETTINGS)).toBe(false);
      health.succeeded(at(round * 10_001 + 1), false);
    }
  });

  it("rests twice as long each time, up to the longest", () => {
    const health = new PassiveHealth();
    let now = 0;
    for (let count = 0; count < 3; count++) health.failed(now, SETTINGS);
    const rests = [health.restMs];
    for (let round = 0; round < 4; round++) {
      now = health.until;
      health.tried = true;
      expect(health.failed(now, SETTINGS)).toBe(true);
      rests.push(health.restMs);
    }
    expect(rests).toEqual([1_000, 2_000, 4_000, 5_000, 5_000]);
  });

  it("rests as long as the first time after it has served for a while", () => {
    const health = new PassiveHealth();
    const eject = (now: number): number => {
      for (let count = 0; count < 3; count++) health.failed(now, SETTINGS);
      return health.restMs;
    };
    expect(eject(0)).toBe(1_000);
    health.back(2_000);
    expect(eject(2_500)).toBe(2_000);
    health.back(5_000);
    expect(eject(8_000)).toBe(1_000);
  });

  it("is not prolonged by what was sent before it was ejected, nor ended by it", () => {
    const health = new PassiveHealth();
    for (let count = 0; count < 50; count++) health.failed(0, SETTINGS);
    expect(health.until).toBe(1_000);
    expect(health.succeeded(at(10), false)).toBe(false);
    expect(health.out).toBe(true);
    health.tried = true;
    expect(health.succeeded(at(1_001), false)).toBe(true);
    expect(health.out).toBe(false);
  });

  it("never ejects where it is turned off", () => {
    const health = new PassiveHealth();
    for (let count = 0; count < 50; count++) expect(health.failed(count, { ...SETTINGS, failures: 0 })).toBe(false);
  });
});
