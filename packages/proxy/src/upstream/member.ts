/** One server of an upstream: its transport, its weight, its health as requests have found it. */
import type { Candidate } from "./balance.ts";
import type { ServerTransport } from "./transport.ts";

/** Passive health: so many failures in a row, and it rests so long. */
export interface EjectionSettings {
  /** 0: never. */
  readonly failures: number;
  /** Milliseconds. */
  readonly time: number;
}

export class Member implements Candidate {
  /** Server as configured, and the address its name resolved to. The same key is the same server, over reloads too. */
  readonly key: string;
  /** What the log calls it. */
  readonly address: string;
  weight: number;
  readonly transport: ServerTransport;
  turn = 0;
  ejected = false;
  /** Monotonic milliseconds; meaningful while ejected. */
  ejectedUntil = 0;
  #failures = 0;

  constructor(key: string, address: string, weight: number, transport: ServerTransport) {
    this.key = key;
    this.address = address;
    this.weight = weight;
    this.transport = transport;
  }

  succeeded(): void {
    this.#failures = 0;
    this.ejected = false;
  }

  /** True where this failure is the one that ejects it. */
  failed(now: number, settings: EjectionSettings): boolean {
    this.#failures++;
    if (settings.failures === 0 || this.#failures < settings.failures) return false;
    const before = this.ejected;
    this.ejected = true;
    this.ejectedUntil = now + settings.time;
    return !before;
  }

  /** After its rest it is tried again; one more failure sends it away again. */
  restore(): void {
    this.ejected = false;
  }
}
