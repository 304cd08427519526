/** Routes: exactly one handler each, and none behind another that takes everything. */
import { compilePath } from "../../router/path-pattern.ts";
import type { Finding, KeyPath } from "../problems.ts";
import { checkFields } from "./fields.ts";
import { type Raw, type RouteCheck, record, text } from "./raw.ts";

/** The handlers of a route; each route has exactly one. */
export const ROUTE_HANDLERS = ["static", "proxy", "respond", "redirect"] as const;

export const checkHandler: RouteCheck = (route, path, _config, found) => {
  const given = ROUTE_HANDLERS.filter((name) => route[name] !== undefined);
  const choices = ROUTE_HANDLERS.map((name) => `\`${name}\``).join(", ");
  if (given.length === 0) found.push({ path, message: `must have one of ${choices}` });
  if (given.length > 1)
    found.push({ path, message: `must have only one of ${choices}`, hint: `has ${given.join(" and ")}` });
};

export const checkRespond: RouteCheck = (route, path, _config, found) =>
  checkFields(record(route["respond"])["headers"], [...path, "respond", "headers"], found);

/** Where a pattern is filed, and whether it takes all that is filed there; undefined where it is no pattern. */
function filedOf(pattern: string): { filed: string; all: boolean } | undefined {
  if (!/^[/~]/.test(pattern)) return undefined;
  try {
    const { filed, expression } = compilePath(pattern);
    return { filed, all: expression === undefined };
  } catch {
    return undefined;
  }
}

/** A route behind one that takes every request of its path or prefix is a mistake. */
export function checkReachable(routes: readonly Raw[], path: KeyPath, found: Finding[]): void {
  const taken = new Map<string, number>();
  routes.forEach((route, index) => {
    const place = filedOf(text(route["path"]) ?? "");
    if (place === undefined) return;
    const before = taken.get(place.filed);
    if (before !== undefined)
      found.push({
        path: [...path, index, "path"],
        message: place.all
          ? `can never be reached: routes[${before}] takes every request of this path`
          : `can never be reached: it counts as ${place.filed}, and routes[${before}] takes every request of that`,
        hint: place.all ? undefined : "put it first",
      });
    else if (
      place.all &&
      route["methods"] === undefined &&
      route["match"] === undefined &&
      // For clients it is not there.
      route["internal"] !== true &&
      record(route["static"])["fallthrough"] !== true
    )
      taken.set(place.filed, index);
  });
}
