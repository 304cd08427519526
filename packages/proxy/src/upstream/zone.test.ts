import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { Zone, ZONE_BYTES } from "./zone.ts";

describe("a count of all threads", () => {
  it("is the same for the same key, and another for another", () => {
    const memory = new SharedArrayBuffer(ZONE_BYTES);
    const [one, other] = [new Zone(memory), new Zone(memory)];
    one.count("app a").add();
    other.count("app a").add();
    other.count("app b").add();
    expect([one.count("app a").value, one.count("app b").value]).toEqual([2, 1]);
    one.count("app a").subtract();
    expect(other.count("app a").value).toBe(1);
  });

  it("has room for thousands, and counts for itself beyond that", () => {
    const memory = new SharedArrayBuffer(ZONE_BYTES);
    const [one, other] = [new Zone(memory), new Zone(memory)];
    for (let index = 0; index < 4_096; index++) one.count(`key ${index}`).add();
    for (let index = 0; index < 4_096; index++) expect(other.count(`key ${index}`).value).toBe(1);
    one.count("one more").add();
    expect(one.count("one more").value).toBe(1);
    expect(other.count("one more").value).toBe(0);
  });

  it("wakes a thread that waits when another takes one off", async () => {
    const memory = new SharedArrayBuffer(ZONE_BYTES);
    const count = new Zone(memory).count("app");
    count.add();
    const less = Promise.withResolvers<void>();
    count.onLess(() => less.resolve());
    const code = `
      import { workerData } from "node:worker_threads";
      import { Zone } from ${JSON.stringify(new URL("./zone.ts", import.meta.url).href)};
      new Zone(workerData).count("app").subtract();
    `;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), { workerData: memory });
    const ended = new Promise((resolve) => worker.once("exit", resolve));
    await less.promise;
    await ended;
    expect(count.value).toBe(0);
  });
});
