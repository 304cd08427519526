/** Two workers are two connections to one file: what one publishes, the other tells its listeners. */
import { expect, onTestFinished, test, vi } from "vitest";
import { openDatabase } from "./database.ts";
import { type BoardEvent, Events } from "./events.ts";
import { dataFolder } from "./test-data.ts";

function worker(folder: string) {
  const database = openDatabase(folder);
  const events = new Events(database);
  const seen: BoardEvent[] = [];
  events.subscribe((event) => seen.push({ ...event }));
  onTestFinished(() => {
    events.close();
    database.close();
  });
  return { database, events, seen, payloads: () => seen.map(({ payload }) => payload) };
}

test("both workers hear both, in the same order, each once", async () => {
  const folder = dataFolder();
  const [one, two] = [worker(folder), worker(folder)];
  for (let n = 0; n < 20; n++) (n % 2 === 0 ? one : two).events.publish("message", n);
  await vi.waitFor(() => expect([one.seen.length, two.seen.length]).toEqual([20, 20]));
  expect(one.seen).toEqual(two.seen);
  expect(one.payloads()).toEqual(Array.from({ length: 20 }, (_, n) => String(n)));
});

test("a worker that starts hears what comes, not what was", async () => {
  const folder = dataFolder();
  const one = worker(folder);
  one.events.publish("message", "before");
  const two = worker(folder);
  one.events.publish("message", "after");
  await vi.waitFor(() => expect(two.payloads()).toEqual(['"after"']));
  expect(one.payloads()).toEqual(['"before"', '"after"']);
});

test("since: what a page missed, and nothing that its worker has not told yet", async () => {
  const folder = dataFolder();
  const [one, two] = [worker(folder), worker(folder)];
  one.events.publish("notice", 1);
  const known = one.events.last;
  one.events.publish("notice", 2);
  one.events.publish("notice-removed", 3);
  expect(one.events.since(known).map(({ payload }) => payload)).toEqual(["2", "3"]);
  // The other one has not looked yet; its listeners will be told in their turn.
  expect(two.events.since(known)).toEqual([]);
  await vi.waitFor(() => expect(two.events.since(known)).toHaveLength(2));
});

test("a listener that has left hears no more", () => {
  const { events } = worker(dataFolder());
  const seen: string[] = [];
  const leave = events.subscribe(({ payload }) => seen.push(payload));
  events.publish("message", 1);
  leave();
  events.publish("message", 2);
  expect(seen).toEqual(["1"]);
});

test("old events are dropped; numbers go on", () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => void vi.useRealTimers());
  const { database, events, seen } = worker(dataFolder());
  events.publish("message", 1);
  vi.setSystemTime(Date.now() + 61_000);
  events.publish("message", 2);
  expect(database.prepare("SELECT payload FROM event").all()).toEqual([{ payload: "2" }]);
  expect(seen.map(({ id }) => id)).toEqual([1, 2]);
});
