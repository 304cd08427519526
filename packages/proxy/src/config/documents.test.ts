/** The configurations in the README and the guide are configurations. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadConfig } from "./load.ts";

const root = join(import.meta.dirname, "../../../..");
const folder = mkdtempSync(join(tmpdir(), "portico-documents-"));
afterAll(() => rmSync(folder, { recursive: true }));

const blocks = ["packages/proxy/README.md", "docs/guide/proxy.md"].flatMap((document) =>
  Array.from(readFileSync(join(root, document), "utf8").matchAll(/^```(ts|yaml)\n([^]*?)^```$/gm), (match, index) => ({
    document,
    index,
    kind: match[1]!,
    text: match[2]!,
  })).filter(({ text }) => /defineProxy\(|^sites:/m.test(text)),
);

describe("snippets", () => {
  it("are there", () => expect(blocks.length).toBe(3));

  it.each(blocks)("$document, $kind", async ({ document, index, kind, text }) => {
    const file = join(folder, `${document.replaceAll("/", "-")}-${index}.${kind}`);
    // The folder is outside of the workspace: what is imported is only there for its types.
    writeFileSync(
      file,
      text.replace(/^import \{ defineProxy \}.*$/m, "const defineProxy = <T>(config: T): T => config;"),
    );
    expect((await loadConfig(file)).sites.length).toBe(1);
  });
});
