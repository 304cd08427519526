import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { resolveModule } from "./module-specifier.ts";

const cwd = realpathSync(mkdtempSync(join(tmpdir(), "portico-module-")));
afterAll(() => rmSync(cwd, { recursive: true, force: true }));

function file(name: string, text = ""): string {
  mkdirSync(join(cwd, name, ".."), { recursive: true });
  writeFileSync(join(cwd, name), text);
  return join(cwd, name);
}
file("app.ts");
file("other.cjs");
file("folder/index.mjs");
file("manifest/lib/start.js");
file("manifest/package.json", '{ "main": "lib/start" }');
file("node_modules/common/package.json", '{ "main": "m.js" }');
file("node_modules/common/m.js");
file(
  "node_modules/modern/package.json",
  '{ "type": "module", "exports": { ".": { "types": "./x.d.ts", "import": "./main.js" } } }',
);
file("node_modules/modern/main.js");

test.each([
  ["app.ts", "app.ts", undefined, false],
  ["./app", "app.ts", undefined, false],
  ["app.ts:api", "app.ts", "api", false],
  ["app:apps.api", "app.ts", "apps.api", false],
  ["other:create()", "other.cjs", "create", true],
  ["folder", "folder/index.mjs", undefined, false],
  ["manifest", "manifest/lib/start.js", undefined, false],
  ["common", "node_modules/common/m.js", undefined, false],
  ["modern:app", "node_modules/modern/main.js", "app", false],
])("%s", (written, path, exportName, factory) => {
  expect(resolveModule(written, cwd)).toEqual({ written, file: join(cwd, path), exportName, factory });
});

test.each([
  ["ap.ts", `cannot find the application: there is no file ${join(cwd, "ap.ts")} (did you mean "app.ts"?)`],
  ["nowhere", `cannot find the application: there is no file or package "nowhere" in ${cwd}`],
  ["http", `cannot find the application: there is no file or package "http" in ${cwd}`],
])("%s is missing", (written, message) => {
  expect(() => resolveModule(written, cwd)).toThrow(
    expect.objectContaining({ code: "app-missing", exitCode: 4, message }) as Error,
  );
});
