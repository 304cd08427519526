/** The page that tells the fast path names places in the code: they must be there. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/fast-path.md"), "utf8");
const places = [...page.matchAll(/`(packages\/[^`]+\.ts)` `(\w+)`/g)].map(([, file, name]) => [file!, name!] as const);

test("every step of the fast path has a place", () => {
  const steps = page.split("\n").filter((line) => /^\| \d+ \|/.test(line));
  expect(steps.length).toBeGreaterThan(20);
  for (const step of steps) expect(step).toMatch(/`packages\/[^`]+\.ts` `\w+`/);
});

test.each(places)("%s has %s", (file, name) => {
  const source = readFileSync(join(root, file), "utf8");
  // Declared there: a function, a class, or a method; not a mere mention.
  expect(source).toMatch(
    new RegExp(
      `^\\s*(?:export )?(?:private |protected |override )*(?:function |class )?#?${name}(?:<[^(]*>)?(?:\\(| implements| extends| \\{)`,
      "m",
    ),
  );
});
