import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../..", import.meta.url));

/** What each snippet of the README prints. */
const PRINTED: readonly RegExp[] = [
  /^200 Hello from worker 1$/,
  /^over TSGI$/,
  /^node:http saw \/a$/,
  /^\d{2,} cases conform$/,
];

let folder = "";
let snippets: string[] = [];

beforeAll(async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  snippets = [...readme.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code]) => code as string);
  folder = await mkdtemp(join(tmpdir(), "portico-gateway-readme-"));
  // The workspace's test package has this package and `ws` among its dependencies.
  await symlink(join(root, "test", "node_modules"), join(folder, "node_modules"));
  await writeFile(join(folder, "package.json"), '{"type":"module"}');
});

afterAll(() => rm(folder, { recursive: true, force: true }));

describe("the README", () => {
  it("has the snippets that are run here", () => expect(snippets.length).toBe(PRINTED.length));

  for (const [at, printed] of PRINTED.entries()) {
    it(`snippet ${at + 1} runs`, async () => {
      const file = join(folder, `snippet-${at}.ts`);
      await writeFile(file, snippets[at] as string);
      const { stdout } = await run(process.execPath, ["--conditions=@portico/source", file], { timeout: 80_000 });
      expect(stdout.trim()).toMatch(printed);
    }, 90_000);
  }
});
