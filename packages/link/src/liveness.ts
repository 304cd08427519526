/** Whether the peer is still there: the time of the handshake, then pings into the silence (docs/spec/link.md, 4.6). */

import type { LinkLimits } from "./limits.ts";

/** `late`: the handshake took too long. `ask`: a PING is due. `dead`: it was not answered. */
type Verdict = "fine" | "late" | "ask" | "dead";

export class Liveness {
  /** Bytes came since the last judgement. */
  heard = false;
  readonly #limits: LinkLimits;
  readonly #startedAt: number;
  #heardAt: number;
  #pingedAt = 0;

  constructor(limits: LinkLimits, now: number) {
    this.#limits = limits;
    this.#startedAt = now;
    this.#heardAt = now;
  }

  /** About once a second. After `ask` the caller sends a PING. */
  judge(now: number, ready: boolean): Verdict {
    if (this.heard) {
      this.heard = false;
      this.#heardAt = now;
      this.#pingedAt = 0;
    }
    const { handshakeTimeout, pingInterval, pingTimeout } = this.#limits;
    if (!ready) return now - this.#startedAt >= handshakeTimeout ? "late" : "fine";
    if (this.#pingedAt !== 0) return now - this.#pingedAt >= pingTimeout ? "dead" : "fine";
    if (pingInterval === 0 || now - this.#heardAt < pingInterval) return "fine";
    this.#pingedAt = now;
    return "ask";
  }
}
