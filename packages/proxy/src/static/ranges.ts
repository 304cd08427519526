/** Byte ranges of a request (RFC 9110 §14): one, several, none that can be. */

/** A part of a file. */
export interface ByteRange {
  /** First byte. */
  readonly start: number;
  /** Byte after the last. */
  readonly end: number;
}

/** More ranges than any honest client asks for (a viewer of documents asks for a handful); beyond, the whole file is the answer. */
const MOST_RANGES = 32;
/** Two ranges with less between them are sent as one: the head of a part costs more than these bytes (§15.3.7.2). */
const GAP_BYTES = 128;

// §14.1.2; more than fifteen digits are beyond every file.
const SPEC = /^(?:(?<first>\d{1,15})-(?<last>\d{0,15})|-(?<suffix>\d{1,15}))$/;
const UNIT = /^bytes=/i;
/** Anything longer has more ranges than we take, or is padded to hide something. */
const LONGEST_FIELD = MOST_RANGES * 34;

/**
 * What a Range field asks of a file of `size` bytes: parts in ascending order, none of which touch; `whole` where the field is
 * malformed, of another unit, asks for more parts than anyone needs or for the whole; `none` where no part of it exists
 * (416).
 */
export function selectRanges(field: string, size: number): readonly ByteRange[] | "whole" | "none" {
  if (!UNIT.test(field) || field.length > LONGEST_FIELD) return "whole";
  const specs = field
    .slice("bytes=".length)
    .split(",")
    .map((spec) => spec.replace(/^[ \t]+|[ \t]+$/g, ""))
    .filter((spec) => spec !== "");
  if (specs.length === 0 || specs.length > MOST_RANGES) return "whole";
  const ranges: ByteRange[] = [];
  for (const spec of specs) {
    const range = rangeOf(spec, size);
    if (range === undefined) return "whole";
    if (range !== "none") ranges.push(range);
  }
  // A suffix of an empty file is satisfiable in form, and there is nothing to cut.
  if (ranges.length === 0) return size === 0 && specs.some((spec) => /^-0*[1-9]/.test(spec)) ? "whole" : "none";
  return ranges.length === 1 ? ranges : merged(ranges, size);
}

/** One range of a set; `none`: beyond the end; undefined: malformed, which voids the field. */
function rangeOf(spec: string, size: number): ByteRange | "none" | undefined {
  const parts = SPEC.exec(spec)?.groups;
  if (parts === undefined) return undefined;
  if (parts["suffix"] !== undefined) {
    const length = Number(parts["suffix"]);
    return length === 0 || size === 0 ? "none" : { start: Math.max(0, size - length), end: size };
  }
  const start = Number(parts["first"]);
  const last = parts["last"] === "" ? Infinity : Number(parts["last"]);
  if (last < start) return undefined;
  return start >= size ? "none" : { start, end: Math.min(size, last + 1) };
}

/** Overlapping and neighbouring ranges as one, so that no byte is sent twice: a small request must not ask for much. */
function merged(ranges: readonly ByteRange[], size: number): readonly ByteRange[] | "whole" {
  const result: ByteRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.start - b.start)) {
    const before = result.at(-1);
    if (before !== undefined && range.start - before.end < GAP_BYTES)
      result[result.length - 1] = { start: before.start, end: Math.max(before.end, range.end) };
    else result.push(range);
  }
  const [only] = result;
  return result.length === 1 && only!.start === 0 && only!.end === size ? "whole" : result;
}
