/**
 * The members of an upstream: made from the servers of the configuration, those set since, and where their names lead.
 * A member that stays keeps its connections and what is known of its health; one that goes finishes what it has.
 */
import type { ServerSettings, UpstreamSettings } from "../config/schema.ts";
import { authorityOf, parseServerAddress, type ServerAddress } from "./address.ts";
import type { HealthNews, UpstreamContext } from "./context.ts";
import { Discovery } from "./discovery.ts";
import { HealthCheck } from "./health-check.ts";
import { Member } from "./member.ts";
import type { NameWatch, Place } from "./names.ts";
import type { ServerTransport } from "./transport.ts";
import { readTls, type TlsMaterial } from "./tls.ts";
import type { WheelEntry } from "./wheel.ts";

/** Steps of a slow start: fine enough that no server is overrun by one. */
const SLOW_START_STEPS = 50;

export interface MembershipEvents {
  onAvailable(): void;
  onConnectFailed(member: Member, reason: string, timedOut: boolean): void;
  /** Members, their weights or their health have changed. */
  onChanged(): void;
  /** Health checks have found it ill. */
  onUnwell(member: Member): void;
  /** A name does not lead anywhere. */
  onUnresolved(reason: string): void;
}

/** A server at one of its places. */
interface Wanted {
  readonly key: string;
  readonly server: ServerSettings;
  readonly address: ServerAddress;
  readonly place: Place;
}

export class Membership implements WheelEntry {
  dueAt = 0;
  wheelSlot = 0;
  wheelNext: WheelEntry | null = null;
  wheelPrevious: WheelEntry | null = null;
  members: readonly Member[] = [];
  servers: readonly ServerSettings[] = [];
  readonly #upstream: string;
  readonly #context: UpstreamContext;
  readonly #events: MembershipEvents;
  readonly #discovery: Discovery;
  readonly #checks = new Map<Member, HealthCheck>();
  /** Keys of members that health checks have found ill, in whichever thread. */
  readonly #ill = new Set<string>();
  readonly #leaving = new Set<Promise<void>>();
  readonly #transports = new Set<ServerTransport>();
  #settings: UpstreamSettings | undefined;
  #tls: TlsMaterial | undefined;
  #closed = false;

  constructor(upstream: string, context: UpstreamContext, events: MembershipEvents) {
    this.#upstream = upstream;
    this.#context = context;
    this.#events = events;
    this.#discovery = new Discovery({
      resolver: context.resolver,
      interval: context.lookupInterval,
      onChanged: (watch) => this.#resolved(watch),
      onFailing: (watch) =>
        context.log.warn(
          { upstream, host: watch.address.host, reason: watch.failure },
          "name cannot be looked up: the servers known so far are kept",
        ),
    });
  }

  /** A name is looked up for the first time. */
  get pending(): boolean {
    return this.#discovery.pending;
  }

  apply(settings: UpstreamSettings): void {
    const before = this.#settings;
    this.#settings = settings;
    this.servers = settings.servers;
    if (this.#tls !== undefined) this.#tls = this.#readTls(settings);
    if (JSON.stringify(before?.health) !== JSON.stringify(settings.health)) this.#stopChecks();
    this.#rebuild();
  }

  /** The files of certificates and keys hold something else than when they were read. */
  get certificatesChanged(): boolean {
    const settings = this.#settings;
    if (settings === undefined || this.#tls === undefined) return false;
    return this.#readTls(settings).fingerprint !== this.#tls.fingerprint;
  }

  #readTls(settings: UpstreamSettings): TlsMaterial {
    try {
      return readTls(this.#upstream, settings.tls);
    } catch (error) {
      // They could be read a moment ago, when the configuration was checked.
      if (this.#tls === undefined) throw error;
      this.#context.log.warn({ upstream: this.#upstream, err: error }, "certificates of before are used on");
      return this.#tls;
    }
  }

  setServer(server: ServerSettings): void {
    const at = this.servers.findIndex((one) => one.address === server.address);
    this.servers = at === -1 ? [...this.servers, server] : this.servers.with(at, server);
    this.#rebuild();
  }

  removeServer(address: string): boolean {
    const left = this.servers.filter((one) => one.address !== address);
    if (left.length === this.servers.length) return false;
    this.servers = left;
    this.#rebuild();
    return true;
  }

  /** The member's weight grows from now on. */
  startSlowly(member: Member): void {
    const slowStart = this.#settings?.slowStart ?? 0;
    if (slowStart === 0 || this.members.length < 2) return;
    member.startedAt = this.#context.wheel.now();
    this.#grow(slowStart);
  }

  /** The next step of the members whose weights grow. */
  onDeadline(): void {
    this.#grow(this.#settings?.slowStart ?? 0);
    this.#events.onChanged();
  }

  /** The member that it is about; undefined where there is none. */
  hear(news: HealthNews): Member | undefined {
    const member = this.members.find((one) => one.key === news.server);
    if (news.healthy !== undefined) this.#setHealthy(news.server, member, news.healthy);
    if (news.restMs !== undefined) member?.passive.rest(this.#context.wheel.now(), news.restMs);
    return member;
  }

  /** Says again what the other threads may have missed. */
  tellAll(): void {
    for (const server of this.#ill) this.#context.tell({ upstream: this.#upstream, server, healthy: false });
  }

  async close(graceMs: number): Promise<void> {
    this.#leave();
    for (const member of this.members) this.#release(member);
    this.members = [];
    if (this.#leaving.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const grace = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([Promise.all(this.#leaving), grace]);
    clearTimeout(timer);
    this.destroy();
  }

  destroy(): void {
    this.#leave();
    for (const transport of this.#transports) transport.destroy();
    this.#transports.clear();
  }

  #leave(): void {
    this.#closed = true;
    this.#discovery.stop();
    this.#stopChecks();
    this.#context.wheel.disarm(this);
  }

  // --- the members ---------------------------------------------------------------------------------------------

  #rebuild(): void {
    const settings = this.#settings!;
    const before = new Map(this.members.map((member) => [member.key, member]));
    const fresh = before.size > 0;
    const next: Member[] = [];
    for (const wanted of this.#wanted(settings)) {
      const old = before.get(wanted.key);
      before.delete(wanted.key);
      const member = old ?? this.#add(wanted, settings);
      this.#set(member, wanted, settings);
      next.push(member);
      if (old === undefined && fresh && settings.slowStart > 0) member.startedAt = this.#context.wheel.now();
    }
    this.members = next;
    for (const gone of before.values()) this.#release(gone);
    this.#grow(settings.slowStart);
    this.#check(settings);
  }

  #wanted(settings: UpstreamSettings): Wanted[] {
    const wanted = new Map<string, Wanted>();
    const addresses: ServerAddress[] = [];
    for (const server of this.servers) {
      const address = parseServerAddress(server.address);
      addresses.push(address);
      for (const place of this.#discovery.placesOf(address)) {
        if (address.protocol === "https") this.#tls ??= this.#readTls(settings);
        const secret = address.protocol === "https" ? this.#tls!.fingerprint : "";
        const key = `${keyOf(server, place, settings)}|${secret}`;
        if (!wanted.has(key)) wanted.set(key, { key, server, address, place });
      }
    }
    this.#discovery.keepOnly(addresses);
    return [...wanted.values()];
  }

  #add({ key, address, place, server }: Wanted, settings: UpstreamSettings): Member {
    let member: Member | undefined;
    const transport = this.#context.connect(address, place, settings, this.#tls, {
      onAvailable: () => this.#events.onAvailable(),
      onConnected: () => {},
      onConnectFailed: (reason, timedOut) => {
        if (member === undefined || !this.members.includes(member)) return;
        this.#events.onConnectFailed(member, reason, timedOut);
      },
    });
    this.#transports.add(transport);
    const where = address.service ? `${place.host}:${place.port}` : place.host;
    member = new Member(
      { key, address: place.host === address.host ? address.text : `${address.text} (${where})` },
      server,
      transport,
    );
    member.healthy = !this.#ill.has(key);
    return member;
  }

  #set(member: Member, { server, place }: Wanted, { slowStart }: UpstreamSettings): void {
    const wasDraining = member.draining;
    member.server = server;
    member.fullWeight = server.weight * place.weight;
    member.backup = server.backup || place.backup;
    member.draining = server.drain;
    if (wasDraining && !server.drain && slowStart > 0) member.startedAt = this.#context.wheel.now();
    member.limit = server.maxConnections === 0 ? Infinity : server.maxConnections;
    // Once it counts it goes on counting: requests under way take off what they have put on.
    if (server.maxConnections !== 0) member.count ??= this.#context.zone.count(`${this.#upstream} ${member.address}`);
  }

  #release(member: Member): void {
    this.#checks.get(member)?.stop();
    this.#checks.delete(member);
    this.#ill.delete(member.key);
    const leaving = member.transport.close().finally(() => {
      this.#leaving.delete(leaving);
      this.#transports.delete(member.transport);
    });
    this.#leaving.add(leaving);
  }

  /** Weights of this moment; looks again while one of them grows. */
  #grow(slowStart: number): void {
    const { wheel } = this.#context;
    const now = wheel.now();
    let growing = false;
    for (const member of this.members) if (member.grow(now, slowStart)) growing = true;
    if (growing) wheel.arm(this, now + slowStart / SLOW_START_STEPS);
  }

  #resolved(watch: NameWatch): void {
    if (this.#closed) return;
    const { log } = this.#context;
    const fields = { upstream: this.#upstream, host: watch.address.host };
    if (watch.places.length === 0) log.warn({ ...fields, reason: watch.failure }, "name does not resolve yet");
    else log.info({ ...fields, addresses: watch.places.map(({ host, port }) => `${host}:${port}`) }, "name resolved");
    this.#rebuild();
    this.#events.onChanged();
    if (watch.places.length === 0) this.#events.onUnresolved(`${watch.address.host} does not resolve`);
  }

  // --- health checks -------------------------------------------------------------------------------------------

  #check({ health }: UpstreamSettings): void {
    if (health === undefined || !this.#context.probes) return;
    for (const member of this.members) {
      if (this.#checks.has(member)) continue;
      const check = new HealthCheck({
        settings: health,
        transport: member.transport,
        authority: authorityOf(parseServerAddress(member.server.address)),
        wheel: this.#context.wheel,
        random: Math.random,
        onVerdict: (healthy, reason) => this.#verdict(member, healthy, reason),
      });
      this.#checks.set(member, check);
    }
  }

  #verdict(member: Member, healthy: boolean, reason: string): void {
    const fields = { upstream: this.#upstream, server: member.address };
    const news: HealthNews = { upstream: this.#upstream, server: member.key, healthy };
    if (healthy === member.healthy) return;
    if (healthy) this.#context.log.info(fields, "server is healthy again");
    else this.#context.log.warn({ ...fields, reason }, "server is unhealthy");
    this.#context.tell(news);
    this.#setHealthy(member.key, member, healthy);
    this.#events.onChanged();
    if (!healthy) this.#events.onUnwell(member);
  }

  #setHealthy(key: string, member: Member | undefined, healthy: boolean): void {
    if (healthy) this.#ill.delete(key);
    else this.#ill.add(key);
    if (member === undefined || member.healthy === healthy) return;
    member.healthy = healthy;
    if (healthy) this.startSlowly(member);
  }

  /** Without checks nobody is ill. */
  #stopChecks(): void {
    for (const check of this.#checks.values()) check.stop();
    this.#checks.clear();
    this.#ill.clear();
    for (const member of this.members) member.healthy = true;
  }
}

/** All that a transport is made from: if any of it changes, it is another one. Weight and limits are not among it. */
function keyOf(server: ServerSettings, place: Place, settings: UpstreamSettings): string {
  return [server.address, place.host, place.port, settings.connectTimeout, settings.keepAlive].join("|");
}
