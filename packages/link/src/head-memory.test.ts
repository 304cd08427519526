import { expect, test } from "vitest";
import type { FastBuffer } from "./frame.ts";
import { HeadMemory } from "./head-memory.ts";
import { beginResponse, pendingSize, readResponse } from "./head.ts";
import { Outbox } from "./outbox.ts";

/** A RESPONSE payload with a body of `body` bytes, somewhere in a buffer. */
function payload(status: number, headers: string[], body: number, before: number): { bytes: FastBuffer; end: number } {
  const out = new Outbox({ write: () => true, schedule() {}, end() {}, destroy() {} });
  const at = beginResponse(out, status, headers, -1, body, 65_536);
  const bytes = Buffer.alloc(before + pendingSize, 0x2a) as FastBuffer;
  out.bytes.copy(bytes, before, at - (pendingSize - body), at);
  return { bytes, end: before + pendingSize };
}

test("equal bytes are read once, and every other head for itself", () => {
  const memory = new HeadMemory();
  const heads: [number, string[]][] = [
    [200, ["content-type", "text/plain", "Content-Length", "50"]],
    [200, ["content-type", "text/plain", "Content-Length", "51"]],
    [201, ["content-type", "text/plain", "Content-Length", "50"]],
    [200, ["content-typ", "etext/plain", "Content-Length", "50"]],
    [200, ["content-type", "text/plain"]],
    [200, []],
    [200, ["x", "a".repeat(600)]],
  ];
  let last: string[] = [];
  let repeats = 0;
  for (let round = 0; round < 400; round++) {
    const [status, headers] = heads[(round >> 1) % heads.length]!;
    const start = round % 5;
    const { bytes, end } = payload(status, headers, round % 3, start);
    const known = memory.find(bytes, start, end);
    const read = readResponse(bytes, start, end, 100)!;
    expect(known === undefined).toBe(!(JSON.stringify([status, headers]) === JSON.stringify(last)));
    const head = known ?? read;
    expect([head.status, head.headers, head.length]).toEqual([status, headers, end - start - (round % 3)]);
    expect([read.status, read.headers, read.length]).toEqual([status, headers, end - start - (round % 3)]);
    if (known !== undefined) {
      repeats++;
      continue;
    }
    memory.keep(bytes, start, read);
    if (read.length <= 512) last = JSON.parse(JSON.stringify([status, headers])) as string[];
  }
  // 200 heads, each twice in a row; 28 of them are the one that is too long.
  expect(repeats).toBe(200 - 28);
});

test("an application that never repeats itself is remembered less often, until it does", () => {
  const memory = new HeadMemory();
  let kept = 0;
  for (let round = 0; round < 160; round++) {
    const { bytes, end } = payload(200, ["n", String(round)], 0, 0);
    memory.keep(bytes, 0, readResponse(bytes, 0, end, 100)!);
    if (memory.headers[1] === String(round)) kept++;
  }
  expect(kept).toBe(25);
  const { bytes, end } = payload(200, ["n", "same"], 0, 0);
  let found = 0;
  for (let round = 0; round < 32; round++) {
    if (memory.find(bytes, 0, end) !== undefined) found++;
    else memory.keep(bytes, 0, readResponse(bytes, 0, end, 100)!);
  }
  expect(found).toBeGreaterThan(15);
});

test("what is remembered is a copy: bytes that are overwritten do not change it", () => {
  const memory = new HeadMemory();
  const { bytes, end } = payload(200, ["a", "b"], 0, 0);
  memory.keep(bytes, 0, readResponse(bytes, 0, end, 100)!);
  const again = Buffer.from(bytes);
  bytes.fill(0);
  expect(memory.find(bytes, 0, end)).toBeUndefined();
  expect(memory.find(again, 0, end)?.headers).toEqual(["a", "b"]);
  expect(memory.find(again, 0, end - 1)).toBeUndefined();
});
