/** The tables "from gunicorn" and "from pm2" name what exists here, and all that gunicorn has. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { COMMANDS } from "./control/commands.ts";
import { HOOKS } from "./hooks.ts";
import { SETTINGS } from "./settings.ts";
import { SIGNALS } from "./signals.ts";

const guide = (name: string): string => readFileSync(new URL(`../../../docs/guide/${name}`, import.meta.url), "utf8");

/** Cells of all tables' rows: theirs, ours, the note. */
function rows(text: string): { theirs: string; ours: string; note: string }[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("| ") && !line.startsWith("| ---"))
    .map((line) => line.split("|").map((cell) => cell.trim()))
    .map(([, theirs = "", ours = "", note = ""]) => ({ theirs, ours, note }))
    .filter(({ ours }) => ours !== "here");
}

const known = new Set<string>([
  ...SETTINGS.map(({ name }) => name),
  ...Object.keys(HOOKS),
  ...Object.keys(SIGNALS),
  ...Object.keys(COMMANDS).map((command) => `portico-server ${command}`),
  "--config",
  "--check-config",
  "--print-config",
  ...SETTINGS.flatMap(({ meta }) => /--[\w-]+/.exec(meta.flags ?? "") ?? []),
  "WEB_CONCURRENCY",
  "PORTICO_SERVER_ARGS",
  "LISTEN_FDS",
]);

test.each(["from-gunicorn.md", "from-pm2.md"])("%s names what exists", (name) => {
  const table = rows(guide(name));
  expect(table.length).toBeGreaterThan(30);
  const unknown = table
    .flatMap(({ ours }) => [...ours.matchAll(/`([^`]+)`/g)].map(([, word]) => word!))
    .filter((word) => !known.has(word));
  expect(unknown).toEqual([]);
  for (const { theirs, ours } of table) expect(ours, theirs).toMatch(/^(—|`[^`]+`)$/);
});

const gunicorn = spawnSync(
  "/usr/bin/python3", // Debian's, which has Debian's gunicorn
  ["-c", "from gunicorn.config import KNOWN_SETTINGS\nprint(' '.join(s.name for s in KNOWN_SETTINGS))"],
  { encoding: "utf8" },
);

test.skipIf(gunicorn.status !== 0)("every setting and hook of gunicorn is in the table (needs gunicorn)", () => {
  const table = rows(guide("from-gunicorn.md")).map(({ theirs }) => theirs);
  const missing = gunicorn.stdout
    .trim()
    .split(" ")
    .filter((name) => !table.includes(`\`${name}\``));
  expect(missing).toEqual([]);
});
