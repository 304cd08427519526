/**
 * Nanoseconds to write and read one header list, by the ways that were considered (docs/adr/0003-link-encoding.md).
 *
 *     node --conditions=@portico/source packages/link/bench/encoding.ts
 */
import type { FastBuffer } from "../src/frame.ts";
import { checkNames, joinText, readStrings, writeLengths, writeText } from "../src/fields.ts";

const BROWSER = [
  ["Host", "example.com", "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"],
  ["Accept", "text/html,application/xhtml+xml,application/xml;q=0.9", "Accept-Encoding", "gzip, deflate, br, zstd"],
  ["Accept-Language", "en-GB,en;q=0.5", "Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"],
  ["X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "https", "X-Request-Id", "01J9Z2V5TX8Q4M"],
].flat();
const ANSWER = ["content-type", "text/plain", "Content-Length", "50"];

const bytes = Buffer.allocUnsafeSlow(65_536) as FastBuffer;
const words = new Int32Array(bytes.buffer, 0, bytes.length >> 2);
const FORBIDDEN = /[^\t\x20-\x7e\x80-\xff]/;
let kept = 0;

const WAYS: Record<string, (list: string[]) => () => void> = {
  "write: lengths, one text, checked as bytes (chosen)": (list) => () => {
    const text = joinText(list);
    writeText(bytes, words, writeLengths(bytes, 0, list), text);
    kept += text.length;
  },
  "write: the same, names checked too (as sent)": (list) => () => {
    kept += checkNames(list);
    writeText(bytes, words, writeLengths(bytes, 0, list), joinText(list));
  },
  "write: lengths, one text, checked by a pattern": (list) => () => {
    const text = joinText(list);
    if (FORBIDDEN.test(text)) throw new RangeError("forbidden");
    bytes.latin1Write(text, writeLengths(bytes, 0, list));
    kept += text.length;
  },
  "write: one text with line ends, pieces checked by a pattern": (list) => () => {
    for (const piece of list) if (FORBIDDEN.test(piece)) throw new RangeError("forbidden");
    kept += bytes.latin1Write(list.join("\n"), 0);
  },
  "write: each string by itself, unchecked": (list) => () => {
    let at = 0;
    for (const piece of list) {
      bytes[at] = piece.length >>> 8;
      bytes[at + 1] = piece.length;
      at += 2 + bytes.latin1Write(piece, at + 2);
    }
    kept += at;
  },
  "read: one slice, cut by lengths (chosen)": (list) => {
    const at = writeLengths(bytes, 0, list);
    const end = at + bytes.latin1Write(joinText(list), at);
    return () => {
      kept += readStrings(bytes, 0, end, list.length)!.length;
    };
  },
  "read: one slice, split at line ends": (list) => {
    const end = bytes.latin1Write(list.join("\n"), 0);
    return () => {
      kept += bytes.latin1Slice(0, end).split("\n").length;
    };
  },
  "read: a slice for each string": (list) => {
    const start = writeLengths(bytes, 0, list);
    bytes.latin1Write(joinText(list), start);
    return () => {
      const strings: string[] = [];
      let at = start;
      for (let index = 0; index < start; index += 2) {
        const to = at + ((bytes[index]! << 8) | bytes[index + 1]!);
        strings.push(bytes.latin1Slice(at, to));
        at = to;
      }
      kept += strings.length;
    };
  },
};

const ROUNDS = 60_000;
const LISTS = Object.entries({ "9 request fields": BROWSER, "2 response fields": ANSWER });

for (const [what, list] of LISTS) {
  console.log(what);
  for (const [way, prepare] of Object.entries(WAYS)) {
    const run = prepare(list);
    let best = Infinity;
    for (let repeat = 0; repeat < 6; repeat++) {
      const start = performance.now();
      for (let round = 0; round < ROUNDS; round++) run();
      best = Math.min(best, ((performance.now() - start) * 1e6) / ROUNDS);
    }
    console.log(`  ${best.toFixed(0).padStart(5)} ns  ${way}`);
  }
}
if (kept === 0) console.log("nothing was measured");
