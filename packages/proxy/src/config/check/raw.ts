/** Looks into a configuration as it was written, right or wrong. */
import type { Finding, KeyPath } from "../problems.ts";

export type Raw = Readonly<Record<string, unknown>>;

export const record = (value: unknown): Raw =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Raw) : {};
export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
export const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

/** Finds what is wrong with one route. */
export type RouteCheck = (route: Raw, path: KeyPath, config: Raw, found: Finding[]) => void;

/** Finds what is wrong with the whole. */
export type ConfigCheck = (config: Raw, found: Finding[]) => void;
