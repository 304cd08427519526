/**
 * What the transports to HTTP servers share: how many requests are under way, and how they end. A
 * connection is made for a request where none is idle, so there is nothing to wait for or to wake.
 */
import type {
  ServerTransport,
  TransportEvents,
  UpstreamObserver,
  UpstreamRequest,
  UpstreamStream,
} from "./transport.ts";

/** A body up to here goes out in one piece with its head. */
const INLINE_LIMIT = 1024 * 1024;

/** Unconsumed bytes of a response after which the server is slowed down; half of it lets it go on. */
export const WINDOW: number = 256 * 1024;

/** Largest head of a response: names and values together. Twice what we take from clients; Envoy 60 KiB. */
export const MAX_RESPONSE_HEAD: number = 64 * 1024;

export interface HttpTransportOptions {
  /** Milliseconds. */
  readonly connectTimeout: number;
  /** How long an idle connection is kept, milliseconds; shorter than the server keeps it. */
  readonly keepAlive: number;
}

export abstract class HttpTransport implements ServerTransport {
  readonly kind = "http";
  readonly hopeful = true;
  readonly responsive = true;
  readonly inlineLimit: number = INLINE_LIMIT;
  readonly events: TransportEvents;
  protected closing = false;
  #inFlight = 0;
  #idle: (() => void) | undefined;

  protected constructor(events: TransportEvents) {
    this.events = events;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  load(): number {
    return this.closing ? Infinity : this.#inFlight + 1;
  }

  wake(): void {
    // Every request connects by itself where no connection is idle.
  }

  abstract open(
    request: UpstreamRequest,
    body: Uint8Array | null,
    complete: boolean,
    observer: UpstreamObserver,
  ): UpstreamStream;

  abstract suspect(): void;

  /** Ends every connection, the busy ones too. */
  protected abstract disconnect(): void;

  /** A stream begins. */
  protected started(): void {
    this.#inFlight++;
  }

  /** A stream of ours has ended. */
  ended(): void {
    this.#inFlight--;
    this.events.onAvailable();
    if (this.#inFlight === 0) this.#idle?.();
  }

  async close(): Promise<void> {
    this.closing = true;
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    this.disconnect();
  }

  destroy(): void {
    this.closing = true;
    this.disconnect();
  }
}
