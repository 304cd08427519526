/**
 * A named group of servers: picks one for each request, lets requests wait where all are busy, looks after the
 * members. One per name and thread; a reload changes it in place, and members that stay keep their connections.
 */
import type { ServerSettings, UpstreamSettings } from "../config/schema.ts";
import { needsLookup, parseServerAddress, type ServerAddress } from "./address.ts";
import { createPolicy, type Policy } from "./balance.ts";
import { Member } from "./member.ts";
import { WaitQueue, type Waiter } from "./queue.ts";
import { NameWatch, type Lookup } from "./resolve.ts";
import type { ServerTransport, TransportEvents } from "./transport.ts";

/** A request that waits for its turn. */
export interface QueuedRequest extends Waiter {
  /** Servers that have failed it. */
  readonly avoid: Member[] | null;
  /** Its turn has come: it must be sent to this member now. It has left the queue. */
  onTurn(member: Member): void;
  /** There is no server left to wait for. It has left the queue. */
  onNoServer(reason: string, timedOut: boolean): void;
}

/** What a group needs of its thread. */
export interface UpstreamContext {
  readonly now: () => number;
  readonly lookup: Lookup;
  /** Makes the transport of one server; `host` is the address to connect to, resolved. */
  readonly connect: (
    address: ServerAddress,
    host: string,
    settings: UpstreamSettings,
    server: ServerSettings,
    events: TransportEvents,
  ) => ServerTransport;
  readonly log: {
    warn(fields: Record<string, unknown>, message: string): void;
    info(fields: Record<string, unknown>, message: string): void;
  };
}

/** What a group looks like from outside, for `status`. */
export interface UpstreamStatus {
  readonly name: string;
  readonly queued: number;
  readonly servers: readonly {
    readonly address: string;
    readonly weight: number;
    readonly inFlight: number;
    readonly state: "up" | "busy" | "down" | "ejected";
  }[];
}

export class Upstream {
  readonly name: string;
  settings: UpstreamSettings;
  readonly #context: UpstreamContext;
  #policy: Policy;
  #queue: WaitQueue<QueuedRequest>;
  #members: Member[] = [];
  #ejected = 0;
  #watches = new Map<string, NameWatch>();
  #serving = false;
  #closed = false;
  readonly #leaving = new Set<Promise<void>>();
  readonly #transports = new Set<ServerTransport>();

  constructor(name: string, settings: UpstreamSettings, context: UpstreamContext) {
    this.name = name;
    this.settings = settings;
    this.#context = context;
    this.#policy = createPolicy(settings.balance);
    this.#queue = new WaitQueue(settings.queue.size);
    this.#rebuild(settings);
  }

  get members(): readonly Member[] {
    return this.#members;
  }

  get queued(): number {
    return this.#queue.length;
  }

  /**
   * A server that takes a request now, or null: then the request has to wait (`wait`). Servers in `avoid` come last.
   * HOT.
   */
  pick(avoid: Member[] | null): Member | null {
    // Whoever waits already goes first.
    if (this.#queue.length !== 0) return null;
    return this.#choose(avoid);
  }

  /** True: it waits. `full`: there is no room. Else why there is nothing to wait for. */
  wait(request: QueuedRequest): true | "full" | "down" {
    if (!this.#hopeful()) {
      for (const member of this.#members) member.transport.wake();
      if (!this.#hopeful()) return "down";
    }
    if (!this.#queue.push(request)) return "full";
    return true;
  }

  leave(request: QueuedRequest): void {
    this.#queue.remove(request);
  }

  /** A request that was sent to a member of ours has ended: there may be room for the next. HOT. */
  released(): void {
    if (this.#queue.length !== 0) this.#serveSoon();
  }

  /**
   * Counts against the member: it could not be connected to, or broke off. Not over the link, whose pool knows the
   * workers one by one: one of them that dies says nothing about the others.
   */
  failed(member: Member): void {
    if (member.transport.kind === "link") return;
    const { ejection } = this.settings;
    if (!member.failed(this.#context.now(), ejection)) return;
    this.#countEjected();
    this.#context.log.warn(
      { upstream: this.name, server: member.address, forMs: ejection.time },
      "server left alone after failures in a row",
    );
  }

  succeeded(member: Member): void {
    if (member.ejected) {
      member.succeeded();
      this.#countEjected();
    } else member.succeeded();
  }

  /** Takes a new configuration: members that are in both stay as they are, connections included. */
  reconfigure(settings: UpstreamSettings): void {
    this.settings = settings;
    this.#policy = createPolicy(settings.balance);
    if (settings.queue.size !== this.#queue.capacity) {
      const before = this.#queue;
      this.#queue = new WaitQueue(Math.max(settings.queue.size, before.length));
      for (let first = before.first; first !== null; first = before.first) {
        before.remove(first);
        this.#queue.push(first);
      }
    }
    this.#rebuild(settings);
    this.#serveSoon();
  }

  status(): UpstreamStatus {
    return {
      name: this.name,
      queued: this.#queue.length,
      servers: this.#members.map((member) => ({
        address: member.address,
        weight: member.weight,
        inFlight: member.transport.inFlight,
        state: member.ejected
          ? "ejected"
          : member.transport.load() < Infinity
            ? "up"
            : member.transport.hopeful
              ? "busy"
              : "down",
      })),
    };
  }

  /** Takes no new requests; those under way finish. Resolves when the last has, or after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    for (const watch of this.#watches.values()) watch.stop();
    this.#watches.clear();
    for (const member of this.#members) this.#release(member);
    this.#members = [];
    this.#failWaiting("the upstream was removed", false);
    if (this.#leaving.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const grace = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([Promise.all(this.#leaving), grace]);
    clearTimeout(timer);
    this.destroy();
  }

  /** Cuts everything at once. */
  destroy(): void {
    this.#closed = true;
    for (const watch of this.#watches.values()) watch.stop();
    for (const transport of this.#transports) transport.destroy();
    this.#transports.clear();
    this.#failWaiting("the upstream was closed", false);
  }

  #choose(avoid: Member[] | null): Member | null {
    if (this.#ejected !== 0) this.#restoreRested();
    const member = this.#policy.pick(this.#members, avoid);
    if (member !== null) return member;
    return avoid === null ? null : this.#policy.pick(this.#members, null);
  }

  #restoreRested(): void {
    const now = this.#context.now();
    // Never the last: where all the others are away, the ejected are better than none.
    const all = this.#members.every((member) => member.ejected);
    for (const member of this.#members) if (member.ejected && (all || member.ejectedUntil <= now)) member.restore();
    this.#countEjected();
  }

  #countEjected(): void {
    let count = 0;
    for (const member of this.#members) if (member.ejected) count++;
    this.#ejected = count;
  }

  /** Whether waiting can lead to anything. */
  #hopeful(): boolean {
    for (const member of this.#members) if (member.transport.hopeful) return true;
    for (const watch of this.#watches.values()) if (watch.pending) return true;
    return false;
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
      const member = this.#choose(first.avoid);
      if (member === null) return;
      this.#queue.remove(first);
      first.onTurn(member);
    }
  }

  #failWaiting(reason: string, timedOut: boolean): void {
    for (let first = this.#queue.first; first !== null; first = this.#queue.first) {
      this.#queue.remove(first);
      first.onNoServer(reason, timedOut);
    }
  }

  /** Members for the configured servers and their addresses of this moment. */
  #rebuild(settings: UpstreamSettings): void {
    const before = new Map(this.#members.map((member) => [member.key, member]));
    const wanted = new Set<string>();
    const next: Member[] = [];
    for (const server of settings.servers) {
      const address = parseServerAddress(server.address);
      if (needsLookup(address)) wanted.add(address.host);
      for (const host of this.#hostsOf(address)) {
        const key = memberKey(server, host, settings);
        const old = before.get(key);
        before.delete(key);
        if (old !== undefined) {
          old.weight = server.weight;
          next.push(old);
        } else next.push(this.#add(key, address, host, settings, server));
      }
    }
    this.#members = next;
    this.#countEjected();
    for (const gone of before.values()) this.#release(gone);
    for (const [host, watch] of this.#watches) {
      if (wanted.has(host)) continue;
      watch.stop();
      this.#watches.delete(host);
    }
  }

  #hostsOf(address: ServerAddress): readonly string[] {
    if (!needsLookup(address)) return [address.host];
    let watch = this.#watches.get(address.host);
    if (watch === undefined) {
      watch = new NameWatch(address.host, this.#context.lookup, (found) => this.#resolved(found));
      this.#watches.set(address.host, watch);
    }
    return watch.addresses;
  }

  #resolved(watch: NameWatch): void {
    if (this.#closed) return;
    const { log } = this.#context;
    if (watch.addresses.length === 0) {
      log.warn({ upstream: this.name, host: watch.host, reason: watch.failure }, "name does not resolve yet");
    } else log.info({ upstream: this.name, host: watch.host, addresses: watch.addresses }, "name resolved");
    this.#rebuild(this.settings);
    if (this.#hopeful()) this.#serveSoon();
    else this.#failWaiting(`${watch.host} does not resolve`, false);
  }

  #add(key: string, address: ServerAddress, host: string, settings: UpstreamSettings, server: ServerSettings): Member {
    let member: Member | undefined;
    const transport = this.#context.connect(address, host, settings, server, {
      onAvailable: () => {
        if (this.#queue.length !== 0) this.#serveSoon();
      },
      onConnected: () => {
        if (member !== undefined) this.succeeded(member);
      },
      onConnectFailed: (reason, timedOut) => {
        if (member === undefined || !this.#members.includes(member)) return;
        this.failed(member);
        if (!this.#hopeful()) this.#failWaiting(reason, timedOut);
      },
    });
    this.#transports.add(transport);
    member = new Member(
      key,
      host === address.host ? address.text : `${address.text} (${host})`,
      server.weight,
      transport,
    );
    return member;
  }

  #release(member: Member): void {
    const leaving = member.transport.close().finally(() => {
      this.#leaving.delete(leaving);
      this.#transports.delete(member.transport);
    });
    this.#leaving.add(leaving);
  }
}

/** All that a transport is made from: if any of it changes, it is another one. The weight is not among it. */
function memberKey(server: ServerSettings, host: string, settings: UpstreamSettings): string {
  return [server.address, host, server.maxConnections, settings.connectTimeout, settings.keepAlive].join("|");
}
