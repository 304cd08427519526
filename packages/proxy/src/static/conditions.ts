/**
 * Conditional requests (RFC 9110 §13) and ranges (§14) for one representation that is a file.
 *
 * Evaluated in the order of §13.2.2.
 */
import type { HeaderList } from "@portico/gateway/exchange";
import { type ByteRange, selectRanges } from "./ranges.ts";

/** What identifies a version of a file. */
export interface Validators {
  /** Strong, with its quotes. */
  readonly etag: string;
  /** As in Last-Modified. */
  readonly lastModified: string;
  /** The same, seconds since the epoch. */
  readonly modifiedSeconds: number;
  readonly size: number;
}

/** The fields of a request that matter here; undefined where it has none of them, which is the usual case. */
export interface ConditionFields {
  ifMatch: string | undefined;
  ifNoneMatch: string | undefined;
  ifModifiedSince: string | undefined;
  ifUnmodifiedSince: string | undefined;
  ifRange: string | undefined;
  range: string | undefined;
}

const FIELDS: ReadonlyMap<string, keyof ConditionFields> = new Map([
  ["if-match", "ifMatch"],
  ["if-none-match", "ifNoneMatch"],
  ["if-modified-since", "ifModifiedSince"],
  ["if-unmodified-since", "ifUnmodifiedSince"],
  ["if-range", "ifRange"],
  ["range", "range"],
]);

const LETTER_I = 0x69;
const LETTER_R = 0x72;
/** Sets the bit by which ASCII letters differ in case. */
const LOWER = 0x20;

/** Finds the conditional fields. HOT: looks at the first letter of each name; allocates only where one is there. */
export function conditionFields(headers: HeaderList): ConditionFields | undefined {
  let found: ConditionFields | undefined;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index]!;
    const first = name.charCodeAt(0) | LOWER;
    if (first !== LETTER_I && first !== LETTER_R) continue;
    const key = FIELDS.get(name.toLowerCase());
    if (key === undefined) continue;
    found ??= {
      ifMatch: undefined,
      ifNoneMatch: undefined,
      ifModifiedSince: undefined,
      ifUnmodifiedSince: undefined,
      ifRange: undefined,
      range: undefined,
    };
    const before = found[key];
    found[key] = before === undefined ? headers[index + 1]! : `${before}, ${headers[index + 1]!}`;
  }
  return found;
}

/** What to answer: the whole (200), not modified (304), precondition failed (412), one or several parts (206), or no such range (416). */
export type Verdict =
  | { readonly status: 200 | 304 | 412 | 416 }
  | { readonly status: 206; /** Ascending, apart from each other. */ readonly ranges: readonly ByteRange[] };

const WHOLE: Verdict = { status: 200 };
const NOT_MODIFIED: Verdict = { status: 304 };
const FAILED: Verdict = { status: 412 };
const UNSATISFIABLE: Verdict = { status: 416 };

// RFC 9110 §8.8.3.
const ENTITY_TAG = /(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g;

/** Whether a list of entity tags, or `*`, names this one. A strong comparison never matches a weak tag (§8.8.3.2). */
function lists(field: string, etag: string, strong: boolean): boolean {
  if (field.trim() === "*") return true;
  for (const [tag] of field.matchAll(ENTITY_TAG)) {
    if (tag === etag || (!strong && tag.startsWith("W/") && tag.slice(2) === etag)) return true;
  }
  return false;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
// The three forms of §5.6.7: IMF-fixdate, RFC 850, asctime.
const DATES = [
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?<day>\d\d) (?<month>[A-Z][a-z]{2}) (?<year>\d{4}) (?<time>\d\d:\d\d:\d\d) GMT$/,
  /^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?<day>\d\d)-(?<month>[A-Z][a-z]{2})-(?<year>\d\d) (?<time>\d\d:\d\d:\d\d) GMT$/,
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?<month>[A-Z][a-z]{2}) (?<day>[ \d]\d) (?<time>\d\d:\d\d:\d\d) (?<year>\d{4})$/,
];

/** A two-digit year that seems more than 50 years ahead is of the past (§5.6.7). */
function fullYear(digits: string): number {
  const year = Number(digits);
  if (digits.length === 4) return year;
  const now = new Date().getUTCFullYear();
  const candidate = Math.floor(now / 100) * 100 + year;
  return candidate > now + 50 ? candidate - 100 : candidate;
}

/** Seconds since the epoch of an HTTP-date; undefined for anything else, which makes a condition void. */
export function parseHttpDate(text: string): number | undefined {
  for (const pattern of DATES) {
    const parts = pattern.exec(text)?.groups;
    if (parts === undefined) continue;
    const month = MONTHS.indexOf(parts["month"]!);
    const [hour, minute, second] = parts["time"]!.split(":").map(Number);
    const day = Number(parts["day"]);
    if (month === -1 || day < 1 || day > 31 || hour! > 23 || minute! > 59 || second! > 60) return undefined;
    return Date.UTC(fullYear(parts["year"]!), month, day, hour, minute, second) / 1000;
  }
  return undefined;
}

function isNotModified(fields: ConditionFields, file: Validators): boolean {
  const since = fields.ifModifiedSince;
  if (since === undefined) return false;
  if (since === file.lastModified) return true;
  const seconds = parseHttpDate(since);
  return seconds !== undefined && file.modifiedSeconds <= seconds;
}

/** Steps 1 to 4 of §13.2.2; undefined where the request goes on. */
function precondition(fields: ConditionFields, file: Validators): Verdict | undefined {
  if (fields.ifMatch !== undefined) {
    if (!lists(fields.ifMatch, file.etag, true)) return FAILED;
  } else if (fields.ifUnmodifiedSince !== undefined) {
    const seconds = parseHttpDate(fields.ifUnmodifiedSince);
    if (seconds !== undefined && file.modifiedSeconds > seconds) return FAILED;
  }
  if (fields.ifNoneMatch !== undefined) return lists(fields.ifNoneMatch, file.etag, false) ? NOT_MODIFIED : undefined;
  return isNotModified(fields, file) ? NOT_MODIFIED : undefined;
}

/** A date is a strong validator once the file can no longer change within its second (§8.8.2.2). */
const STRONG_AFTER_SECONDS = 2;

/** Step 5: an If-Range that does not name this version, strongly, makes the range void (§13.1.5). */
function rangeHolds(ifRange: string | undefined, file: Validators): boolean {
  if (ifRange === undefined || ifRange === file.etag) return true;
  return ifRange === file.lastModified && Date.now() / 1000 - file.modifiedSeconds >= STRONG_AFTER_SECONDS;
}

/** Decides a GET or HEAD of a file. A HEAD has no ranges (§14.2). */
export function judge(fields: ConditionFields, method: string, file: Validators): Verdict {
  const early = precondition(fields, file);
  if (early !== undefined) return early;
  if (fields.range === undefined || method !== "GET" || !rangeHolds(fields.ifRange, file)) return WHOLE;
  const ranges = selectRanges(fields.range, file.size);
  if (ranges === "whole") return WHOLE;
  return ranges === "none" ? UNSATISFIABLE : { status: 206, ranges };
}
