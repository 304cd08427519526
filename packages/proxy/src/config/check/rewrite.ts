/** Rewrites and variables. */
import { nearest } from "@portico/supervisor/nearest";
import { VARIABLES, variablesOf } from "../../router/expand.ts";
import { isExpression, parseExpression } from "../../router/pattern.ts";
import type { Finding, KeyPath } from "../problems.ts";
import { type RouteCheck, record, text } from "./raw.ts";

/** What the pattern of a path captures: `1`, `2`, and names. Undefined where the pattern is no expression at all. */
function groupsOf(pattern: string): readonly string[] | undefined {
  if (!isExpression(pattern)) return Array.from(pattern.matchAll(/\*{1,2}/g), (_, index) => String(index + 1));
  try {
    // An empty alternative matches everything, and shows every group.
    const found = new RegExp(`${parseExpression(pattern).source}|`).exec("")!;
    return [...found.keys()]
      .slice(1)
      .map(String)
      .concat(Object.keys(found.groups ?? {}));
  } catch {
    return undefined;
  }
}

export function checkVariables(value: unknown, pattern: string, path: KeyPath, found: Finding[]): void {
  const groups = groupsOf(pattern);
  const used = text(value);
  if (groups === undefined || used === undefined) return;
  for (const name of variablesOf(used)) {
    if (VARIABLES.includes(name) || groups.includes(name)) continue;
    const near = nearest(name, [...VARIABLES, ...groups]);
    const hint = near === undefined ? `there are: ${[...VARIABLES, ...groups].join(", ")}` : `did you mean "$${near}"?`;
    const message = /^\d+$/.test(name)
      ? `there is no $${name}: the route's path has ${groups.length === 0 ? "no stars or groups" : "fewer stars or groups"}`
      : `there is no variable "$${name}"`;
    found.push({ path, message, hint: /^\d+$/.test(name) ? undefined : hint });
  }
}

export const checkRewrite: RouteCheck = (route, path, _config, found) => {
  const pattern = text(route["path"]) ?? "";
  checkVariables(record(route["redirect"])["to"], pattern, [...path, "redirect", "to"], found);
  if (route["rewrite"] === undefined) return;
  const rewrite = record(route["rewrite"]);
  const where = [...path, "rewrite"];
  checkVariables(rewrite["to"], pattern, [...where, "to"], found);
  if (route["proxy"] === undefined)
    found.push({
      path: where,
      message: "is for `proxy` routes",
      hint: route["static"] === undefined ? undefined : "`static` has `stripPrefix` and `tryFiles`",
    });
  const given = Object.keys(rewrite);
  if (given.length === 0) found.push({ path: where, message: "must have `stripPrefix`, `addPrefix` or `to`" });
  if (rewrite["to"] !== undefined && given.length > 1)
    found.push({ path: where, message: "`to` is the whole new path: `stripPrefix` and `addPrefix` have no effect" });
};
