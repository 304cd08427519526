/**
 * The last response head of a link, as bytes and as read: an application that says the same again is not read again.
 *
 * What a head says depends on its bytes alone, so equal bytes need no second look; comparing them costs a quarter of
 * cutting them into strings, and whoever reads the list meets the same strings each time, whose hashes are known.
 */

import type { HeaderList } from "@portico/gateway/exchange";
import { interned } from "./fields.ts";
import type { DecodedResponse } from "./head.ts";

/** Longest head that is remembered, bytes: most are shorter, and comparing more costs what reading does. */
const LONGEST_HEAD = 512;
/** After so many heads in a row that were all different, only each of so many is remembered: the application does not repeat itself. A power of two. */
const PATIENCE = 16;

export class HeadMemory implements DecodedResponse {
  readonly #bytes: Uint8Array = new Uint8Array(LONGEST_HEAD);
  /** Bytes of the head; 0: none is remembered. */
  length = 0;
  status = 0;
  /** Given to every response with this head: nobody may change it. */
  headers: HeaderList = [];
  #repeated = false;
  /** Heads in a row that were not the one that is remembered. */
  #misses = 0;

  /** This, where the bytes from `start` begin with the head that is remembered. Hot path. */
  find(bytes: Uint8Array, start: number, end: number): this | undefined {
    const { length } = this;
    if (length === 0 || end - start < length) return undefined;
    const own = this.#bytes;
    for (let at = 0; at < length; at++) if (bytes[start + at] !== own[at]) return undefined;
    this.#misses = 0;
    if (!this.#repeated) {
      this.#repeated = true;
      // Frozen: a transport may keep what it makes of the list.
      this.headers = Object.freeze(this.headers.map(interned)) as HeaderList;
    }
    return this;
  }

  /** Remembers a head that was read from the bytes from `start`. */
  keep(bytes: Uint8Array, start: number, head: DecodedResponse): void {
    const { length } = head;
    if (length > LONGEST_HEAD || (++this.#misses > PATIENCE && this.#misses % PATIENCE !== 0)) return;
    const own = this.#bytes;
    for (let at = 0; at < length; at++) own[at] = bytes[start + at]!;
    this.length = length;
    this.status = head.status;
    this.headers = head.headers;
    this.#repeated = false;
  }
}
