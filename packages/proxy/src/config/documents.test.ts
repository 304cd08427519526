/** The configurations in the README and the guide are configurations. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadConfig } from "./load.ts";
import { jsonSchema } from "./reference.ts";

const root = join(import.meta.dirname, "../../../..");
const folder = mkdtempSync(join(tmpdir(), "portico-documents-"));
// The pages that the examples name.
mkdirSync(join(folder, "errors"));
for (const page of ["404", "5xx", "work"]) writeFileSync(join(folder, "errors", `${page}.html`), "");
afterAll(() => rmSync(folder, { recursive: true }));

const blocks = ["packages/proxy/README.md", "docs/guide/proxy.md", "docs/guide/upstreams.md"].flatMap((document) =>
  Array.from(readFileSync(join(root, document), "utf8").matchAll(/^```(ts|yaml)\n([^]*?)^```$/gm), (match, index) => ({
    document,
    index,
    kind: match[1]!,
    text: match[2]!,
  })).filter(({ text }) => /defineProxy\(|^sites:/m.test(text)),
);

describe("snippets", () => {
  it("are there", () => expect(blocks.length).toBeGreaterThanOrEqual(7));

  it.each(blocks)("$document, $kind", async ({ document, index, kind, text }) => {
    const file = join(folder, `${document.replaceAll("/", "-")}-${index}.${kind}`);
    // The folder is outside of the workspace: what is imported is only there for its types.
    writeFileSync(
      file,
      text.replace(/^import \{ defineProxy \}.*$/m, "const defineProxy = <T>(config: T): T => config;"),
    );
    expect((await loadConfig(file)).sites.length).toBeGreaterThan(0);
  });
});

interface Node {
  readonly $ref?: string;
  readonly anyOf?: readonly Node[];
  readonly items?: Node;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly additionalProperties?: Node | boolean;
}

/** The setting of a path such as `routes[].proxy.upstream`, below a node. */
function settingsAt(node: Node, path: readonly string[]): Node[] {
  const [key, ...rest] = path;
  if (node.anyOf !== undefined) return node.anyOf.flatMap((one) => settingsAt(one, path));
  if (key === undefined) return [node];
  if (key === "[]") return node.items === undefined ? [] : settingsAt(node.items, rest);
  if (key === "NAME")
    return typeof node.additionalProperties === "object" ? settingsAt(node.additionalProperties, rest) : [];
  const below = node.properties?.[key];
  return below === undefined ? [] : settingsAt(below, rest);
}

const keysOf = (path: string): string[] =>
  path
    .replaceAll("[]", ".[]")
    .split(".")
    .filter((key) => key !== "");

describe("from nginx", () => {
  const page = readFileSync(join(root, "docs/guide/from-nginx.md"), "utf8");
  // The settings are in the second column; the command's table has none.
  const rows = page.slice(0, page.indexOf("## The command")).matchAll(/^\| (?!nginx|---).*$/gm);
  const named = [...rows].flatMap(([row]) =>
    Array.from(row.split(/(?<!\\)\|/)[2]!.matchAll(/`([^`]+)`/g), (match) => match[1]!),
  );
  const scopes = ["", "sites[]", "sites[].routes[]", "upstreams.NAME", "listen[]"].flatMap((path) =>
    settingsAt(jsonSchema(), keysOf(path)),
  );

  it("names settings", () => expect(named.length).toBeGreaterThan(70));

  it.each([...new Set(named)])("%s is one", (path) =>
    expect(scopes.flatMap((scope) => settingsAt(scope, keysOf(path))).length).toBeGreaterThan(0),
  );
});
