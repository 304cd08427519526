/**
 * The settings of the server, in one schema: types, validation, defaults, command-line flags, `--help`, the JSON
 * Schema for editors and the reference page all come from the rows in `settings/`.
 *
 * A row is a zod schema plus {@link SettingMeta}. Its key is the name in `server.config.ts`.
 */
import * as z from "zod";
import { application } from "./settings/application.ts";
import { listening } from "./settings/listening.ts";
import { logging } from "./settings/logging.ts";
import { identity, inspection } from "./settings/process.ts";
import { type SettingMeta, settingMeta } from "./settings/row.ts";
import { workers } from "./settings/workers.ts";

/** Section → its rows, in the order in which `--help` and the reference page show them. */
const sections = { application, listening, workers, identity, logging, inspection } as const;

/** Every setting by its key. Unknown keys are errors. */
export const ServerSettings = z.strictObject({
  ...application,
  ...listening,
  ...workers,
  ...identity,
  ...logging,
  ...inspection,
});

/** What a person writes: everything optional. */
export type ServerConfig = z.input<typeof ServerSettings>;
/** What the server works with: defaults filled in. */
export type ResolvedConfig = z.output<typeof ServerSettings>;
export type SettingName = keyof ResolvedConfig;

/** One setting, for whoever lists them. */
export interface Setting {
  readonly name: SettingName;
  readonly section: string;
  readonly schema: z.ZodType;
  readonly meta: SettingMeta;
}

/** All settings in order. */
export const SETTINGS: readonly Setting[] = Object.entries(sections).flatMap(([name, rows]) =>
  Object.entries(rows as Record<string, z.ZodType>).map(([key, schema]) => ({
    name: key as SettingName,
    section: name,
    schema,
    meta: settingMeta.get(schema)!,
  })),
);

/** Types a configuration file: `export default defineServer({ ... })`. Returns what it is given. */
export function defineServer(config: ServerConfig): ServerConfig {
  return config;
}
