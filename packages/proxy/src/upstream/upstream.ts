/**
 * A named group of servers: picks one for each request, lets requests wait where all are busy, looks after the
 * members. One per name and thread; a reload changes it in place, and members that stay keep their connections.
 */
import type { ServerSettings, UpstreamSettings } from "../config/schema.ts";
import { isIdempotent } from "../proxying/semantics.ts";
import type { BalancedExchange, Policy } from "./balance.ts";
import { RetryBudget } from "./budget.ts";
import type { HealthNews, UpstreamContext } from "./context.ts";
import type { Member } from "./member.ts";
import { Membership } from "./membership.ts";
import { createPolicy } from "./policy.ts";
import { WaitQueue, type Waiter } from "./queue.ts";
import { Roster } from "./roster.ts";
import { Sticky } from "./sticky.ts";
import { describeUpstream, type UpstreamStatus } from "./status.ts";
import type { Count } from "./zone.ts";

/** A request that needs a server. */
export interface BalancedRequest {
  readonly exchange: BalancedExchange;
  /** Servers that have failed it. */
  readonly avoid: Member[] | null;
}

/** Why there is no server: none could be connected to, not in time, or there is none at all. */
export type NoServer = "connect-failed" | "connect-timeout" | "no-server";

/** A request that waits for its turn. */
export interface QueuedRequest extends Waiter, BalancedRequest {
  /** Its turn has come: it must be sent to this member now. It has left the queue. */
  onTurn(member: Member): void;
  /** There is no server left to wait for. It has left the queue. */
  onNoServer(code: NoServer, reason: string): void;
}

export class Upstream {
  readonly name: string;
  settings: UpstreamSettings;
  readonly budget: RetryBudget;
  /** Null: clients are not kept on their servers. */
  sticky: Sticky | null;
  readonly #context: UpstreamContext;
  readonly #now: () => number;
  readonly #membership: Membership;
  readonly #roster = new Roster();
  #policy: Policy;
  #queue: WaitQueue<QueuedRequest>;
  /** Requests under way to all members, of all threads; null: not limited. */
  #total: Count | null;
  #serving = false;

  constructor(name: string, settings: UpstreamSettings, context: UpstreamContext) {
    this.name = name;
    this.settings = settings;
    this.#context = context;
    this.#now = () => context.wheel.now();
    this.#policy = createPolicy(settings, { now: this.#now });
    this.#queue = new WaitQueue(settings.queue.size);
    this.budget = new RetryBudget(settings.retries.budget);
    this.sticky = settings.sticky === undefined ? null : new Sticky(name, settings.sticky);
    this.#total = this.#countOf(settings);
    this.#membership = new Membership(name, context, {
      onAvailable: () => {
        if (this.#queue.length !== 0) this.#serveSoon();
      },
      onConnectFailed: (member, reason, timedOut) => {
        this.failed(member);
        if (!this.#hopeful()) this.#failWaiting(timedOut ? "connect-timeout" : "connect-failed", reason);
      },
      onChanged: () => this.#refresh(),
      onUnwell: (member) => this.#suspect(member),
      onUnresolved: (reason) => {
        if (!this.#hopeful()) this.#failWaiting("no-server", reason);
      },
    });
    this.#membership.apply(settings);
    this.#refresh();
  }

  get members(): readonly Member[] {
    return this.#membership.members;
  }

  get certificatesChanged(): boolean {
    return this.#membership.certificatesChanged;
  }

  get queued(): number {
    return this.#queue.length;
  }

  /**
   * A server that takes this request now, or null: then the request has to wait (`wait`). Servers in its `avoid` come
   * last. Whoever is given a member sends the request to it and says `released` when that is over. HOT.
   */
  pick(request: BalancedRequest): Member | null {
    if (request.avoid === null) this.budget.earn();
    // Whoever waits already goes first.
    if (this.#queue.length !== 0) return null;
    return this.#choose(request);
  }

  /** True: it waits. `full`: there is no room. Else why there is nothing to wait for. */
  wait(request: QueuedRequest): true | "full" | "down" {
    if (!this.#hopeful()) {
      for (const member of this.members) member.transport.wake();
      if (!this.#hopeful()) return "down";
    }
    if (!this.#queue.push(request)) return "full";
    this.#watchOthers();
    return true;
  }

  leave(request: QueuedRequest): void {
    this.#queue.remove(request);
  }

  /** A request that was sent to this member has ended: there may be room for the next. HOT. */
  released(member: Member): void {
    if (member.count !== null) member.count.subtract();
    if (this.#total !== null) this.#total.subtract();
    if (this.#queue.length !== 0) this.#serveSoon();
  }

  /**
   * Counts against the member: it could not be connected to, broke off, or did not answer in time. Not over the link,
   * whose pool knows the workers one by one: one of them that dies says nothing about the others.
   */
  failed(member: Member): void {
    if (member.transport.kind === "link") return;
    if (!member.passive.failed(this.#now(), this.settings.ejection)) return;
    const { restMs } = member.passive;
    this.#log("warn", member, { forMs: restMs }, "server left alone after failures");
    this.#context.tell({ upstream: this.name, server: member.key, restMs });
    this.#refresh();
    this.#suspect(member);
  }

  /** A response of it has begun, so long after the request was sent. HOT. */
  succeeded(member: Member, headMs: number): void {
    if (member.passive.succeeded(this.#now, this.#roster.panic)) {
      this.#membership.startSlowly(member);
      this.#log("info", member, {}, "server is used again");
      this.#refresh();
    }
    this.#policy.observe?.(member, headMs);
  }

  // --- changes -------------------------------------------------------------------------------------------------

  /** Takes a new configuration: members that are in both stay as they are, connections included. */
  reconfigure(settings: UpstreamSettings): void {
    const before = this.settings;
    this.settings = settings;
    if (before.balance !== settings.balance || JSON.stringify(before.hash) !== JSON.stringify(settings.hash)) {
      this.#policy = createPolicy(settings, { now: this.#now });
    }
    this.budget.percent = settings.retries.budget;
    this.sticky = settings.sticky === undefined ? null : new Sticky(this.name, settings.sticky);
    // Requests under way were counted, or not, by the earlier settings: the same counts go on.
    this.#total ??= this.#countOf(settings);
    if (settings.queue.size !== this.#queue.capacity) this.#resizeQueue(settings.queue.size);
    this.#membership.apply(settings);
    this.#refresh();
  }

  /** Adds a server, or changes one of the same address, until the next reload that changes the upstream. */
  setServer(server: ServerSettings): void {
    this.#membership.setServer(server);
    this.#refresh();
  }

  /** Sets some of a server's settings: `{ drain: true }`, `{ weight: 3 }`. False: there is no such server. */
  changeServer(address: string, change: Partial<Omit<ServerSettings, "address">>): boolean {
    const server = this.#membership.servers.find((one) => one.address === address);
    if (server === undefined) return false;
    this.setServer({ ...server, ...change });
    return true;
  }

  /** Takes a server out; what it has under way finishes. False: there is no such server. */
  removeServer(address: string): boolean {
    if (!this.#membership.removeServer(address)) return false;
    this.#refresh();
    return true;
  }

  /** What another thread has found out. */
  hear(news: HealthNews): void {
    const member = this.#membership.hear(news);
    if (member === undefined) return;
    this.#refresh();
    if (!member.up) this.#suspect(member);
  }

  /** What another thread has to be told that did not hear it. */
  tellAll(): void {
    this.#membership.tellAll();
  }

  status(): UpstreamStatus {
    return describeUpstream(this.name, this.#queue.length, this.#roster, this.members);
  }

  /** Takes no new requests; those under way finish. Resolves when the last has, or after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    const closed = this.#membership.close(graceMs);
    this.#roster.update([], 0);
    this.#failWaiting("no-server", "the upstream was removed");
    await closed;
  }

  /** Cuts everything at once. */
  destroy(): void {
    this.#membership.destroy();
    this.#failWaiting("no-server", "the upstream was closed");
  }

  // --- choosing ------------------------------------------------------------------------------------------------

  /** HOT. */
  #choose(request: BalancedRequest): Member | null {
    const total = this.#total;
    const { maxRequests } = this.settings;
    if (total !== null && maxRequests !== 0 && total.value >= maxRequests) return null;
    const member = this.#select(request);
    if (member === null) return null;
    if (member.count !== null) member.count.add();
    if (total !== null) total.add();
    return member;
  }

  /** HOT. */
  #select(request: BalancedRequest): Member | null {
    const roster = this.#roster;
    const { avoid, exchange } = request;
    if (roster.resting !== 0 && !roster.panic) {
      const rested = this.#rested(request);
      if (rested !== null) return rested;
    }
    if (this.sticky !== null) {
      const bound = this.sticky.find(roster.usable, avoid, exchange);
      if (bound !== null) return bound;
    }
    const member = this.#policy.pick(roster.usable, avoid, exchange);
    if (member !== null) return member;
    // Backups stand in for those that cannot be connected to, not for busy ones: these have the queue.
    if (roster.spare.length !== 0 && (avoid !== null || !roster.usable.some((one) => one.transport.hopeful))) {
      const spare = this.#policy.pick(roster.spare, avoid, exchange);
      if (spare !== null) return spare;
    }
    return avoid === null ? null : this.#policy.pick(roster.usable, null, exchange);
  }

  /** One request tries a server whose rest is over: one that may be sent again if it fails, where such come. */
  #rested(request: BalancedRequest): Member | null {
    const now = this.#now();
    for (const member of this.members) {
      const { passive } = member;
      if (!passive.out || passive.until > now || !member.healthy || member.draining) continue;
      // An attempt that ended without a verdict, because its client left, leaves nothing under way.
      if (passive.tried && member.transport.inFlight > 0) continue;
      const safe = isIdempotent(request.exchange.head.method);
      if (!safe && now < passive.until + passive.restMs) continue;
      if (request.avoid?.includes(member) === true || member.load() === Infinity) continue;
      passive.tried = true;
      return member;
    }
    return null;
  }

  /** Those that wait for this member's response may ask another, where there is one. */
  #suspect(member: Member): void {
    if (this.#roster.panic || this.#roster.usable.length === 0) return;
    member.transport.suspect();
  }

  #refresh(): void {
    const roster = this.#roster;
    const before = roster.panic;
    roster.update(this.members, this.settings.panic);
    this.#policy.update?.(roster.usable);
    if (roster.panic && !before) {
      this.#context.log.warn({ upstream: this.name }, "too few servers are up: requests go to all of them");
    } else if (before && !roster.panic) {
      this.#context.log.info({ upstream: this.name }, "enough servers are up again");
    }
    if (this.#queue.length !== 0) this.#serveSoon();
  }

  // --- waiting -------------------------------------------------------------------------------------------------

  /** Whether waiting can lead to anything. */
  #hopeful(): boolean {
    for (const member of this.members) if (!member.draining && member.transport.hopeful) return true;
    return this.#membership.pending;
  }

  /** What is waited for may be another thread's to give. */
  #watchOthers(): void {
    const serve = (): void => {
      if (this.#queue.length === 0) return;
      this.#serveSoon();
      this.#watchOthers();
    };
    if (this.#total !== null) this.#total.onLess(serve);
    for (const { count } of this.#roster.usable) if (count !== null) count.onLess(serve);
  }

  #serveSoon(): void {
    if (this.#serving) return;
    this.#serving = true;
    // Not from inside the event of a transport: its own count of streams may not be settled yet.
    queueMicrotask(() => {
      this.#serving = false;
      this.#serve();
    });
  }

  #serve(): void {
    for (let first = this.#queue.first; first !== null; first = this.#queue.first) {
      const member = this.#choose(first);
      if (member === null) return;
      this.#queue.remove(first);
      first.onTurn(member);
    }
  }

  #failWaiting(code: NoServer, reason: string): void {
    for (let first = this.#queue.first; first !== null; first = this.#queue.first) {
      this.#queue.remove(first);
      first.onNoServer(code, reason);
    }
  }

  #resizeQueue(size: number): void {
    const before = this.#queue;
    this.#queue = new WaitQueue(Math.max(size, before.length));
    for (let first = before.first; first !== null; first = before.first) {
      before.remove(first);
      this.#queue.push(first);
    }
  }

  #countOf({ maxRequests }: UpstreamSettings): Count | null {
    return maxRequests === 0 ? null : this.#context.zone.count(`upstream ${this.name}`);
  }

  #log(level: "info" | "warn", member: Member, fields: Record<string, unknown>, message: string): void {
    this.#context.log[level]({ upstream: this.name, server: member.address, ...fields }, message);
  }
}
