/** Files that are read when a configuration is put in force: error pages. Missing ones are mistakes like any other. */
import { accessSync, constants, statSync } from "node:fs";
import { resolve } from "node:path";
import type { Finding, KeyPath } from "../problems.ts";
import { list, record, text } from "./raw.ts";

// Every page is held in memory by every thread.
const LARGEST_PAGE = 1024 * 1024;

function checkPage(file: unknown, path: KeyPath, base: string, found: Finding[]): void {
  const name = text(file);
  if (name === undefined || name === "") return;
  const absolute = resolve(base, name);
  const stats = statSync(absolute, { throwIfNoEntry: false });
  if (stats === undefined) found.push({ path, message: `there is no file ${absolute}` });
  else if (!stats.isFile()) found.push({ path, message: `${absolute} is not a file` });
  else if (stats.size > LARGEST_PAGE) found.push({ path, message: `${absolute} is larger than 1 MiB` });
  else {
    try {
      accessSync(absolute, constants.R_OK);
    } catch {
      found.push({ path, message: `${absolute} cannot be read: permission denied` });
    }
  }
}

function checkPages(errorPages: unknown, path: KeyPath, base: string, found: Finding[]): void {
  for (const [status, file] of Object.entries(record(record(errorPages)["pages"])))
    checkPage(file, [...path, "errorPages", "pages", status], base, found);
}

/** @param base what paths of the configuration are relative to */
export function checkFiles(raw: unknown, base: string): Finding[] {
  const found: Finding[] = [];
  const config = record(raw);
  checkPages(config["errorPages"], [], base, found);
  list(config["sites"])
    .map(record)
    .forEach((site, index) => {
      const where = ["sites", index];
      checkPages(site["errorPages"], where, base, found);
      checkPage(record(site["maintenance"])["page"], [...where, "maintenance", "page"], base, found);
      list(site["routes"])
        .map(record)
        .forEach((route, position) => checkPages(route["errorPages"], [...where, "routes", position], base, found));
    });
  return found;
}
