/** The path of a route, compiled: where it is filed among the others, and what more a path must fulfil. */
import { lookupPath } from "./path.ts";
import { globExpression, isExpression, literalStart, parseExpression } from "./pattern.ts";

export interface PathPattern {
  /** An exact path, or a prefix that ends in an asterisk: see `paths.ts`. */
  readonly filed: string;
  /** Undefined where being filed says it all. */
  readonly expression: RegExp | undefined;
  /** What the pattern's stars or groups stand for in a path that it matches: `$1`, `$2`, and by name. */
  captures(path: string): Captures;
}

/** `captures[1]` is `$1`; groups with names are there under them too. */
export type Captures = Readonly<Record<string, string | undefined>>;

const NO_CAPTURES: Captures = {};

/** The prefix a text belongs to: up to its last slash. */
const prefixOf = (text: string): string => `${text.slice(0, text.lastIndexOf("/") + 1) || "/"}*`;

const normal = (path: string): string => lookupPath(path) ?? path;

function capturesOf(expression: RegExp): (path: string) => Captures {
  return (path) => {
    const found = expression.exec(path);
    return found === null ? NO_CAPTURES : { ...Object.fromEntries(found.entries()), ...found.groups };
  };
}

function compileGlob(written: string): PathPattern {
  const pattern = normal(written);
  // The last asterisk of `/a/*/*` is everything below, as that of `/a/*` is.
  const expression = globExpression(pattern.replace(/\/\*$/, "/**"), "/");
  return { filed: prefixOf(pattern.slice(0, pattern.indexOf("*"))), expression, captures: capturesOf(expression) };
}

/**
 * | written | filed under |
 * | --- | --- |
 * | `/about` | itself |
 * | `/a/*` | the prefix `/a/` |
 * | `/a/*.png`, `~^/a/\d+$` | the prefix it begins with, `/a/`; there, in order with the others |
 * | `~\.php$` | `/`: it may match anywhere |
 */
export function compilePath(pattern: string): PathPattern {
  if (isExpression(pattern)) {
    const expression = parseExpression(pattern);
    return { filed: prefixOf(literalStart(expression)), expression, captures: capturesOf(expression) };
  }
  const star = pattern.indexOf("*");
  if (star === -1) return { filed: normal(pattern), expression: undefined, captures: () => NO_CAPTURES };
  if (star !== pattern.length - 1 || !pattern.endsWith("/*")) return compileGlob(pattern);
  const prefix = normal(pattern.slice(0, -1));
  return { filed: `${prefix}*`, expression: undefined, captures: (path) => ({ 1: path.slice(prefix.length) }) };
}
