/** Scripts for the fuzz test: sequences of frames that a peer could send, and what may happen to them on the way. */
import { FLAG, FRAME, readU24, writeU24, writeU32 } from "./frame.ts";
import { beginResponse, pendingSize, writeFields, writeRequest } from "./head.ts";
import { FRAME_HEADER_BYTES } from "./limits.ts";
import { Outbox } from "./outbox.ts";
import { MemorySink } from "./pipe.ts";
import { requestOf } from "./test-rig.ts";

/** Pseudo-random numbers from a seed (mulberry32): the same seed, the same run. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0, below 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b_79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  }

  /** From 0, below `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }
}

const LIMIT = 65_536;
const FIELDS = [[], ["a", "b"], ["Content-Type", "text/plain", "X-Empty", ""], ["expect", "100-continue"]];
/** Body sizes around what matters: nothing, small, the copying threshold, the window of the sessions under test. */
const SIZES = [0, 1, 9, 300, 5_000, 16_383, 16_384, 20_000];

/** Writes frames one by one. */
class FrameMaker {
  readonly #sink = new MemorySink();
  readonly out = new Outbox(this.#sink);
  readonly frames: Buffer[] = [];

  /** What was gathered is one frame more. */
  take(): void {
    this.out.flush();
    this.frames.push(this.#sink.take());
  }

  raw(type: number, flags: number, stream: number, payload: Uint8Array): void {
    const at = this.out.reserve(payload.length);
    this.out.bytes.set(payload, at);
    this.out.commit(type, flags, stream, payload.length);
    this.take();
  }

  number(type: number, stream: number, value: number, size: 2 | 4): void {
    const payload = Buffer.alloc(size);
    payload.writeUIntBE(value, 0, size);
    this.raw(type, 0, stream, payload);
  }

  fields(type: number, stream: number, fields: string[]): void {
    writeFields(this.out, type, FLAG.END, stream, fields, LIMIT);
    this.take();
  }
}

/** What a proxy sends to a worker of `concurrency` and a window of `window` bytes, in order and within both, as far as the script knows. */
export function proxyScript(dice: Dice, frames: number, concurrency: number, window: number): Buffer[] {
  const maker = new FrameMaker();
  const open = new Map<number, number>();
  let last = 0;
  for (let count = 0; count < frames; count++) {
    const roll = dice.next();
    if (open.size === 0 || (roll < 0.25 && last < concurrency)) {
      if (last >= concurrency) break;
      last += 1 + (dice.chance(0.1) ? dice.below(3) : 0);
      openRequest(maker, dice, last, window, open);
    } else if (roll < 0.9) requestFrame(maker, dice, dice.pick([...open.keys()]), open);
    else linkFrame(maker, dice);
  }
  return maker.frames;
}

function openRequest(maker: FrameMaker, dice: Dice, stream: number, window: number, open: Map<number, number>): void {
  const tunnel = dice.chance(0.15);
  const complete = tunnel || dice.chance(0.3);
  const size = tunnel || dice.chance(0.5) ? 0 : Math.min(dice.pick(SIZES), window);
  const asked = requestOf({
    method: tunnel && dice.chance(0.5) ? "CONNECT" : dice.pick(["GET", "PUT", "HEAD"]),
    headers: dice.pick(FIELDS),
    bodyLength: complete ? size : -1,
    deadline: undefined,
  });
  const upgrade = tunnel && asked.method !== "CONNECT" ? "websocket" : "";
  writeRequest(
    maker.out,
    stream,
    asked,
    dice.chance(0.1) ? 5_000 : 0,
    upgrade,
    size === 0 ? null : Buffer.alloc(size, 0x61),
    complete ? FLAG.END : 0,
    LIMIT,
  );
  maker.take();
  if (!complete) open.set(stream, window - size);
}

function requestFrame(maker: FrameMaker, dice: Dice, stream: number, open: Map<number, number>): void {
  const roll = dice.next();
  const left = open.get(stream)!;
  if (roll < 0.6) {
    const size = Math.min(dice.pick(SIZES), left);
    const end = dice.chance(0.2);
    maker.raw(FRAME.DATA, end ? FLAG.END : 0, stream, Buffer.alloc(size, 0x62));
    if (end) open.delete(stream);
    else open.set(stream, left - size);
  } else if (roll < 0.75) {
    maker.fields(FRAME.END, stream, dice.pick(FIELDS));
    open.delete(stream);
  } else if (roll < 0.9) maker.number(FRAME.WINDOW, stream, 1 + dice.below(100_000), 4);
  else {
    maker.number(FRAME.RESET, stream, 1 + dice.below(8), 2);
    open.delete(stream);
  }
}

/** What a worker sends to a proxy that opened streams 1 to `streams` (every third asks for an upgrade). */
export function workerScript(dice: Dice, frames: number, streams: number, window: number): Buffer[] {
  const maker = new FrameMaker();
  /** 0: waits for its head; else what is left of its window, and one. */
  const states = new Map<number, number>();
  for (let stream = 1; stream <= streams; stream++) states.set(stream, 0);
  for (let count = 0; count < frames; count++) {
    if (states.size === 0 || dice.chance(0.1)) linkFrame(maker, dice);
    else responseFrame(maker, dice, dice.pick([...states.keys()]), states, window);
  }
  return maker.frames;
}

function responseFrame(
  maker: FrameMaker,
  dice: Dice,
  stream: number,
  states: Map<number, number>,
  window: number,
): void {
  const state = states.get(stream)!;
  const roll = dice.next();
  if (roll < 0.05) maker.number(FRAME.WINDOW, stream, 1 + dice.below(100_000), 4);
  else if (roll < 0.1) {
    maker.number(FRAME.RESET, stream, 1 + dice.below(8), 2);
    states.delete(stream);
  } else if (state === 0) {
    const tunnel = isUpgrade(stream) && dice.chance(0.6);
    const info = !tunnel && dice.chance(0.2);
    const size = tunnel || info ? 0 : Math.min(dice.pick(SIZES), window);
    const end = !tunnel && !info && dice.chance(0.4);
    const status = tunnel ? 101 : info ? 103 : dice.pick([200, 204, 404, 599]);
    const at = beginResponse(maker.out, status, dice.pick(FIELDS), -1, size, LIMIT);
    maker.out.bytes.fill(0x63, at, at + size);
    const flags = tunnel ? FLAG.TUNNEL : end ? FLAG.END : 0;
    maker.out.commit(info ? FRAME.INFO : FRAME.RESPONSE, flags, stream, pendingSize);
    maker.take();
    if (end) states.delete(stream);
    else if (!info) states.set(stream, window - size + 1);
  } else if (roll < 0.85) {
    const size = Math.min(dice.pick(SIZES), state - 1);
    const end = dice.chance(0.15);
    maker.raw(FRAME.DATA, end ? FLAG.END : 0, stream, Buffer.alloc(size, 0x64));
    if (end) states.delete(stream);
    else states.set(stream, state - size);
  } else {
    maker.fields(FRAME.END, stream, dice.pick(FIELDS));
    states.delete(stream);
  }
}

export function isUpgrade(stream: number): boolean {
  return stream % 3 === 0;
}

function linkFrame(maker: FrameMaker, dice: Dice): void {
  const roll = dice.next();
  if (roll < 0.5) maker.raw(FRAME.PING, 0, 0, Buffer.alloc(8, dice.below(256)));
  else if (roll < 0.8) maker.raw(FRAME.PONG, 0, 0, Buffer.alloc(8));
  else maker.raw(0x20 + dice.below(0xe0), FLAG.OPTIONAL | dice.below(128), dice.below(4), Buffer.alloc(dice.below(50)));
}

const TYPES = [0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x7f, 0xff];

type Mutation = (dice: Dice, frames: Buffer[], at: number) => void;

const MUTATIONS: Readonly<Record<string, Mutation>> = {
  flip(dice, frames, at) {
    const frame = frames[at]!;
    const place = dice.chance(0.5) ? dice.below(Math.min(frame.length, 48)) : dice.below(frame.length);
    frame[place] = frame[place]! ^ (1 << dice.below(8));
  },
  set(dice, frames, at) {
    const frame = frames[at]!;
    frame[dice.below(Math.min(frame.length, 64))] = dice.pick([0, 1, 0x0a, 0x0d, 0x7f, 0x80, 0xff]);
  },
  swap(dice, frames, at) {
    const other = dice.below(frames.length);
    [frames[at], frames[other]] = [frames[other]!, frames[at]!];
  },
  repeat(dice, frames, at) {
    frames.splice(dice.below(frames.length + 1), 0, Buffer.from(frames[at]!));
  },
  drop(_dice, frames, at) {
    frames.splice(at, 1);
  },
  cut(dice, frames, at) {
    frames[at] = Buffer.from(frames[at]!.subarray(0, dice.below(frames[at]!.length)));
  },
  insert(dice, frames, at) {
    const place = dice.below(frames[at]!.length + 1);
    const extra = Buffer.alloc(1 + dice.below(40), dice.below(256));
    frames[at] = Buffer.concat([frames[at]!.subarray(0, place), extra, frames[at]!.subarray(place)]);
  },
  /** Another length in the header, the payload as it was. */
  relength(dice, frames, at) {
    if (frames[at]!.length < FRAME_HEADER_BYTES) return;
    const length = readU24(frames[at]!, 0);
    const lengths = [length - 1, length + 1, 0, 1, 16_384, 65_536, 65_537, 0xff_ffff];
    writeU24(frames[at]!, 0, Math.max(0, dice.pick(lengths)));
  },
  /** Header and payload agree on another length. */
  resize(dice, frames, at) {
    if (frames[at]!.length < FRAME_HEADER_BYTES) return;
    const resized = Buffer.concat([frames[at]!, Buffer.alloc(40)]).subarray(
      0,
      FRAME_HEADER_BYTES + dice.below(frames[at]!.length + 31),
    );
    writeU24(resized, 0, resized.length - FRAME_HEADER_BYTES);
    frames[at] = resized;
  },
  restream(dice, frames, at) {
    if (frames[at]!.length < FRAME_HEADER_BYTES) return;
    writeU32(frames[at]!, 5, dice.pick([0, 1, 2, 3, 7, 1_000, 0x7fff_ffff, 0xffff_ffff]));
  },
  retype(dice, frames, at) {
    if (frames[at]!.length < FRAME_HEADER_BYTES) return;
    frames[at]![3] = dice.pick(TYPES);
  },
  reflag(dice, frames, at) {
    if (frames[at]!.length < FRAME_HEADER_BYTES) return;
    frames[at]![4] = dice.pick([0, 1, 2, 3, 0x80, 0x81, 0xff]);
  },
};

const NAMES = Object.keys(MUTATIONS);

/** Changes up to `most` things about a script, in place. */
export function mutate(dice: Dice, frames: Buffer[], most: number): void {
  for (let count = 1 + dice.below(most); count > 0 && frames.length > 0; count--) {
    const at = dice.below(frames.length);
    if (frames[at]!.length > 0) MUTATIONS[dice.pick(NAMES)]!(dice, frames, at);
  }
}
