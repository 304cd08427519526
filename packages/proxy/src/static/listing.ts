/** The listing of a directory, as a page or as JSON. Only names that would be served are named. */
import { Buffer } from "node:buffer";
import type { Stats } from "node:fs";
import { opendir } from "node:fs/promises";
import type { HeaderList } from "@portico/gateway/exchange";
import { escapeHtml } from "../answer/error-text.ts";
import { type LocateRules, locate } from "./locate.ts";

/** Names in one listing: a page of more helps nobody, and must fit in memory. */
const MOST_ENTRIES = 10_000;

interface Entry {
  readonly name: string;
  readonly directory: boolean;
  /** Bytes; 0 for directories. */
  readonly size: number;
  readonly modified: Date;
}

export interface Listing {
  readonly headers: HeaderList;
  readonly body: Buffer;
}

/** @param path of the directory, in normal form, with its final slash. @throws what the system says */
export async function listDirectory(
  path: string,
  shown: string,
  rules: LocateRules,
  format: "html" | "json",
): Promise<Listing> {
  const { entries, complete } = await readEntries(path, rules);
  const json = format === "json";
  const text = json ? renderJson(shown, entries, complete) : renderHtml(shown, entries, complete);
  const type = json ? "application/json" : "text/html; charset=utf-8";
  // What it says depends on Accept, and on what lies there at this moment.
  const headers = ["Content-Type", type, "Vary", "Accept", "Cache-Control", "no-cache"];
  if (!json) headers.push("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  return { headers, body: Buffer.from(text) };
}

async function readEntries(path: string, rules: LocateRules): Promise<{ entries: Entry[]; complete: boolean }> {
  const entries: Entry[] = [];
  let complete = true;
  for await (const { name } of await opendir(rules.root + path)) {
    if (entries.length === MOST_ENTRIES) {
      complete = false;
      break;
    }
    // The same look that a request for it would take: links, devices, hidden names and what may not be read included.
    const found = await locate(path + name, rules);
    if (found.kind === "file") entries.push(entryOf(name, false, found.stats));
    else if (found.kind === "directory") entries.push(entryOf(name, true, found.stats));
  }
  const collator = new Intl.Collator("en", { numeric: true });
  entries.sort((a, b) => Number(b.directory) - Number(a.directory) || collator.compare(a.name, b.name));
  return { entries, complete };
}

function entryOf(name: string, directory: boolean, stats: Stats): Entry {
  return { name, directory, size: directory ? 0 : stats.size, modified: stats.mtime };
}

function renderJson(path: string, entries: readonly Entry[], complete: boolean): string {
  const list = entries.map(({ name, directory, size, modified }) => ({
    name,
    type: directory ? "directory" : "file",
    ...(directory ? {} : { size }),
    modified: modified.toISOString(),
  }));
  return `${JSON.stringify({ path, entries: list, complete })}\n`;
}

function renderHtml(path: string, entries: readonly Entry[], complete: boolean): string {
  const rows = entries.map(({ name, directory, size, modified }) => {
    const slash = directory ? "/" : "";
    // "./" keeps a name with a colon from being read as a scheme.
    const href = `./${encodeURIComponent(name)}${slash}`;
    return `<tr><td><a href="${escapeHtml(href)}">${escapeHtml(name)}${slash}</a><td>${directory ? "" : size}<td>${modified.toISOString().slice(0, 19).replace("T", " ")}`;
  });
  const up = path === "/" ? "" : '<tr><td><a href="../">../</a><td><td>';
  const title = `Index of ${escapeHtml(path)}`;
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><title>${title}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse;width:100%}th{text-align:left}th,td{padding:.15rem .6rem .15rem 0;overflow-wrap:anywhere}td:nth-child(n+2),th:nth-child(n+2){text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}</style>
<h1>${title}</h1><table><thead><tr><th>Name<th>Bytes<th>Changed (UTC)<tbody>${up}
${rows.join("\n")}
</table>${complete ? "" : `<p>Only the first ${MOST_ENTRIES} names found are shown.</p>`}</html>
`;
}
