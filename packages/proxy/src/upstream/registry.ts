/** All upstreams of a thread by name. A reload changes them in place: what stays keeps its connections. */
import type { UpstreamSettings } from "../config/schema.ts";
import type { HealthNews, UpstreamContext } from "./context.ts";
import { readTls } from "./tls.ts";
import type { UpstreamStatus } from "./status.ts";
import { Upstream } from "./upstream.ts";

export class UpstreamRegistry {
  readonly #context: UpstreamContext;
  readonly #upstreams = new Map<string, Upstream>();
  readonly #leaving = new Set<Upstream>();

  constructor(context: UpstreamContext) {
    this.#context = context;
  }

  /** @throws PorticoProxyError where what the settings name cannot be used; nothing has changed */
  check(settings: Readonly<Record<string, UpstreamSettings>>): void {
    for (const [name, { servers, tls }] of Object.entries(settings)) {
      if (servers.some(({ address }) => address.startsWith("https"))) readTls(name, tls);
    }
  }

  /** Takes the configured upstreams. Those that are gone drain: requests under way have `graceMs`. */
  apply(settings: Readonly<Record<string, UpstreamSettings>>, graceMs: number): void {
    for (const [name, upstream] of this.#upstreams) {
      if (Object.hasOwn(settings, name)) continue;
      this.#upstreams.delete(name);
      this.#leaving.add(upstream);
      void upstream.close(graceMs).finally(() => this.#leaving.delete(upstream));
    }
    for (const [name, wanted] of Object.entries(settings)) {
      const upstream = this.#upstreams.get(name);
      if (upstream === undefined) this.#upstreams.set(name, new Upstream(name, wanted, this.#context));
      // Plain data from one parser: the same settings are the same text.
      else if (JSON.stringify(upstream.settings) !== JSON.stringify(wanted) || upstream.certificatesChanged)
        upstream.reconfigure(wanted);
    }
  }

  get(name: string): Upstream | undefined {
    return this.#upstreams.get(name);
  }

  /** What another thread has found out. */
  hear(news: HealthNews): void {
    this.#upstreams.get(news.upstream)?.hear(news);
  }

  /** Tells a thread that began later what is known. */
  tellAll(): void {
    for (const upstream of this.#upstreams.values()) upstream.tellAll();
  }

  status(): UpstreamStatus[] {
    return Array.from(this.#upstreams.values(), (upstream) => upstream.status());
  }

  /** Lets requests under way finish within `graceMs`, then cuts. */
  async close(graceMs: number): Promise<void> {
    await Promise.all([...this.#upstreams.values(), ...this.#leaving].map((upstream) => upstream.close(graceMs)));
    this.#upstreams.clear();
  }

  destroy(): void {
    for (const upstream of [...this.#upstreams.values(), ...this.#leaving]) upstream.destroy();
    this.#upstreams.clear();
  }
}
