import type { Exchange, ExchangeObserver } from "@portico/gateway/exchange";
import { describe, expect, test, vi } from "vitest";
import { ConcurrencyGate } from "./concurrency.ts";
import { UnderWay } from "./under-way.ts";

/** As much of an exchange as a gate touches; ended by the test. */
class FakeExchange {
  observer: ExchangeObserver | undefined;
  ended = false;
  started = false;
  status = 0;
  readonly head;
  readonly facts: { id: string; receivedAt: number; queuedMs: number; deadline?: number } = {
    id: "",
    receivedAt: 0,
    queuedMs: 3,
  };

  constructor(target: string) {
    this.head = { method: "GET", target };
    this.facts.id = target;
  }
  respond(status: number): void {
    this.status = status;
    this.finish();
  }
  finish(): void {
    this.ended = true;
    this.observer?.onFinish();
  }
  leave(): void {
    this.ended = true;
    this.observer?.onAbort("client-disconnected");
  }
  get exchange(): Exchange {
    return this as unknown as Exchange;
  }
}

function gate(most: number, queue: number) {
  const running: string[] = [];
  const handler = new ConcurrencyGate((exchange) => void running.push(exchange.head.target), most, queue);
  return { running, handler };
}

describe("concurrency", () => {
  test("measures the wait, on top of what the front measured, and lets go of whom nobody waits for", () => {
    vi.useFakeTimers();
    try {
      const { running, handler } = gate(1, 3);
      const [first, late, second] = ["first", "late", "second"].map((target) => new FakeExchange(target));
      late!.facts.deadline = Date.now() + 20;
      second!.facts.deadline = Date.now() + 100;
      for (const { exchange } of [first!, late!, second!]) handler.handler(exchange);
      vi.advanceTimersByTime(50);
      first!.finish();
      expect([running, late!.status]).toEqual([["first", "second"], 503]);
      expect([first, late, second].map((one) => one!.facts.queuedMs)).toEqual([3, 53, 53]);
    } finally {
      vi.useRealTimers();
    }
  });

  test("runs so many at once, the rest in order, refuses beyond the queue", () => {
    const { running, handler } = gate(1, 2);
    const all = ["a", "b", "c", "d"].map((target) => new FakeExchange(target));
    for (const { exchange } of all) handler.handler(exchange);
    expect([running, handler.waiting, all[3]!.status]).toEqual([["a"], 2, 503]);
    all[0]!.finish();
    expect(running).toEqual(["a", "b"]);
    all[1]!.leave();
    expect(running).toEqual(["a", "b", "c"]);
    expect(handler.waiting).toBe(0);
  });

  test("a client that leaves while it waits is not run", () => {
    const { running, handler } = gate(1, 5);
    const [a, b, c] = ["a", "b", "c"].map((target) => new FakeExchange(target)) as [
      FakeExchange,
      FakeExchange,
      FakeExchange,
    ];
    for (const { exchange } of [a, b, c]) handler.handler(exchange);
    b.leave();
    a.finish();
    expect(running).toEqual(["a", "c"]);
  });

  test("a client that leaves while it waits gives its place in the queue to another", () => {
    const { running, handler } = gate(1, 1);
    const [a, b, c] = ["a", "b", "c"].map((target) => new FakeExchange(target)) as [
      FakeExchange,
      FakeExchange,
      FakeExchange,
    ];
    handler.handler(a.exchange);
    handler.handler(b.exchange);
    b.leave();
    expect(handler.waiting).toBe(0);
    handler.handler(c.exchange);
    expect(c.status).toBe(0);
    a.finish();
    expect(running).toEqual(["a", "c"]);
  });

  test("an application that throws gives its place back when its exchange has ended", () => {
    let broken = true;
    const handler = new ConcurrencyGate(
      (exchange) => {
        if (broken) throw new RangeError("a defect");
        exchange.respond(200, [], null);
      },
      1,
      5,
    );
    const [first, second] = [new FakeExchange("first"), new FakeExchange("second")];
    expect(() => handler.handler(first.exchange)).toThrow("a defect");
    broken = false;
    handler.handler(second.exchange);
    expect([second.status, handler.waiting]).toEqual([0, 1]);
    first.finish();
    expect([second.status, handler.waiting]).toEqual([200, 0]);
  });

  test("a long queue of requests that are answered at once does not use up the stack", () => {
    const handler = new ConcurrencyGate(
      (exchange) => exchange.head.target !== "slow" && exchange.respond(200, [], null),
      1,
      50_000,
    );
    const slow = new FakeExchange("slow");
    handler.handler(slow.exchange);
    const all = Array.from({ length: 50_000 }, (_, index) => new FakeExchange(`${index}`));
    for (const { exchange } of all) handler.handler(exchange);
    slow.finish();
    expect(all.every(({ status }) => status === 200)).toBe(true);
  });

  test("answers at once give their place back at once", () => {
    const handler = new ConcurrencyGate((exchange) => exchange.respond(200, [], null), 1, 0);
    const all = Array.from({ length: 100 }, (_, index) => new FakeExchange(`${index}`));
    for (const { exchange } of all) handler.handler(exchange);
    expect(all.every(({ status }) => status === 200)).toBe(true);
  });
});

test("under way: lists what has not ended, and does not grow with what has", () => {
  const underWay = new UnderWay();
  const handler = underWay.watch(() => {});
  const slow = new FakeExchange("/slow");
  handler(slow.exchange);
  for (let count = 0; count < 10_000; count++) {
    const quick = new FakeExchange("/quick");
    handler(quick.exchange);
    quick.finish();
  }
  expect(underWay.list(5, 10)).toEqual([{ id: "/slow", method: "GET", target: "/slow", age: 5 }]);
  expect(underWay.size).toBe(1);
});
