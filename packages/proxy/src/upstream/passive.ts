/**
 * Passive health: what requests find out about a server.
 *
 * A server is left alone after so many failures in a row, or so many within a time that they are half of its requests
 * (one that fails every second request never fails three in a row for long). How long it rests doubles each time it
 * fails again, and is forgotten when it has served as long as it rested last.
 */
import type { UpstreamSettings } from "../config/schema.ts";

type EjectionSettings = UpstreamSettings["ejection"];

/** Of the requests within the time, so many must fail. */
const FAILING_SHARE = 0.5;

export class PassiveHealth {
  /** It is left alone. */
  out = false;
  /** Monotonic milliseconds; from then on one request may try it. */
  until = 0;
  /** A request is trying it. */
  tried = false;
  #row = 0;
  // Since the first failure of the window.
  #since = -Infinity;
  #failures = 0;
  #passes = 0;
  // Rests so far, the last one's length, and when it came back from it.
  #rests = 0;
  #restMs = 0;
  #backAt = 0;

  /**
   * A response has begun. HOT. True where it comes back by that: it was tried, or is used because too few others are
   * up. What it answers to requests of before its rest says nothing.
   */
  succeeded(now: () => number, panic: boolean): boolean {
    this.#row = 0;
    this.#passes++;
    if (!this.out || !(this.tried || panic)) return false;
    this.back(now());
    return true;
  }

  /** True where this failure is the one that ejects it. */
  failed(now: number, settings: EjectionSettings): boolean {
    if (settings.failures === 0) return false;
    if (this.out && !this.tried) return false;
    if (now - this.#since > settings.within) {
      this.#since = now;
      this.#failures = 0;
      this.#passes = 0;
    }
    this.#row++;
    this.#failures++;
    const often =
      this.#failures >= settings.failures && this.#failures >= (this.#failures + this.#passes) * FAILING_SHARE;
    if (this.#row < settings.failures && !often && !this.out) return false;
    if (now - this.#backAt > this.#restMs) this.#rests = this.out ? this.#rests : 0;
    const longest = Math.max(settings.time, settings.maxTime);
    this.rest(now, Math.min(longest, settings.time * 2 ** Math.min(this.#rests, 30)));
    this.#rests++;
    return true;
  }

  /** It rests for so long. */
  rest(now: number, ms: number): void {
    this.out = true;
    this.tried = false;
    this.#restMs = ms;
    this.until = now + ms;
  }

  /** How long it rests, milliseconds. */
  get restMs(): number {
    return this.#restMs;
  }

  back(now: number): void {
    this.out = false;
    this.tried = false;
    this.#backAt = now;
    this.#row = 0;
    this.#since = -Infinity;
  }
}
