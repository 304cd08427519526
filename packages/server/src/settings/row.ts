/** What every row of the schema is made of. */
import * as z from "zod";

/** What a row says beside its type. */
export interface SettingMeta {
  /** Flags as commander reads them; undefined: in the configuration file only. */
  readonly flags?: string;
  /** How the text of a flag becomes the value: number where it looks like one, text, a list (flag repeatable), names with values (`NAME=value`, repeatable), or nothing but its presence. */
  readonly from: "number" | "text" | "list" | "record" | "switch";
  /** One or two sentences, for `--help` and the reference. */
  readonly about: string;
  /** When a reload (SIGHUP) takes up a changed value: with the new workers, or only when the master is started again. */
  readonly changes: "reload" | "restart";
}

/** What is said about each row, by its schema. */
export const settingMeta: z.core.$ZodRegistry<SettingMeta> = z.registry<SettingMeta>();

/** One setting: its schema, and what is said about it. */
export function row<T extends z.ZodType>(schema: T, meta: SettingMeta): T {
  settingMeta.add(schema, meta);
  return schema;
}

/** The longest time that a setting takes: a day. */
const DAY_SECONDS = 86_400;

/** Seconds; fractions are allowed. */
export const seconds = (fallback: number): z.ZodDefault<z.ZodNumber> =>
  z.number().min(0).max(DAY_SECONDS).default(fallback);

export const count = (least: number): z.ZodNumber => z.number().int().min(least);

/** An octal mode, as chmod takes it. */
export const octal = (): z.ZodString => z.string().regex(/^0?[0-7]{3}$/, "must be an octal mode such as 0660");

const SIZE = /^(\d+(?:\.\d+)?) ?(B|KiB|MiB|GiB|kB|MB|GB)?$/;
const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1_024,
  MiB: 1_024 ** 2,
  GiB: 1_024 ** 3,
  kB: 1_000,
  MB: 1_000 ** 2,
  GB: 1_000 ** 3,
};

type Size = z.ZodDefault<
  z.ZodPipe<z.ZodUnion<readonly [z.ZodNumber, z.ZodString]>, z.ZodTransform<number, number | string>>
>;

/** Bytes as a number, or with a unit: `512MiB`. It becomes a number. 0: no limit. */
export const size = (): Size =>
  z
    .union([count(0), z.string().regex(SIZE, "must be bytes, or a size such as 512MiB")])
    .transform(bytesOf)
    .default(0);

function bytesOf(value: number | string): number {
  if (typeof value === "number") return value;
  const [, number, unit = "B"] = SIZE.exec(value) ?? [];
  return Math.round(Number(number) * UNITS[unit]!);
}
