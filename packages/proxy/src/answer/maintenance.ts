/** `maintenance` of a site: everyone gets 503 and a page, save who works on it. */
import type { Exchange } from "@portico/gateway/exchange";
import type { MaintenanceSettings } from "../config/schema.ts";
import { compileTrust } from "../config/trust.ts";
import { respondError } from "./error.ts";
import { ErrorPages, PagedExchange } from "./error-pages.ts";

const REASON = "This site is being worked on. Please come back later.";

/** Answers who is not let through; true where it has answered. */
export type Maintenance = (exchange: Exchange) => boolean;

/** @throws the file system's error where the page cannot be read */
export function compileMaintenance(settings: MaintenanceSettings): Maintenance | undefined {
  if (!settings.enabled) return undefined;
  const passes = compileTrust(settings.allow ?? []);
  const pages =
    settings.page === undefined ? undefined : new ErrorPages({ pages: { 503: settings.page }, intercept: false });
  const fields = ["Retry-After", String(Math.ceil(settings.retryAfter / 1000))];
  return (exchange) => {
    if (passes(exchange.facts.client.address)) return false;
    respondError(pages === undefined ? exchange : new PagedExchange(exchange, pages), 503, REASON, fields);
    return true;
  };
}
