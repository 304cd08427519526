/**
 * Regular expressions: each must be one, and must not take more than linear time for any text.
 *
 * Clients choose the texts, and an expression such as `(a+)+$` takes seconds for thirty letters. `scslre` finds those
 * whose time grows faster than the text; it is loaded only where there is something to look at.
 */
import { isExpression, parseExpression } from "../../router/pattern.ts";
import type { Finding, KeyPath } from "../problems.ts";
import { type Raw, list, record, text } from "./raw.ts";

interface Place {
  readonly path: KeyPath;
  readonly pattern: string;
}

function placesOfRoute(route: Raw, path: KeyPath): Place[] {
  const match = record(route["match"]);
  const values = ["headers", "query", "cookies"].flatMap((kind) =>
    Object.entries(record(match[kind])).map(([name, value]) => ({ path: [...path, "match", kind, name], value })),
  );
  return [{ path: [...path, "path"], value: route["path"] }, ...values].flatMap(({ path: where, value }) => {
    const pattern = text(value);
    return pattern === undefined || !isExpression(pattern) ? [] : [{ path: where, pattern }];
  });
}

function placesIn(config: Raw): Place[] {
  return list(config["sites"])
    .map(record)
    .flatMap((site, index) => [
      ...list(site["hosts"]).flatMap((host, position) =>
        typeof host === "string" && isExpression(host)
          ? [{ path: ["sites", index, "hosts", position], pattern: host }]
          : [],
      ),
      ...list(site["routes"])
        .map(record)
        .flatMap((route, position) => placesOfRoute(route, ["sites", index, "routes", position])),
    ]);
}

/** From its start, one part that repeats at most, no groups in groups: there is nothing to go back to. */
const PLAIN = /^~\^[^\\[\](){}*+?|]*(?:\(?(?:\\[dws]|\[[^\\\]]*\])[*+]\)?)?[^\\[\](){}*+?|]*$/;

type Verdict = { readonly message: string; readonly hint: string | undefined } | undefined;

async function judge(pattern: string): Promise<Verdict> {
  let expression: RegExp;
  try {
    expression = parseExpression(pattern);
  } catch (error) {
    const reason = (error as Error).message.replace(/^Invalid regular expression: /, "");
    return { message: `is not a regular expression: ${reason}`, hint: undefined };
  }
  if (PLAIN.test(pattern)) return undefined;
  const { analyse } = await import("scslre");
  const { reports } = analyse(expression);
  const [report] = reports;
  if (report === undefined) return undefined;
  const growth = reports.some(({ exponential }) => exponential) ? "exponential" : "quadratic";
  return {
    message: `could take ${growth} time for a text that a client chooses`,
    hint:
      report.type === "Move"
        ? 'begin it with "^"'
        : "no repetition inside or beside another that takes the same letters",
  };
}

/** What is wrong with the expressions of a configuration as written. Each text is looked at once. */
export async function checkExpressions(config: unknown): Promise<Finding[]> {
  const verdicts = new Map<string, Verdict>();
  const found: Finding[] = [];
  for (const { path, pattern } of placesIn(record(config))) {
    if (!verdicts.has(pattern)) verdicts.set(pattern, await judge(pattern));
    const verdict = verdicts.get(pattern);
    if (verdict !== undefined) found.push({ path, ...verdict });
  }
  return found;
}
