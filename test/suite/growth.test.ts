/**
 * Memory does not grow with what passes through, nor much with connections that wait. The short version of
 * test/bench/growth.ts, with bounds that a collector on a busy machine keeps too.
 */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { PeakWatch, resident } from "../support/memory.ts";
import { ProxyUnderTest, site } from "../support/proxy.ts";
import { descendants } from "../support/command.ts";
import { Playground, StackUnderTest } from "../support/stack.ts";
import { Connection, IdleConnections } from "../support/transfer.ts";

const MIB = 1_048_576;
const BODY_BYTES = 256 * MIB;
/** Far below what passed through; 1 GiB rises by 20 to 60 MiB, most of it buffers that wait for the collector. */
const MOST_RISE_MIB = 96;
const IDLE = 1_000;
/** A connection takes about 4 KiB when there are ten thousand; with fewer the heap's own steps show. */
const MOST_IDLE_KIB = 24;
const WARM_BYTES = 16 * MIB;

const app = join(import.meta.dirname, "../fixtures/apps/bodies.ts");

describe("a body of 256 MiB through both tiers", () => {
  const streamed = {
    listen: ["127.0.0.1:0"],
    limits: { bodySize: "1GiB" },
    sites: [
      {
        hosts: ["*"],
        routes: [{ path: "/*", proxy: { upstream: "app", request: { mode: "stream" }, response: { mode: "stream" } } }],
      },
    ],
  };

  test.each(["buffered", "streamed"] as const)("%s, up and down: memory stays", async (mode) => {
    using playground = new Playground();
    const args =
      mode === "buffered"
        ? ["--body-size", "1GiB"]
        : ["--listen", "127.0.0.1:0", "--config", playground.write("front.json", JSON.stringify(streamed))];
    await using stack = await StackUnderTest.start(playground, app, args);
    using connection = await Connection.open(Number(new URL(stack.url).port));
    // What a first body loads and compiles is not the bodies'.
    await connection.upload(WARM_BYTES);
    await connection.download(`/?bytes=${WARM_BYTES}`, WARM_BYTES);
    const processes = [...stack.fronts(), ...stack.workers()];
    expect(processes.length).toBeGreaterThanOrEqual(2);
    for (const transfer of ["up", "down"]) {
      const watch = PeakWatch.start(processes);
      if (transfer === "up") await connection.upload(BODY_BYTES);
      else await connection.download(`/?bytes=${BODY_BYTES}`, BODY_BYTES);
      const rises = [...watch.rise().values()];
      console.log(`${mode}, ${transfer}: ${rises.map((rise) => rise.toFixed(1)).join(" and ")} MiB above idle`);
      expect(Math.max(...rises)).toBeLessThan(MOST_RISE_MIB);
    }
  });
});

test("a thousand idle connections take a few KiB each, and others are served beside them", async () => {
  await using proxy = await ProxyUnderTest.start({
    threads: 1,
    ...site({ path: "/*", respond: { status: 200, body: "hello" } }),
  });
  const port = Number(new URL(proxy.url).port);
  const processes = descendants(proxy.command.pid);
  // The first ones grow the heap and compile the code.
  using warm = await IdleConnections.dial(port, "/", 5, 200);
  const before = resident(processes);
  using idle = await IdleConnections.dial(port, "/", 5, IDLE);
  const each = ((resident(processes) - before) * 1_024) / IDLE;
  console.log(`an idle connection: ${each.toFixed(1)} KiB`);
  expect(each).toBeLessThan(MOST_IDLE_KIB);
  expect([warm.open, idle.open]).toEqual([200, IDLE]);
  using other = await Connection.open(port);
  await other.download("/", 5);
});
