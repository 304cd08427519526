import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Message, pieces, replay } from "./fixtures/replay.ts";
import { RequestParser } from "./request-parser.ts";
import { type ExpectedResponse, ResponseParser } from "./response-parser.ts";
import { RULES, type Rule } from "./rules.ts";

/**
 * Replays `test/corpus/http1` (see its README): each file whole, byte by byte, and in random chunks.
 * `PORTICO_SEED=…` repeats a run.
 */
const CORPUS = new URL("../../../test/corpus/http1/", import.meta.url);
const SEED = Number(process.env["PORTICO_SEED"] ?? Date.now() % 1_000_000);
const RANDOM_CUTS = 6;
console.log(`http1 corpus: PORTICO_SEED=${SEED}`);

/** Statuses that are not 400: the table of rules must not change them unnoticed. */
const STATUSES: Partial<Record<Rule, number>> = {
  "rfc9112-2.3-version-unsupported": 505,
  "rfc9112-3.1-method-length": 501,
  "rfc9112-6.1-te-unknown": 501,
  "rfc9110-10.1.1-expectation": 417,
  "limit-request-line": 414,
  "limit-field": 431,
  "limit-header": 431,
  "limit-field-count": 431,
  "limit-trailer": 431,
  "limit-trailer-count": 431,
};

interface Expectation {
  readonly messages?: Message[];
  readonly messagesBefore?: number;
  readonly requests?: ExpectedResponse[];
}

/** A small generator of pseudo-random numbers (mulberry32), so that a seed repeats a run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Every way to cut a file that is tried. */
function* cuts(bytes: Buffer): Generator<[string, Iterable<Buffer>, lent: boolean]> {
  yield ["whole", [bytes], false];
  yield ["whole, lent", [bytes], true];
  yield ["byte by byte", pieces(bytes, () => 1), false];
  yield ["byte by byte, lent", pieces(bytes, () => 1), true];
  for (let round = 0; round < RANDOM_CUTS; round++) {
    const next = random(SEED + round);
    const longest = 1 + Math.floor(next() * (round % 2 === 0 ? 16 : bytes.length));
    yield [
      `random cut ${round} of seed ${SEED}`,
      pieces(bytes, () => 1 + Math.floor(next() * longest)),
      round % 2 === 1,
    ];
  }
}

function cases(folder: string): [name: string, bytes: Buffer, expectation: Expectation][] {
  const files = new Set(readdirSync(new URL(folder, CORPUS)));
  return [...files]
    .filter((file) => file.endsWith(".http"))
    .map((file) => {
      const name = file.slice(0, -".http".length);
      const bytes = readFileSync(new URL(`${folder}/${file}`, CORPUS));
      const beside = `${name}.json`;
      const text = files.has(beside) ? readFileSync(new URL(`${folder}/${beside}`, CORPUS), "utf8") : "{}";
      return [name, bytes, JSON.parse(text) as Expectation];
    });
}

function responseParser(expectation: Expectation): ResponseParser {
  const parser = new ResponseParser();
  for (const request of expectation.requests ?? [{ method: "GET" }]) parser.expect(request);
  return parser;
}

const KINDS = [
  { folder: "valid", least: 210, parser: () => new RequestParser() },
  { folder: "invalid", least: 520, parser: () => new RequestParser() },
  { folder: "response-valid", least: 55, parser: responseParser },
  { folder: "response-invalid", least: 290, parser: responseParser },
];

for (const { folder, least, parser } of KINDS) {
  describe(folder, () => {
    const all = cases(folder);
    test(`there are at least ${least} cases`, () => expect(all.length).toBeGreaterThanOrEqual(least));

    test.each(all)("%s", (name, bytes, expectation) => {
      const rule = name.split("--")[0] as Rule;
      const invalid = folder.endsWith("invalid");
      if (invalid) expect(Object.keys(RULES)).toContain(rule);
      const status = folder === "response-invalid" ? 502 : (STATUSES[rule] ?? 400);
      for (const [cut, chunks, lent] of cuts(bytes)) {
        const outcome = replay(parser(expectation), chunks, lent);
        expect(outcome.failure, cut).toEqual(invalid ? { rule, status } : undefined);
        if (invalid) expect(outcome.messages.length, cut).toBe(expectation.messagesBefore ?? 0);
        else expect(outcome.messages, cut).toEqual(expectation.messages);
      }
    });
  });
}

test("every rule of the wire has a case", () => {
  const covered = new Set(KINDS.flatMap(({ folder }) => cases(folder).map(([name]) => name.split("--")[0])));
  const elsewhere = /^(?:misuse|timeout)-/; // writer.test.ts, connection.test.ts
  const missing = Object.keys(RULES).filter((rule) => !elsewhere.test(rule) && !covered.has(rule));
  // What a parser alone cannot know; connection.test.ts has it.
  expect(missing).toEqual(["rfc9110-7.4-misdirected-scheme"]);
});
