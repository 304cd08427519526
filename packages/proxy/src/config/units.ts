/**
 * Durations, sizes and rates as people write them, and as the program uses them.
 *
 * Each is a codec: `decode` gives the number, `encode` gives the text back, so `print-config` shows what one would
 * write.
 */
import { z } from "zod";

const DURATION_UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
  ["ms", 1],
] as const;

const SIZE_UNITS = [
  ["TiB", 1024 ** 4],
  ["GiB", 1024 ** 3],
  ["MiB", 1024 ** 2],
  ["KiB", 1024],
  ["TB", 1000 ** 4],
  ["GB", 1000 ** 3],
  ["MB", 1000 ** 2],
  ["kB", 1000],
  ["B", 1],
] as const;

type Units = readonly (readonly [string, number])[];

function parse(text: string, units: Units): number {
  const unit = units.reduce<readonly [string, number]>(
    (best, candidate) => (text.endsWith(candidate[0]) && candidate[0].length > best[0].length ? candidate : best),
    ["", 1],
  );
  return Math.round(Number(text.slice(0, text.length - unit[0].length)) * unit[1]);
}

/** The largest unit that says the value in whole numbers. */
function format(value: number, units: Units): string {
  const unit = units.find(([, factor]) => value >= factor && value % factor === 0) ?? units.at(-1)!;
  return `${value / unit[1]}${unit[0]}`;
}

/** Milliseconds of a duration such as `250ms`, `5s`, `1.5m`, `2h`, `1d`. The text must match the schema's pattern. */
export const parseDuration = (text: string): number => parse(text, DURATION_UNITS);
export const formatDuration = (ms: number): string => format(ms, DURATION_UNITS);
/** Bytes of a size such as `512B`, `64KiB`, `10MiB`, `1GB`. The text must match the schema's pattern. */
export const parseSize = (text: string): number => parse(text, SIZE_UNITS);
export const formatSize = (bytes: number): string => format(bytes, SIZE_UNITS);

// Timers take no more than 2^31-1 ms; a duration beyond it would fire at once.
const LONGEST_MS = 2 ** 31 - 1;

const durationText = z.string().regex(/^\d+(\.\d+)?(ms|s|m|h|d)$/, {
  error: 'must be a duration: a number with ms, s, m, h or d, such as "5s", or milliseconds',
});
const sizeText = z.string().regex(/^\d+(\.\d+)?([KMGT]iB|kB|MB|GB|TB|B)$/, {
  error: 'must be a size: a number with B, KiB, MiB or GiB, such as "10MiB", or bytes',
});

/** A duration: text with a unit, or a number of milliseconds. Milliseconds inside. */
export const duration = z
  .codec(
    z.union([z.number().min(0), durationText], { error: 'must be a duration, such as "5s", or milliseconds' }),
    z.number().max(LONGEST_MS, { error: "must be no longer than 24 days" }),
    {
      decode: (value) => (typeof value === "number" ? Math.round(value) : parseDuration(value)),
      encode: (value) => formatDuration(value),
    },
  )
  .meta({
    id: "duration",
    title: "duration",
    description: 'A number with ms, s, m, h or d, such as "5s", or milliseconds.',
  });

/** A size: text with a unit, or a number of bytes. Bytes inside. */
export const size = z
  .codec(
    z.union([z.number().int().min(0), sizeText], { error: 'must be a size, such as "10MiB", or bytes' }),
    z.number().max(Number.MAX_SAFE_INTEGER),
    {
      decode: (value) => (typeof value === "number" ? value : parseSize(value)),
      encode: (value) => formatSize(value),
    },
  )
  .meta({
    id: "size",
    title: "size",
    description: 'A number with B, KiB, MiB, GiB or TiB, such as "10MiB", or bytes.',
  });
