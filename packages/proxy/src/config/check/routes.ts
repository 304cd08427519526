/** Routes: exactly one handler each, and none behind another that takes everything. */
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

/** A route behind an equal one that takes every request is a mistake. */
export function checkReachable(routes: readonly Raw[], path: KeyPath, found: Finding[]): void {
  const taken = new Map<string, number>();
  routes.forEach((route, index) => {
    const pattern = text(route["path"]);
    if (pattern === undefined) return;
    const before = taken.get(pattern);
    if (before !== undefined)
      found.push({
        path: [...path, index, "path"],
        message: `can never be reached: routes[${before}] takes every request of this path`,
      });
    else if (route["methods"] === undefined && record(route["static"])["fallthrough"] !== true)
      taken.set(pattern, index);
  });
}
