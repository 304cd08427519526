/**
 * The corpus of configurations. Adding a case is adding a file: `valid/NAME` comes with `NAME.effective.json`,
 * `invalid/NAME` with `NAME.errors.txt`; `vitest -u` writes them, and they are read before they are committed.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PorticoProxyError } from "../errors.ts";
import { loadConfig, printConfig } from "./load.ts";

const corpus = join(import.meta.dirname, "../../../../test/corpus/config");
const casesIn = (folder: string): string[] =>
  readdirSync(join(corpus, folder))
    .filter((name) => !/\.(effective\.json|errors\.txt)$/.test(name))
    .sort();

/** The same text on every machine. */
const portable = (text: string): string => text.replaceAll(`file://${corpus}`, "CORPUS").replaceAll(corpus, "CORPUS");

describe("valid", () => {
  it.each(casesIn("valid"))("%s", async (name) => {
    const config = await loadConfig(join(corpus, "valid", name));
    await expect(portable(`${printConfig(config)}\n`)).toMatchFileSnapshot(
      join(corpus, "valid", `${name}.effective.json`),
    );
  });
});

describe("invalid", () => {
  it.each(casesIn("invalid"))("%s", async (name) => {
    const error = await loadConfig(join(corpus, "invalid", name)).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (!(error instanceof PorticoProxyError)) throw error ?? new TypeError("it was taken for valid");
    await expect(portable(`${error.code}\n${error.message}\n`)).toMatchFileSnapshot(
      join(corpus, "invalid", `${name}.errors.txt`),
    );
  });

  it("names every problem with its place", async () => {
    const error = await loadConfig(join(corpus, "invalid", "misspelt-keys.yaml")).catch(
      (reason: unknown) => reason as PorticoProxyError,
    );
    const { problems } = error as PorticoProxyError;
    expect(problems).toContainEqual({
      file: join(corpus, "invalid", "misspelt-keys.yaml"),
      line: 3,
      path: "upstreams.app.ballance",
      message: "unknown setting",
      hint: 'did you mean "balance"?',
    });
    expect(problems.map((problem) => problem.line)).toEqual([1, 3, 5, 8, 8, 9, 10]);
  });
});
