import type { ConnectionLimits } from "./limits.ts";
import type { Rule } from "./rules.ts";

const UNSET = -1;

/**
 * The times of one connection, without a clock: the hot path only marks that something began, and the next tick stamps
 * it. So nothing is ever cut off early, and late by at most two ticks.
 */
export class ConnectionTimer {
  limits: ConnectionLimits;
  /** When the present wait between messages began (head, idle, or linger). */
  private since = UNSET;
  private inHead = false;
  private stalledSince = UNSET;
  private pendingAtTick: number | undefined = undefined;
  private halfClosedSince = UNSET;
  private lastTick = UNSET;
  /** Milliseconds that the body may still be silent: each byte earns 1/rate seconds, up to the longest gap. */
  private credit = 0;
  /** Something was written since the last look. */
  sent = false;
  private silent = 0;

  constructor(limits: ConnectionLimits) {
    this.limits = limits;
  }

  /** First bytes of a head, or more of them: the time runs from the first; for the first request, from the accept. */
  headBegun(firstRequest: boolean): void {
    if (this.inHead) return;
    this.inHead = true;
    if (!firstRequest) this.since = UNSET;
  }

  idleBegun(): void {
    this.since = UNSET;
    this.inHead = false;
  }

  lingerBegun(): void {
    this.since = UNSET;
    this.stalledSince = UNSET;
  }

  /** The wait has not begun yet. */
  lingerLater(): void {
    this.since = UNSET;
  }

  bodyBegun(): void {
    this.inHead = false;
    this.lastTick = UNSET;
    this.credit = this.limits.bodyRateAfterMs;
    this.silent = 0;
  }

  bodyBytes(count: number): void {
    this.silent = 0;
    this.credit = Math.min(this.limits.bodyGapMs, this.credit + (count * 1000) / this.limits.bodyRate);
  }

  /** The sink took what was waiting. */
  written(): void {
    this.stalledSince = UNSET;
    this.sent = true;
  }

  headLate(now: number): boolean {
    return this.elapsed(now) >= this.limits.headTimeMs;
  }

  idleLong(now: number): boolean {
    return this.elapsed(now) >= this.limits.keepAliveMs;
  }

  drainable(now: number): boolean {
    return this.elapsed(now) >= this.limits.drainIdleMs;
  }

  lingered(now: number): boolean {
    return this.elapsed(now) >= this.limits.lingerMs;
  }

  /** `pending`: bytes that wait to be taken; a client that takes some is not stalled. */
  stalled(now: number, pending: number | undefined): boolean {
    if (this.stalledSince === UNSET || (pending !== undefined && pending !== this.pendingAtTick))
      this.stalledSince = now;
    this.pendingAtTick = pending;
    return now - this.stalledSince >= this.limits.writeStallMs;
  }

  /** Whether a client that closed its half has waited too long since the last byte it got. */
  halfClosed(now: number): boolean {
    if (this.halfClosedSince === UNSET || this.sent) this.halfClosedSince = now;
    this.sent = false;
    return now - this.halfClosedSince >= this.limits.halfClosedMs;
  }

  /** The rule that a body breaks by its slowness. Time counts only while it is the client's turn. */
  body(now: number, clientsTurn: boolean): Rule | undefined {
    const passed = this.lastTick === UNSET ? 0 : now - this.lastTick;
    this.lastTick = now;
    if (!clientsTurn) return undefined;
    this.credit -= passed;
    this.silent += passed;
    if (this.silent >= this.limits.bodyGapMs) return "timeout-body-gap";
    return this.credit < 0 ? "timeout-body-rate" : undefined;
  }

  private elapsed(now: number): number {
    if (this.since === UNSET) this.since = now;
    return now - this.since;
  }
}
