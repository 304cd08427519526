/** What an upstream needs of its thread. */
import type { UpstreamSettings } from "../config/schema.ts";
import type { ServerAddress } from "./address.ts";
import type { Place } from "./names.ts";
import type { NameResolver } from "./resolver.ts";
import type { TlsMaterial } from "./tls.ts";
import type { ServerTransport, TransportEvents } from "./transport.ts";
import type { Wheel } from "./wheel.ts";
import type { Zone } from "./zone.ts";

/** What one thread of a proxy tells the others of a server. */
export interface HealthNews {
  readonly upstream: string;
  /** Key of the member. */
  readonly server: string;
  /** Health checks: well or not. Absent where it is about a rest. */
  readonly healthy?: boolean;
  /** It failed too often, and rests for so many milliseconds. */
  readonly restMs?: number;
}

export interface UpstreamContext {
  readonly wheel: Wheel;
  readonly resolver: NameResolver;
  /** Milliseconds between two look-ups of a name; undefined: as the records say. */
  readonly lookupInterval: () => number | undefined;
  readonly zone: Zone;
  /** Whether this thread asks the servers how they are; the others hear of it. */
  readonly probes: boolean;
  /** Tells the other threads. */
  readonly tell: (news: HealthNews) => void;
  /** Makes the transport of a server. `tls` is there for `https://` servers. */
  readonly connect: (
    address: ServerAddress,
    place: Place,
    settings: UpstreamSettings,
    tls: TlsMaterial | undefined,
    events: TransportEvents,
  ) => ServerTransport;
  readonly log: {
    warn(fields: Record<string, unknown>, message: string): void;
    info(fields: Record<string, unknown>, message: string): void;
  };
}
