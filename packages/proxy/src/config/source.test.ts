import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { loadConfig } from "./load.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-source-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, "portico.config.ts");
writeFileSync(
  file,
  'export default { sites: [{ hosts: ["*"], routes: [{ path: "/*", respond: { status: 204 } }] }] };\n',
);

function packageJson(type: object): void {
  writeFileSync(join(folder, "package.json"), JSON.stringify(type));
}

test("an ES module in a CommonJS package: says what to do", async () => {
  packageJson({ type: "commonjs" });
  await expect(loadConfig(file)).rejects.toThrow(
    /cannot be loaded: Unexpected token 'export': .*; write "type": "module" into package\.json, or name it portico\.config\.mts$/,
  );
});

test("a package without a type is no reason for a warning", async () => {
  packageJson({});
  const command = join(import.meta.dirname, "../bin.ts");
  const args = ["--conditions=@portico/source", command, "check", "-c", file];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args);
  expect([stdout, stderr]).toEqual([expect.stringMatching(/correct/), ""]);
});
