/** The pool of links: which workers are dialled, which gets the next request, when it tries again. */
import type { PeerHello } from "@portico/link";
import { describe, expect, it } from "vitest";
import { LinkTransport, type DialledLink, type LinkEvents } from "./link.ts";
import type { UpstreamObserver, UpstreamRequest } from "./transport.ts";
import { Wheel } from "./wheel.ts";

/** A session as far as the pool looks at it. */
class FakeSession {
  ready = false;
  draining = false;
  inFlight = 0;
  concurrency = 10;
  readonly counters = { refused: 0 };
  worker = 0;
  opened = 0;
  events: LinkEvents;

  constructor(events: LinkEvents) {
    this.events = events;
  }
  get available(): number {
    return this.ready && !this.draining ? this.concurrency - this.inFlight : 0;
  }
  open(): unknown {
    this.inFlight++;
    this.opened++;
    return {};
  }
  drain(): void {
    if (this.draining) return;
    this.draining = true;
    this.events.onDrain();
    if (this.inFlight === 0) this.lost();
  }
  /** The connection is gone. */
  lost(): void {
    this.ready = false;
    this.draining = true;
    this.events.onClosed("lost", false, true);
  }
}

interface Pool {
  readonly transport: LinkTransport;
  readonly sessions: FakeSession[];
  readonly failures: string[];
  available: () => number;
  advance: (ms: number) => void;
  /** The last dial succeeds: a link to this worker. */
  ready: (worker: number, workers: number) => FakeSession;
  /** The last dial fails. */
  refuse: () => void;
  send: () => FakeSession;
}

function pool(): Pool {
  let now = 1_000;
  let tick: (() => void) | undefined;
  const wheel = new Wheel({
    now: () => now,
    every: (_ms, callback) => {
      tick = callback;
      return () => {
        tick = undefined;
      };
    },
  });
  const sessions: FakeSession[] = [];
  const failures: string[] = [];
  let available = 0;
  const transport = new LinkTransport(
    (events) => {
      const session = new FakeSession(events);
      sessions.push(session);
      return { session, destroy: () => session.lost() } as unknown as DialledLink;
    },
    wheel,
    {
      onAvailable: () => available++,
      onConnected: () => {},
      onConnectFailed: (reason) => failures.push(reason),
    },
  );
  return {
    transport,
    sessions,
    failures,
    available: () => available,
    advance: (ms) => {
      for (const end = now + ms; now < end;) {
        now = Math.min(end, now + 50);
        tick?.();
      }
    },
    ready: (worker, workers) => {
      const session = sessions.at(-1)!;
      session.ready = true;
      session.worker = worker;
      session.events.onReady({ worker, generation: 1, workers, concurrency: session.concurrency } as PeerHello);
      return session;
    },
    refuse: () => sessions.at(-1)!.events.onClosed("refused", false, false),
    send: () => {
      expect(transport.load()).toBeLessThan(Infinity);
      const before = sessions.map((session) => session.opened);
      transport.open({} as UpstreamRequest, null, true, {} as UpstreamObserver);
      return sessions[sessions.findIndex((session, at) => session.opened > before[at]!)]!;
    },
  };
}

describe("the pool", () => {
  it("dials until it has a link to every worker that HELLO counts", () => {
    const { transport, sessions, ready } = pool();
    expect(transport.hopeful).toBe(true);
    expect(transport.load()).toBe(Infinity);
    ready(1, 3);
    ready(2, 3);
    ready(3, 3);
    expect(sessions).toHaveLength(3);
    expect(transport.workers).toBe(3);
  });

  it("dials again, later each time, where the master gave a worker that is reached already, and lets go of the surplus", () => {
    const { transport, sessions, ready, advance } = pool();
    ready(1, 2);
    const repeated = ready(1, 2);
    expect(sessions).toHaveLength(2);
    advance(200);
    expect(sessions).toHaveLength(3);
    ready(2, 2);
    expect(transport.workers).toBe(2);
    expect(repeated.draining).toBe(true);
    expect(sessions.filter((session) => session.ready)).toHaveLength(2);
    advance(9_000);
    expect(sessions).toHaveLength(3);
  });

  it("looks for workers it is not given ever less often, and keeps no surplus", () => {
    const { transport, sessions, ready, advance } = pool();
    ready(1, 3);
    const dials: number[] = [];
    for (let second = 0; second < 120; second++) {
      const before = sessions.length;
      if (!sessions.at(-1)!.ready && !sessions.at(-1)!.draining) ready(1, 3);
      advance(1_000);
      if (sessions.length > before) dials.push(second);
    }
    // One every ten seconds in the end.
    expect(dials.filter((second) => second >= 60).length).toBeLessThanOrEqual(7);
    expect(dials.filter((second) => second >= 60).length).toBeGreaterThanOrEqual(5);
    expect(transport.workers).toBe(1);
    expect(sessions.filter((session) => session.ready)).toHaveLength(1);
  });

  it("finds the successor of a worker that died within seconds of its start", () => {
    const { transport, ready, advance, sessions } = pool();
    ready(1, 2);
    const dies = ready(2, 2);
    advance(2_000);
    dies.lost();
    // Until the successor is there, the master gives what it has.
    for (let waited = 0; waited < 1_500; waited += 100) {
      if (!sessions.at(-1)!.ready && !sessions.at(-1)!.draining) ready(1, 2);
      advance(100);
    }
    const start = sessions.length;
    for (let waited = 0; sessions.length === start; waited += 100) {
      advance(100);
      expect(waited).toBeLessThan(2_000);
    }
    ready(3, 2);
    expect(transport.workers).toBe(2);
    expect(sessions.filter((session) => session.ready)).toHaveLength(2);
  });

  it("finds workers that were added", () => {
    const { transport, sessions, ready, advance } = pool();
    ready(1, 1);
    advance(10_200);
    expect(sessions).toHaveLength(2);
    ready(2, 3);
    advance(200);
    ready(3, 3);
    expect(transport.workers).toBe(3);
  });

  it("follows a server that is scaled, by what its workers report", () => {
    const { transport, sessions, ready, advance } = pool();
    const first = ready(1, 2);
    ready(2, 2);
    first.events.onStatus({ inFlight: 0, loopDelayMs: 0, workers: 3 });
    expect(sessions).toHaveLength(3);
    const third = ready(3, 3);
    expect(transport.workers).toBe(3);
    third.lost();
    first.events.onStatus({ inFlight: 0, loopDelayMs: 0, workers: 2 });
    // A dial that was under way may end; none follows but the look for more workers.
    const before = sessions.length;
    advance(5_000);
    expect(sessions.length - before).toBeLessThanOrEqual(1);
    expect(transport.workers).toBe(2);
  });

  it("replaces a link that drains at once, and sends nothing more over it", () => {
    const { transport, sessions, ready, send } = pool();
    const first = ready(1, 2);
    const second = ready(2, 2);
    first.inFlight = 1;
    first.draining = true;
    first.events.onDrain();
    expect(sessions).toHaveLength(3);
    for (let count = 0; count < 5; count++) expect(send()).toBe(second);
    const third = ready(3, 2);
    expect(send()).toBe(third);
    expect(transport.workers).toBe(2);
  });

  it("replaces a link that is lost at once, but one that never lived a little later", () => {
    const { sessions, ready, advance } = pool();
    ready(1, 2);
    const second = ready(2, 2);
    advance(2_000);
    second.lost();
    expect(sessions).toHaveLength(3);
    ready(3, 2).lost();
    expect(sessions).toHaveLength(3);
    advance(250);
    expect(sessions).toHaveLength(4);
  });

  it("tries a server that is away later each time, and at once when somebody asks", () => {
    const { transport, sessions, failures, refuse, advance } = pool();
    refuse();
    expect(failures).toEqual(["refused"]);
    expect(transport.hopeful).toBe(false);
    advance(200);
    expect(sessions).toHaveLength(2);
    refuse();
    advance(100);
    expect(sessions).toHaveLength(2);
    advance(200);
    expect(sessions).toHaveLength(3);
    for (let count = 0; count < 10; count++) {
      refuse();
      advance(5_100);
    }
    const before = sessions.length;
    refuse();
    transport.wake();
    expect(sessions).toHaveLength(before + 1);
    expect(transport.hopeful).toBe(true);
    transport.wake();
    expect(sessions).toHaveLength(before + 1);
  });

  it("sends to the worker with the fewest under way for what it takes", () => {
    const { ready, send } = pool();
    const small = ready(1, 2);
    small.concurrency = 10;
    const large = ready(2, 2);
    small.inFlight = 3;
    large.inFlight = 5;
    expect(send()).toBe(small);
    expect(send()).toBe(small);
    large.inFlight = 2;
    expect(send()).toBe(large);
  });

  it("takes nothing when every worker is full", () => {
    const { transport, ready } = pool();
    const only = ready(1, 1);
    only.inFlight = only.concurrency;
    expect(transport.load()).toBe(Infinity);
    expect(transport.hopeful).toBe(true);
  });

  it("sends nothing to a worker whose event loop is late, while there is another", () => {
    const { ready, send } = pool();
    const late = ready(1, 2);
    const other = ready(2, 2);
    late.events.onStatus({ inFlight: 1, loopDelayMs: 900, workers: 2 });
    other.inFlight = 8;
    expect(send()).toBe(other);
    late.events.onStatus({ inFlight: 1, loopDelayMs: 1, workers: 2 });
    expect(send()).toBe(late);
  });

  it("sends nothing to a worker that stopped reporting, until it reports again", () => {
    const { transport, ready, send, advance } = pool();
    const silent = ready(1, 2);
    const other = ready(2, 2);
    silent.events.onStatus({ inFlight: 0, loopDelayMs: 0, workers: 2 });
    silent.inFlight = 1;
    other.inFlight = 5;
    expect(send()).toBe(silent);
    advance(3_000);
    expect(send()).toBe(other);
    other.inFlight = other.concurrency;
    expect(transport.load()).toBe(Infinity);
    expect(transport.hopeful).toBe(true);
    silent.events.onStatus({ inFlight: 0, loopDelayMs: 0, workers: 2 });
    expect(send()).toBe(silent);
  });

  it("leaves a worker that refused alone for a moment", () => {
    const { transport, ready, available, advance } = pool();
    const only = ready(1, 1);
    only.counters.refused = 1;
    expect(transport.load()).toBe(Infinity);
    const before = available();
    advance(250);
    expect(available()).toBeGreaterThan(before);
    expect(transport.load()).toBeLessThan(Infinity);
  });

  it("closes when the last request is over", async () => {
    const { transport, ready } = pool();
    const link = ready(1, 1);
    link.inFlight = 1;
    let closed = false;
    const closing = transport.close().then(() => {
      closed = true;
    });
    await Promise.resolve();
    expect(closed).toBe(false);
    expect(transport.load()).toBe(Infinity);
    link.lost();
    await closing;
    expect(closed).toBe(true);
  });
});
