/** Turns what zod reports into problems a person can act on: place, what is wrong, what would be right. */
import type { z } from "zod";
import type { ConfigProblem } from "../errors.ts";
import { nearest } from "@portico/supervisor/nearest";

export type KeyPath = readonly (string | number)[];

/** A problem before the file and line are known. */
export interface Finding {
  readonly path: KeyPath;
  readonly message: string;
  readonly hint?: string | undefined;
}

/** `sites[0].routes[2].path`, `upstreams["my app"]`. */
export function formatPath(path: KeyPath): string {
  let text = "";
  for (const key of path) {
    if (typeof key === "number") text += `[${key}]`;
    else if (/^[A-Za-z_$][\w$]*$/.test(key)) text += text === "" ? key : `.${key}`;
    else text += `[${JSON.stringify(key)}]`;
  }
  return text;
}

/** What is known of a schema from outside: enough to walk it. */
interface SchemaDef {
  readonly type: string;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly element?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly innerType?: z.ZodType;
  readonly in?: z.ZodType;
  readonly options?: readonly z.ZodType[];
}

const defOf = (schema: z.ZodType): SchemaDef => schema.def;

/** The schemas behind optional, default and codec wrappers; several for a union. */
export function alternatives(schema: z.ZodType): z.ZodType[] {
  const def = defOf(schema);
  if (def.innerType !== undefined) return alternatives(def.innerType);
  if (def.in !== undefined) return alternatives(def.in);
  if (def.options !== undefined) return def.options.flatMap(alternatives);
  return [schema];
}

/** Names that an object schema knows; empty for others. */
export function shapeOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> {
  return defOf(schema).shape ?? {};
}

function child(schema: z.ZodType, key: string | number): z.ZodType[] {
  const def = defOf(schema);
  if (def.shape !== undefined) return def.shape[key] === undefined ? [] : [def.shape[key]];
  if (typeof key === "number") return def.element === undefined ? [] : [def.element];
  return def.valueType === undefined ? [] : [def.valueType];
}

/** Keys that the schema knows at a path. */
export function knownKeys(schema: z.ZodType, path: KeyPath): string[] {
  let level = alternatives(schema);
  for (const key of path) level = level.flatMap((one) => child(one, key)).flatMap(alternatives);
  return level.flatMap((one) => Object.keys(shapeOf(one)));
}

const ARTICLES: Record<string, string> = {
  array: "a list",
  object: "an object",
  record: "an object",
  string: "a text",
  int: "a whole number",
  boolean: "true or false",
};
const inWords = (expected: string): string => ARTICLES[expected] ?? `a ${expected}`;

const BOUND_WORDS: Record<string, string> = { array: " entries", string: " characters" };

/** Zod's own words, where the schema has not given better ones. */
const ZOD_WORDS = /^(Invalid|Too small|Too big|Unrecognized)/;

function messageOf(issue: z.core.$ZodIssue, value: unknown): string {
  if (
    value === undefined &&
    (issue.code === "invalid_type" || issue.code === "invalid_value" || issue.code === "invalid_union")
  )
    return "is missing";
  if (!ZOD_WORDS.test(issue.message)) return issue.message;
  switch (issue.code) {
    case "invalid_type":
      return `must be ${inWords(issue.expected)}`;
    case "invalid_value":
      return `must be ${issue.values.map((one) => JSON.stringify(one)).join(" or ")}`;
    case "too_small":
      if (BOUND_WORDS[issue.origin] !== undefined && Number(issue.minimum) === 1) return "must not be empty";
      return `must be at least ${String(issue.minimum)}${BOUND_WORDS[issue.origin] ?? ""}`;
    case "too_big":
      return `must be at most ${String(issue.maximum)}${BOUND_WORDS[issue.origin] ?? ""}`;
    case "invalid_key":
      return issue.issues[0]?.message ?? issue.message;
    default:
      return issue.message;
  }
}

function at(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}

/** Wrong as a whole: of another type, or not one of the values. */
const WRONG_KIND: ReadonlySet<string> = new Set(["invalid_type", "invalid_value"]);

/** Of a union's alternatives, the one that was meant: whose trouble lies inside, not in the kind of value. */
function meant(issue: z.core.$ZodIssueInvalidUnion): readonly z.core.$ZodIssue[] | undefined {
  return issue.errors.find(
    (branch) => branch.length > 0 && !branch.some((one) => one.path.length === 0 && WRONG_KIND.has(one.code)),
  );
}

function findingsOf(
  schema: z.ZodType,
  root: unknown,
  issue: z.core.$ZodIssue,
  prefix: readonly PropertyKey[],
): Finding[] {
  const path = [...prefix, ...issue.path].map((key) => (typeof key === "symbol" ? String(key) : key));
  if (issue.code === "unrecognized_keys") {
    const known = knownKeys(schema, path);
    return issue.keys.map((key) => {
      const near = nearest(key, known);
      return {
        path: [...path, key],
        message: "unknown setting",
        hint: near === undefined ? `known here: ${known.join(", ")}` : `did you mean "${near}"?`,
      };
    });
  }
  if (issue.code === "invalid_union") {
    const branch = meant(issue);
    if (branch !== undefined) return branch.flatMap((one) => findingsOf(schema, root, one, path));
  }
  const value = at(root, path);
  const near =
    issue.code === "invalid_value" && typeof value === "string" ? nearest(value, issue.values.map(String)) : undefined;
  return [{ path, message: messageOf(issue, value), hint: near === undefined ? undefined : `did you mean "${near}"?` }];
}

/** Everything that the schema has against `root`. */
export function findings(schema: z.ZodType, root: unknown, error: z.ZodError): Finding[] {
  return error.issues.flatMap((issue) => findingsOf(schema, root, issue, []));
}

/** Findings with their place in the file, in the order of the lines. */
export function locate(
  found: readonly Finding[],
  file: string | undefined,
  lineOf: (path: KeyPath) => number | undefined,
): ConfigProblem[] {
  return found
    .map((one) => ({ file, line: lineOf(one.path), path: formatPath(one.path), message: one.message, hint: one.hint }))
    .sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
}
