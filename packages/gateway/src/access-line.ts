/**
 * The line of an access log, the same in both tiers.
 *
 * | field | meaning |
 * | --- | --- |
 * | `log` | always `access`: tells the lines apart where both logs go to one place |
 * | `time` | when the head was there |
 * | `id` | the request's id, also in error answers |
 * | `client` | address of the client, by whoever vouched for it |
 * | `method`, `scheme`, `host`, `target`, `version` | of the request, as received |
 * | `status` | of the answer; 0 where none was begun |
 * | `bytesIn`, `bytesOut` | of the bodies |
 * | `durationMs` | from the head to the end of the answer |
 * | `ended` | `completed`, or why not: `client-disconnected`, `timeout`, `shutdown`, `protocol-error`, `reset` |
 * | `referer`, `userAgent` | as received |
 *
 * HOT. A line is made in one go: the fields are always the same, so a general serialiser (pino's took three times as
 * long) has nothing to find out.
 */
import { headerOf } from "./header-of.ts";
import type { Ending, WatchedExchange } from "./watched-exchange.ts";

// What JSON has to escape, and what is not ASCII.
const NEEDS_ESCAPE = /[^\x20\x21\x23-\x5b\x5d-\x7e]/;

/** A text as JSON: the texts of a request are nearly always plain. */
export function quoteJson(text: string): string {
  return NEEDS_ESCAPE.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** Milliseconds with three digits at most. */
export const roundMs = (ms: number): number => Math.round(ms * 1000) / 1000;

/** What of a time is the same for a whole second, rendered once in it. */
class PerSecond {
  readonly #render: (iso: string) => string;
  #second = -1;
  #text = "";

  /** `render` is given the second's ISO time. */
  constructor(render: (iso: string) => string) {
    this.#render = render;
  }

  at(ms: number): string {
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = this.#render(new Date(second * 1000).toISOString());
    }
    return this.#text;
  }
}

/** ISO time up to the point before the milliseconds. */
const isoTime = new PerSecond((iso) => iso.slice(0, 20));

function isoText(ms: number): string {
  return `${isoTime.at(ms)}${String(Math.floor(ms) % 1000).padStart(3, "0")}Z`;
}

/** @param more further fields, each beginning with a comma */
export function jsonLine(exchange: WatchedExchange, ended: Ending, durationMs: number, more: string): string {
  const { head, facts, status, bytesIn, bytesOut } = exchange;
  const referer = headerOf(head.headers, "referer");
  const userAgent = headerOf(head.headers, "user-agent");
  return (
    `{"log":"access","time":"${isoText(facts.receivedAt)}","id":${quoteJson(facts.id)},"client":${quoteJson(facts.client.address)}` +
    `,"method":${quoteJson(head.method)},"scheme":"${head.scheme}","host":${quoteJson(head.authority)},"target":${quoteJson(head.target)}` +
    `,"version":"${head.version}","status":${status},"bytesIn":${bytesIn},"bytesOut":${bytesOut},"durationMs":${roundMs(durationMs)},"ended":"${ended}"` +
    `${referer === undefined ? "" : `,"referer":${quoteJson(referer)}`}${userAgent === undefined ? "" : `,"userAgent":${quoteJson(userAgent)}`}` +
    `${more}}\n`
  );
}

/**
 * nginx's and Apache's `combined`, with the duration in seconds and the request's id behind, as many add it:
 * `192.0.2.7 - - [21/Nov/2026:09:25:33 +0000] "GET / HTTP/1.1" 200 1024 "-" "curl/8.5.0" 0.002 M6aF8WWMMBc-0`
 */
export function combinedLine(exchange: WatchedExchange, durationMs: number): string {
  const { head, facts, status, bytesOut } = exchange;
  const referer = headerOf(head.headers, "referer") ?? "-";
  const userAgent = headerOf(head.headers, "user-agent") ?? "-";
  return (
    `${escape(facts.client.address)} - - [${clfTime.at(facts.receivedAt)}] "${escape(head.method)} ${escape(head.target)} HTTP/${head.version}"` +
    ` ${status} ${bytesOut} "${escape(referer)}" "${escape(userAgent)}" ${(durationMs / 1000).toFixed(3)} ${escape(facts.id)}\n`
  );
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Time as in the common log format, in UTC. */
const clfTime = new PerSecond(
  (iso) => `${iso.slice(8, 10)}/${MONTHS[Number(iso.slice(5, 7)) - 1]}/${iso.slice(0, 4)}:${iso.slice(11, 19)} +0000`,
);

/** As nginx: quotes, backslashes, control characters and what is not ASCII as `\xHH`. */
function escape(text: string): string {
  if (!NEEDS_ESCAPE.test(text)) return text;
  return text.replaceAll(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, (character) =>
    Array.from(
      Buffer.from(character, "latin1"),
      (byte) => `\\x${byte.toString(16).toUpperCase().padStart(2, "0")}`,
    ).join(""),
  );
}
