import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import { afterAll, expect, test } from "vitest";
import { describeLoadError } from "./source-line.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-source-line-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** What Node says where it loads the file outside of the test runner, which would transform it. */
function errorOf(path: string): Error {
  const words = execFileSync(
    process.execPath,
    ["-e", "import(process.argv[1]).catch((error) => console.log(error.message))", path],
    { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
  );
  return new SyntaxError(words.trim());
}

test("an ES module in a CommonJS package: says what to do", () => {
  file("package.json", '{ "type": "commonjs" }');
  const hint = /^app does not parse: .*; write "type": "module" into package\.json, or name it (.*)$/;
  const exporting = file("app.ts", "export default {};\n");
  expect(hint.exec(describeLoadError(errorOf(exporting), "app", exporting).message)?.[1]).toBe("app.mts");
  const importing = file("other.js", 'import fs from "node:fs";\n');
  expect(hint.exec(describeLoadError(errorOf(importing), "app", importing).message)?.[1]).toBe("other.mjs");
});

test("another syntax error: nothing of the kind", () => {
  const broken = file("broken.mjs", "const a = = 1;\n");
  expect(describeLoadError(errorOf(broken), "broken.mjs", broken).message).toBe(
    "broken.mjs does not parse: Unexpected token '='",
  );
});
