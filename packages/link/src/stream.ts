/** What both ends of a stream share: a body out within the peer's window, a body in within ours (docs/spec/link.md, section 7). */

import type { HeaderList } from "@portico/gateway/exchange";
import type { GrowthBudget } from "./budget.ts";
import { type CloseCode, RESET_CODES, type ResetCode } from "./error.ts";
import { FLAG, FRAME, type FastBuffer } from "./frame.ts";
import { writeFields } from "./head.ts";
import type { LinkLimits } from "./limits.ts";
import { type Outbox, REFERENCE_BYTES } from "./outbox.ts";

const MAX_WINDOW = 0x7fff_ffff;

/** What a stream needs of its session. */
export interface StreamHost {
  readonly out: Outbox;
  readonly limits: LinkLimits;
  readonly growth: GrowthBudget;
  /** Longest payload the peer takes. */
  readonly sendFrame: number;
  /** Body bytes the peer takes before its first WINDOW. */
  readonly sendWindow: number;
  readonly counters: { resetSent: number; resetReceived: number; refused: number };
  sendNumber(type: number, stream: number, value: number, size: 2 | 4): boolean;
  own(bytes: FastBuffer, start: number, end: number): Uint8Array;
  awaitSink(stream: LinkStream): void;
  forget(stream: LinkStream): void;
  fail(code: CloseCode, reason: string): false;
  observerThrew(stream: LinkStream, error: unknown): void;
}

export abstract class LinkStream {
  readonly id: number;
  /** Body bytes we may still send. */
  sendWindow: number;
  /** Body bytes the peer may still send. */
  receiveWindow: number;
  /** END was gathered: our half is over. */
  localEnded = false;
  /** The peer's half is over. */
  remoteEnded = false;
  /** No frame of this stream is sent or taken any more. */
  closed = false;
  /** What our window is when all was consumed and announced. */
  #capacity: number;
  /** Consumed and not yet announced by WINDOW. */
  #unannounced = 0;
  /** Chunks that wait for window or sink; undefined on the plain path. */
  #queue: Uint8Array[] | undefined;
  #ending: HeaderList | undefined;
  #wantsDrain = false;
  protected readonly session: StreamHost;

  protected constructor(id: number, session: StreamHost) {
    this.id = id;
    this.session = session;
    this.sendWindow = session.sendWindow;
    this.receiveWindow = session.limits.window;
    this.#capacity = session.limits.window;
  }

  /** The peer took what waited. */
  protected abstract onWritable(): void;
  /** Our half is over. */
  protected abstract onLocalEnd(): void;
  /** Called where an observer of this stream threw: reset it without calling the observer again. */
  abstract fault(): void;

  /** Bytes that wait for window or sink. */
  get queuedBytes(): number {
    let total = 0;
    for (const chunk of this.#queue ?? []) total += chunk.length;
    return total;
  }

  /** Sends a chunk, or keeps what does not fit. False: wait for {@link LinkStream.onWritable}. The chunk must not change any more. Hot path. */
  protected send(chunk: Uint8Array): boolean {
    if (chunk.length === 0) return this.#queue === undefined;
    if (this.#queue === undefined && !this.session.out.blocked) {
      const sent = this.#transmit(chunk);
      if (sent === chunk.length) return true;
      this.#queue = [sent === 0 ? chunk : chunk.subarray(sent)];
    } else {
      (this.#queue ??= []).push(chunk);
    }
    if (this.session.out.blocked) this.session.awaitSink(this);
    this.#wantsDrain = true;
    return false;
  }

  /** Ends our half behind what waits. */
  protected sendEnd(trailers: HeaderList | undefined): void {
    if (this.#queue === undefined) this.#writeEnd(trailers);
    else this.#ending = trailers ?? [];
  }

  /** Sends what waits, as far as window and sink allow. */
  pump(): void {
    const queue = this.#queue;
    if (queue === undefined) return;
    let index = 0;
    while (index < queue.length && this.sendWindow > 0 && !this.session.out.blocked) {
      const chunk = queue[index]!;
      const sent = this.#transmit(chunk);
      if (sent === chunk.length) index++;
      else queue[index] = chunk.subarray(sent);
    }
    if (index < queue.length) {
      if (index > 0) queue.splice(0, index);
      if (this.session.out.blocked) this.session.awaitSink(this);
      return;
    }
    this.#queue = undefined;
    const ending = this.#ending;
    if (ending !== undefined) {
      this.#ending = undefined;
      this.#writeEnd(ending);
    } else if (this.#wantsDrain) {
      this.#wantsDrain = false;
      this.onWritable();
    }
  }

  /** Gathers as much of a chunk as the window lets through; the bytes taken. */
  #transmit(chunk: Uint8Array): number {
    const { out, sendFrame } = this.session;
    const total = Math.min(chunk.length, this.sendWindow);
    if (total === 0) return 0;
    if (total < REFERENCE_BYTES && total === chunk.length && out.extend(this.id, chunk, sendFrame)) {
      this.sendWindow -= total;
      return total;
    }
    let at = 0;
    while (at < total && !(at > 0 && out.blocked)) {
      const size = Math.min(total - at, sendFrame);
      const part = at === 0 && size === chunk.length ? chunk : chunk.subarray(at, at + size);
      if (size >= REFERENCE_BYTES) {
        out.commitReference(FRAME.DATA, 0, this.id, part);
      } else {
        // `reserve` may exchange the buffer: it comes first.
        const start = out.reserve(size);
        out.bytes.set(part, start);
        out.commit(FRAME.DATA, 0, this.id, size);
      }
      at += size;
    }
    this.sendWindow -= at;
    return at;
  }

  #writeEnd(trailers: HeaderList | undefined): void {
    const { out } = this.session;
    if (trailers !== undefined && trailers.length > 0) {
      writeFields(out, FRAME.END, FLAG.END, this.id, trailers, this.session.sendFrame);
    } else if (!out.extendFlags(this.id, FLAG.END)) {
      out.reserve(0);
      out.commit(FRAME.END, FLAG.END, this.id, 0);
    }
    out.seal();
    this.localEnded = true;
    this.onLocalEnd();
  }

  /** A WINDOW from the peer. False: it would overflow. */
  widen(bytes: number): boolean {
    if (bytes === 0 || this.sendWindow + bytes > MAX_WINDOW) return false;
    this.sendWindow += bytes;
    this.pump();
    return true;
  }

  /** Body bytes arrived. False: more than the window. */
  protected admit(bytes: number): boolean {
    this.receiveWindow -= bytes;
    return this.receiveWindow >= 0;
  }

  /** Body bytes were used; from half a window on, the peer may send as many again, and more where the link has it. */
  protected credit(bytes: number): void {
    if (this.closed || this.remoteEnded) return;
    // Never more than arrived: a caller's mistake must not widen the window.
    this.#unannounced = Math.min(this.#unannounced + bytes, this.#capacity - this.receiveWindow);
    if (this.#unannounced * 2 < this.#capacity) return;
    const { limits, growth } = this.session;
    const more = this.#capacity < limits.maxWindow ? growth.take(limits.maxWindow - this.#capacity) : 0;
    const grant = this.#unannounced + more;
    this.#capacity += more;
    this.#unannounced = 0;
    this.receiveWindow += grant;
    this.session.sendNumber(FRAME.WINDOW, this.id, grant, 4);
  }

  /** Sends RESET and lets go of what waits. */
  protected sendReset(code: ResetCode): void {
    this.session.counters.resetSent++;
    this.release();
    this.session.sendNumber(FRAME.RESET, this.id, RESET_CODES[code], 2);
  }

  /** The stream is over: nothing waits any more. */
  protected release(): void {
    this.closed = true;
    this.#queue = undefined;
    this.#ending = undefined;
    const { session } = this;
    const { window } = session.limits;
    if (this.#capacity > window) session.growth.give(this.#capacity - window);
    session.forget(this);
  }
}
