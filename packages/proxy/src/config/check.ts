/**
 * What a schema cannot say: settings that refer to each other or contradict each other.
 *
 * Works on the configuration as it was written, right or wrong, so that these findings come together with the
 * schema's: all at once.
 */
import { checkClientLists, checkMatchClients } from "./check/clients.ts";
import { checkEdits } from "./check/edits.ts";
import { checkHosts } from "./check/hosts.ts";
import { checkListen } from "./check/listen.ts";
import { type ConfigCheck, type RouteCheck, list, record } from "./check/raw.ts";
import { checkHandler, checkReachable, checkRespond } from "./check/routes.ts";
import { checkRewrite } from "./check/rewrite.ts";
import { checkStatic } from "./check/static.ts";
import { checkLinkSecret, checkUpstreamNames } from "./check/upstreams.ts";
import type { Finding } from "./problems.ts";

const CONFIG_CHECKS: readonly ConfigCheck[] = [checkListen, checkClientLists, checkLinkSecret, checkHosts];

const ROUTE_CHECKS: readonly RouteCheck[] = [
  checkHandler,
  checkUpstreamNames,
  checkStatic,
  checkRespond,
  checkEdits,
  checkRewrite,
  checkMatchClients,
];

/** All that is wrong between the settings of a configuration as written. */
export function crossCheck(raw: unknown): Finding[] {
  const found: Finding[] = [];
  const config = record(raw);
  for (const check of CONFIG_CHECKS) check(config, found);
  list(config["sites"]).forEach((site, index) => {
    const routes = list(record(site)["routes"]).map(record);
    checkReachable(routes, ["sites", index, "routes"], found);
    routes.forEach((route, position) => {
      // What is no route at all the schema says.
      if (Object.keys(route).length === 0) return;
      for (const check of ROUTE_CHECKS) check(route, ["sites", index, "routes", position], config, found);
    });
  });
  return found;
}
