/** `docs/reference/http-conformance.md` may not rot: every row has an answer, every test and corpus file it names exists. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const page = readFileSync(`${root}docs/reference/http-conformance.md`, "utf8");
const CORPUS = `${root}test/corpus/http1`;
const FOLDERS = /^(?:valid|invalid|response-valid|response-invalid)\//;
const LEVELS = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT"];

interface Row {
  readonly rfc: string;
  readonly section: string;
  readonly level: string;
  readonly role: string;
  readonly requirement: string;
  readonly held: string;
}

/** Short names of test files, from the page's own table. */
const files = new Map<string, string>();
const rows: Row[] = [];
let rfc = "";
for (const line of page.split("\n")) {
  rfc = /^## (RFC \d+)/.exec(line)?.[1] ?? rfc;
  if (!line.startsWith("| ") || line.startsWith("| ---")) continue;
  const cells = line.slice(1, line.lastIndexOf("|")).split(" | ");
  const [first = "", second = "", role = "", requirement = "", held = ""] = cells.map((cell) => cell.trim());
  if (rfc === "") files.set(first, second.slice(1, -1));
  else if (first !== "§") rows.push({ rfc, section: first, level: second, role, requirement, held });
}
files.delete("short");

/** The names of the tests of a file, as they are written there. */
function titlesOf(file: string): Set<string> {
  const text = readFileSync(root + file, "utf8");
  const titles = [...text.matchAll(/(?:^|[\s(,)])(["'`])((?:\\.|(?!\1)[^\\\n])+)\1\s*,/g)].map(([, , title]) => title!);
  return new Set(titles.map((title) => title.replaceAll(/\\(["'`])/g, "$1")));
}

const titles = new Map(
  [...files].filter(([, file]) => existsSync(root + file)).map(([name, file]) => [name, titlesOf(file)]),
);

/** What a cell names: corpus files, and tests as `short: \`name\``. */
function problemsOf(held: string): string[] {
  const problems: string[] = [];
  let references = 0;
  for (const match of held.matchAll(/(?:([a-z-]+): )?`([^`]+)`/g)) {
    const [, short, name] = match as unknown as [string, string | undefined, string];
    if (FOLDERS.test(name)) {
      references++;
      if (globSync(`${name}.http`, { cwd: CORPUS }).length === 0) problems.push(`no file of the corpus is ${name}`);
    } else if (short !== undefined && files.has(short)) {
      references++;
      if (titles.get(short)?.has(name) !== true) problems.push(`${files.get(short)} has no test "${name}"`);
    } else if (short !== undefined && !["departs", "n/a"].includes(short))
      problems.push(`${short} is no file of the table`);
  }
  const reason = /^n\/a: (.+)/.exec(held)?.[1];
  if (reason === undefined && references === 0) problems.push("neither a test nor a reason");
  if (reason !== undefined && reason.length < 12) problems.push("the reason says nothing");
  if (held.startsWith("departs") && !/^departs: .{20}/.test(held)) problems.push("departs without a reason");
  return problems;
}

describe("the table of conformance", () => {
  test("has both RFCs, and hundreds of rows", () => {
    const count = (name: string): number => rows.filter((row) => row.rfc === name).length;
    expect(count("RFC 9112")).toBeGreaterThan(100);
    expect(count("RFC 9110")).toBeGreaterThan(200);
  });

  test("names files that exist", () => {
    for (const [name, file] of files) expect(existsSync(root + file), `${name}: ${file}`).toBe(true);
  });

  test.each(rows)("$rfc §$section $level, $role: $requirement", (row) => {
    expect(row.section).toMatch(/^\d+(?:\.\d+)*$/);
    for (const level of row.level.split(", ")) expect(LEVELS).toContain(level);
    for (const cell of [row.role, row.requirement, row.held]) expect(cell).not.toBe("");
    expect(problemsOf(row.held)).toEqual([]);
  });

  test("uses every file of its list", () => {
    const used = rows.map(({ held }) => held).join("\n");
    expect([...files.keys()].filter((name) => !used.includes(`${name}: \``))).toEqual([]);
  });
});
