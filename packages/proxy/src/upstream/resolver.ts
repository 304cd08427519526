/** Asks the DNS: through the system's resolver, or name servers of the configuration. */
import dns from "node:dns/promises";
import type { ResolverSettings } from "../config/schema.ts";

/** An A or AAAA record. */
export interface FoundAddress {
  readonly address: string;
  readonly family: number;
  /** Seconds; undefined where the resolver does not say. */
  readonly ttl?: number | undefined;
}

/** An SRV record (RFC 2782). */
export interface FoundService {
  readonly name: string;
  readonly port: number;
  /** The lowest is asked first. */
  readonly priority: number;
  readonly weight: number;
}

/** Look-ups; each rejects where there is nothing. */
export interface NameResolver {
  addresses(host: string): Promise<readonly FoundAddress[]>;
  services(name: string): Promise<readonly FoundService[]>;
}

/** Each name server is asked so often. */
const TRIES = 2;

/** The resolver of these settings; `settings` is asked for each look-up, so that a reload changes it. */
export function createResolver(settings: () => ResolverSettings): NameResolver {
  let made: { readonly key: string; readonly resolver: dns.Resolver } | undefined;
  const own = (): dns.Resolver => {
    const { servers, timeout } = settings();
    const key = JSON.stringify([servers, timeout]);
    if (made?.key !== key) {
      const resolver = new dns.Resolver({ timeout, tries: TRIES });
      if (servers.length > 0) resolver.setServers(servers);
      made = { key, resolver };
    }
    return made.resolver;
  };
  return {
    addresses: (host) =>
      settings().servers.length === 0 ? dns.lookup(host, { all: true }) : bothFamilies(own(), host),
    services: (name) => own().resolveSrv(name),
  };
}

/** IPv6 is asked for only where there is no IPv4: several records are several servers, two families of one are not. */
async function bothFamilies(resolver: dns.Resolver, host: string): Promise<FoundAddress[]> {
  try {
    return (await resolver.resolve4(host, { ttl: true })).map((one) => ({ ...one, family: 4 }));
  } catch (error) {
    if (codeOf(error) !== dns.NODATA) throw error;
  }
  return (await resolver.resolve6(host, { ttl: true })).map((one) => ({ ...one, family: 6 }));
}

const REASONS: Readonly<Record<string, string>> = {
  [dns.NOTFOUND]: "there is no such name",
  [dns.NODATA]: "the name has no such record",
  [dns.SERVFAIL]: "the name server failed",
  [dns.REFUSED]: "the name server refused to answer",
  [dns.TIMEOUT]: "no name server answered in time",
  [dns.CONNREFUSED]: "no name server can be reached",
  EAI_AGAIN: "no name server can be reached",
};

/** Why a look-up failed, for a person. */
export function describeFailure(error: unknown): string {
  const code = codeOf(error);
  const reason = code === undefined ? undefined : REASONS[code];
  if (reason !== undefined) return `${reason} (${code})`;
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
