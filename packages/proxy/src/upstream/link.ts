/**
 * The transport to a server over the link: one connection to each of its workers, and every request onto the one with
 * the fewest under way for what it takes at once.
 *
 * Who answers a dial is for the server's master to say (the worker with the fewest links), so dialling goes on until
 * every worker that HELLO counts is reached. A link that drains or is lost is replaced at once; a server that is not
 * there is dialled again and again, later each time, and at once when somebody asks for it.
 */
import type { ClientSession, PeerHello, WorkerStatus } from "@portico/link";
import { TICK_MS, type Wheel, type WheelEntry } from "./wheel.ts";
import type {
  ServerTransport,
  TransportEvents,
  UpstreamObserver,
  UpstreamRequest,
  UpstreamStream,
} from "./transport.ts";

/** First pause after a dial that failed, or led to a worker that is reached already; doubled each time. */
const FIRST_PAUSE_MS = 100;
/** Longest pause: a server that comes back is found within it even if nobody asks. */
const LONGEST_PAUSE_MS = 5_000;
/** While a worker is missing that was there a moment ago, its successor is looked for so often, at first. */
const QUICK_PAUSE_MS = 1_000;
const QUICK_REPEATS = 12;
/** A link that is lost so soon after it was made is not replaced at once: what broke it would break the next. */
const SHORT_LIFE_MS = 1_000;
/** Between two looks at whether the server has more workers than it said. */
const PROBE_INTERVAL_MS = 10_000;
/** A worker that refused, being full from other fronts, is left alone so long. */
const REST_MS = 20;
/** Mean event-loop delay from which a worker comes after all others. Garbage collection stays far below. */
const LATE_DELAY_MS = 250;
/** A worker that has said nothing for so long is stuck: it reports every second, busy or not. */
const SILENT_MS = 2_000;
/** Between two looks for such workers. */
const WATCH_INTERVAL_MS = 500;

/** Longest body that goes with the head in one frame; the session divides it where the peer's frames are shorter. */
const INLINE_LIMIT = 48 * 1024;

/** Added to the load of a worker that comes last; beyond every real load, below Infinity. */
const LAST = 1_000_000;

/** What a link tells the pool that dialled it. */
export interface LinkEvents {
  onReady(hello: PeerHello): void;
  onDrain(): void;
  onStatus(status: WorkerStatus): void;
  /** Over, or never made. Once. `connected`: somebody had accepted the connection. */
  onClosed(reason: string, timedOut: boolean, connected: boolean): void;
}

/** A connection under way or made. */
export interface DialledLink {
  readonly session: ClientSession;
  destroy(): void;
}

/** Connects to the server; `onReady` or `onClosed` follow, never from inside. */
export type LinkDial = (events: LinkEvents) => DialledLink;

/** One link of the pool. */
class Link implements LinkEvents {
  readonly #pool: LinkTransport;
  dialled: DialledLink | undefined;
  session: ClientSession | undefined;
  /** `generation:id` of the worker; empty until HELLO. */
  worker = "";
  concurrency = 1;
  closed = false;
  /** Monotonic milliseconds. */
  readyAt = 0;
  /** We let go of it ourselves. */
  retired = false;
  /** Monotonic milliseconds until which it gets nothing; 0: none. */
  restUntil = 0;
  refusals = 0;
  /** Its event loop is late: it comes last. */
  late = false;
  /** It does not report any more: it gets nothing. */
  silent = false;
  /** Monotonic milliseconds of its last STATUS; 0: none yet. */
  heardAt = 0;

  constructor(pool: LinkTransport) {
    this.#pool = pool;
  }
  onReady(hello: PeerHello): void {
    this.session = this.dialled?.session;
    this.worker = `${hello.generation}:${hello.worker}`;
    this.concurrency = Math.max(1, hello.concurrency);
    this.#pool.linkReady(this, hello);
  }
  onDrain(): void {
    this.#pool.linkDraining(this);
  }
  onStatus(status: WorkerStatus): void {
    this.#pool.linkStatus(this, status);
  }
  onClosed(reason: string, timedOut: boolean, connected: boolean): void {
    if (this.closed) return;
    this.closed = true;
    this.#pool.linkClosed(this, reason, timedOut, connected);
  }
}

/** A moment of the pool's own; two of them share the thread's wheel. */
class Alarm implements WheelEntry {
  dueAt = 0;
  wheelSlot = 0;
  wheelNext: WheelEntry | null = null;
  wheelPrevious: WheelEntry | null = null;
  readonly onDeadline: () => void;

  constructor(onDeadline: () => void) {
    this.onDeadline = onDeadline;
  }
}

export class LinkTransport implements ServerTransport {
  readonly kind = "link";
  readonly inlineLimit: number = INLINE_LIMIT;
  readonly #dial: LinkDial;
  readonly #wheel: Wheel;
  readonly #events: TransportEvents;
  readonly #links: Link[] = [];
  /** Where the last `load` would send the next request. */
  #best: Link | undefined;
  #start = 0;
  /** Workers of the server, as the last HELLO or STATUS said. */
  #workers = 1;
  #dialling = false;
  /** There was a link before: this is a server of ours. */
  #known = false;
  /** Its master accepts connections, and no worker has taken one yet: they are starting. */
  #booting = false;
  #pause = 0;
  /** Links made since the last new worker was reached that led to a worker we have. */
  #repeats = 0;
  #closing = false;
  #gone: (() => void) | undefined;
  /** The pause after a failure is over, or it is time to see whether there are more workers. */
  readonly #redial = new Alarm(() => {
    if (!this.#closing && !this.#dialling) this.#connect();
  });
  #watchedAt = 0;
  readonly #watch = new Alarm(() => this.#watchSilence());
  readonly #rested = new Alarm(() => this.#events.onAvailable());

  constructor(dial: LinkDial, wheel: Wheel, events: TransportEvents) {
    this.#dial = dial;
    this.#wheel = wheel;
    this.#events = events;
    this.#maintain();
  }

  get inFlight(): number {
    let count = 0;
    for (const link of this.#links) if (link.session !== undefined) count += link.session.inFlight;
    return count;
  }

  /** Workers that would take a request, blocked or busy ones included. */
  get workers(): number {
    return this.#reached().size;
  }

  get hopeful(): boolean {
    if (this.#closing) return false;
    // Who waits for workers that start has the queue's own time.
    if (this.#dialling || this.#booting) return true;
    for (const link of this.#links) if (isUsable(link)) return true;
    return false;
  }

  get responsive(): boolean {
    for (const link of this.#links) if (isUsable(link) && !link.silent) return true;
    return false;
  }

  suspect(): void {
    // Whoever hangs here is one worker, and the pool knows which.
  }

  wake(): void {
    if (!this.#closing && !this.#dialling && this.#redial.wheelSlot !== 0) this.#connect();
  }

  /** HOT. */
  load(): number {
    const links = this.#links;
    const count = links.length;
    this.#best = undefined;
    let least = Infinity;
    let at = (this.#start = this.#start + 1 >= count ? 0 : this.#start + 1);
    for (let left = count; left > 0; left--) {
      const link = links[at]!;
      at = at + 1 === count ? 0 : at + 1;
      const { session } = link;
      if (session === undefined || link.silent) continue;
      const free = session.available;
      if (free === 0 || (session.counters.refused !== link.refusals && this.#resting(link))) continue;
      if (link.restUntil !== 0 && this.#resting(link)) continue;
      // One that is late comes after all that are not, whatever they have to do.
      const load = (link.concurrency - free + 1) / link.concurrency + (link.late ? LAST : 0);
      if (load < least) {
        least = load;
        this.#best = link;
      }
    }
    return least;
  }

  /** HOT. */
  open(
    request: UpstreamRequest,
    body: Uint8Array | null,
    complete: boolean,
    observer: UpstreamObserver,
  ): UpstreamStream {
    // `load` was asked just before, by whoever chose this server.
    return this.#best!.session!.open(request, body, complete, observer);
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#wheel.disarm(this.#redial);
    for (const link of this.#links) {
      if (link.session === undefined) link.dialled?.destroy();
      else link.session.drain();
    }
    if (this.#links.length > 0) {
      await new Promise<void>((resolve) => {
        this.#gone = resolve;
      });
    }
    this.#wheel.disarm(this.#watch);
    this.#wheel.disarm(this.#rested);
  }

  destroy(): void {
    this.#closing = true;
    this.#wheel.disarm(this.#redial);
    this.#wheel.disarm(this.#watch);
    this.#wheel.disarm(this.#rested);
    for (const link of this.#links.slice()) link.dialled?.destroy();
  }

  // --- from the links ------------------------------------------------------------------------------------------

  linkReady(link: Link, hello: PeerHello): void {
    this.#dialling = false;
    this.#known = true;
    this.#booting = false;
    if (this.#closing) {
      link.session?.drain();
      return;
    }
    this.#workers = Math.max(1, hello.workers);
    link.readyAt = this.#wheel.now();
    if (this.#watch.wheelSlot === 0) this.#watchSilence();
    let known = false;
    for (const other of this.#links)
      if (other !== link && isUsable(other) && other.worker === link.worker) known = true;
    if (known) {
      this.#repeats++;
      this.#pause = nextPause(this.#pause, this.#repeats <= QUICK_REPEATS ? QUICK_PAUSE_MS : PROBE_INTERVAL_MS);
    } else {
      this.#repeats = 0;
      this.#pause = 0;
    }
    this.#events.onConnected();
    this.#maintain();
    this.#events.onAvailable();
  }

  linkDraining(link: Link): void {
    if (this.#closing || link.retired) return;
    // The next worker is as near as the first was: nothing has failed.
    this.#pause = 0;
    this.#repeats = 0;
    this.#maintain();
  }

  linkStatus(link: Link, status: WorkerStatus): void {
    link.heardAt = this.#wheel.now();
    link.silent = false;
    link.late = status.loopDelayMs >= LATE_DELAY_MS;
    const workers = Math.max(1, status.workers);
    if (workers !== this.#workers) {
      this.#workers = workers;
      this.#pause = 0;
      this.#maintain();
    }
    this.#events.onAvailable();
  }

  linkClosed(link: Link, reason: string, timedOut: boolean, connected: boolean): void {
    const at = this.#links.indexOf(link);
    if (at !== -1) this.#links.splice(at, 1);
    this.#best = undefined;
    if (this.#links.length === 0) this.#gone?.();
    if (link.session === undefined) {
      this.#dialling = false;
      if (this.#closing) return;
      this.#booting = this.#known && connected;
      // A dial that has lasted as long as it may needs no pause besides.
      this.#pause = this.#booting && timedOut ? FIRST_PAUSE_MS : nextPause(this.#pause, LONGEST_PAUSE_MS);
      this.#maintain();
      this.#events.onConnectFailed(reason, timedOut);
      return;
    }
    if (this.#closing || link.retired) return;
    this.#repeats = 0;
    this.#pause = this.#wheel.now() - link.readyAt < SHORT_LIFE_MS ? FIRST_PAUSE_MS : 0;
    this.#maintain();
    this.#events.onAvailable();
  }

  // --- keeping the pool ----------------------------------------------------------------------------------------

  /** Dials what is missing, lets go of what is too much, and says when to look again. */
  #maintain(): void {
    if (this.#closing || this.#dialling) return;
    const reached = this.#reached();
    const complete = reached.size >= this.#workers;
    if (complete) {
      this.#repeats = 0;
      this.#pause = 0;
    }
    // Surplus links make the master look at other workers; if that did not help, the missing ones are not there.
    if (complete || this.#repeats > this.#workers) this.#retireSurplus(reached);
    if (!complete && this.#pause === 0) this.#connect();
    else this.#wheel.arm(this.#redial, this.#wheel.now() + (complete ? PROBE_INTERVAL_MS : this.#pause));
  }

  #retireSurplus(reached: Map<string, Link>): void {
    for (const link of this.#links.slice()) {
      if (!isUsable(link) || reached.get(link.worker) === link) continue;
      link.retired = true;
      link.session?.drain();
    }
  }

  #connect(): void {
    this.#wheel.disarm(this.#redial);
    this.#dialling = true;
    const link = new Link(this);
    this.#links.push(link);
    link.dialled = this.#dial(link);
  }

  /** The links that take requests, one for each worker: the first of several. */
  #reached(): Map<string, Link> {
    const reached = new Map<string, Link>();
    for (const link of this.#links) if (isUsable(link) && !reached.has(link.worker)) reached.set(link.worker, link);
    return reached;
  }

  /** A worker that used to report, and says nothing any more, is stuck. */
  #watchSilence(): void {
    const now = this.#wheel.now();
    // If it is we who were held up, what they said may still wait to be read.
    const onTime = now - this.#watchedAt < 2 * WATCH_INTERVAL_MS;
    this.#watchedAt = now;
    for (const link of this.#links) {
      if (!onTime && link.heardAt !== 0) link.heardAt = now;
      else if (link.heardAt !== 0 && now - link.heardAt > SILENT_MS) link.silent = true;
    }
    if (this.#links.length > 0) this.#wheel.arm(this.#watch, now + WATCH_INTERVAL_MS);
  }

  /** Whether a link that has refused is still left alone; notices new refusals. */
  #resting(link: Link): boolean {
    const now = this.#wheel.now();
    const refused = link.session!.counters.refused;
    if (refused !== link.refusals) {
      link.refusals = refused;
      link.restUntil = now + REST_MS;
      this.#wheel.arm(this.#rested, link.restUntil + TICK_MS);
      return true;
    }
    if (now < link.restUntil) return true;
    link.restUntil = 0;
    return false;
  }
}

function isUsable(link: Link): boolean {
  return link.session !== undefined && link.session.ready && !link.session.draining;
}

function nextPause(pause: number, longest: number): number {
  return pause === 0 ? FIRST_PAUSE_MS : Math.min(longest, pause * 2);
}
