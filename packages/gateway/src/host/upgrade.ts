import type { Duplex } from "node:stream";
import type { Logger, UpgradeOptions, UpgradeReply, UpgradeRequest } from "../context.ts";
import type { Exchange } from "../exchange.ts";

/** The tunnel of an upgraded exchange, as its transport feeds it. */
export interface TunnelEnd {
  receive(chunk: Uint8Array): void;
  receiveEnd(): void;
  drain(): void;
  abandon(): void;
}

/** What `ctx.upgrade` returns: the promise to accept, kept when it is returned as the reply. */
export abstract class UpgradeTicket implements UpgradeReply {
  readonly kind = "tsgi.upgrade";
  abstract readonly tunnel: TunnelEnd;
  /** Stands the tunnel up, or lets the application do so, and hands it over. */
  abstract accept(): void;
}

/** Makes tickets. Tunnels are Node streams; a platform without those has no upgrader and no capability `upgrade`. */
export type Upgrader = (
  exchange: Exchange,
  open: (tunnel: Duplex, request: UpgradeRequest) => void,
  options: UpgradeOptions,
  log: Logger,
) => UpgradeTicket;
