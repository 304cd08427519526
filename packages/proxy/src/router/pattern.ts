/**
 * Patterns, as they stand in a configuration for paths, hosts and values.
 *
 * | written | means |
 * | --- | --- |
 * | `text` | exactly that |
 * | `te*t` | a glob: `*` is anything within one segment, `**` anything |
 * | `~^te(x)t$` | a regular expression (JavaScript's); `~*…` ignores case |
 *
 * Regular expressions come from the configuration and texts from clients, so an expression that could backtrack for
 * more than linear time is refused when the configuration is checked (`config/check/expressions.ts`).
 */

/** Whether a pattern is a regular expression. */
export function isExpression(pattern: string): boolean {
  return pattern.startsWith("~");
}

/** @throws SyntaxError where it is none */
export function parseExpression(pattern: string): RegExp {
  return pattern.startsWith("~*") ? new RegExp(pattern.slice(2), "i") : new RegExp(pattern.slice(1));
}

const escapeLiteral = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

/** A glob as an expression, what each star stands for captured. `separator` ends what a single star takes. */
export function globExpression(glob: string, separator: "/" | "." | ""): RegExp {
  const single = separator === "" ? "(.*)" : `([^${separator === "." ? "\\." : separator}]*)`;
  const parts = glob.split(/(\*{1,2})/).map((part) => {
    if (part === "**") return "(.*)";
    return part === "*" ? single : escapeLiteral(part);
  });
  return new RegExp(`^${parts.join("")}$`, "s");
}

/** The letters an expression must begin with, as far as they can be read off it; empty where it has alternatives or no `^`. */
export function literalStart(expression: RegExp): string {
  const { source, flags } = expression;
  if (!source.startsWith("^") || flags.includes("i") || hasAlternatives(source)) return "";
  let literal = "";
  let at = 1;
  while (at < source.length) {
    const escaped = source[at] === "\\";
    const letter = source[escaped ? at + 1 : at]!;
    // An escaped letter is a class or an assertion (\d, \b), an escaped sign is itself.
    if (escaped ? /[0-9A-Za-z]/.test(letter) : /[[\](){}.*+?|^$]/.test(letter)) break;
    at += escaped ? 2 : 1;
    if (/[*?{]/.test(source[at] ?? "")) break;
    literal += letter;
    if (source[at] === "+") break;
  }
  return literal;
}

/** Whether there is a `|` outside of every group and class. */
function hasAlternatives(source: string): boolean {
  let depth = 0;
  for (let at = 0; at < source.length; at++) {
    const letter = source[at];
    if (letter === "\\") at++;
    else if (letter === "[") while (at < source.length && source[at] !== "]") at += source[at] === "\\" ? 2 : 1;
    else if (letter === "(") depth++;
    else if (letter === ")") depth--;
    else if (letter === "|" && depth === 0) return true;
  }
  return false;
}

/** Whether a value fits; `undefined` is a value that is absent. */
export type ValueTest = (value: string | undefined) => boolean;

/** Compiles a value's pattern: `true` is present, `false` absent, a text as above. */
export function compileValue(pattern: string | boolean): ValueTest {
  if (pattern === true) return (value) => value !== undefined;
  if (pattern === false) return (value) => value === undefined;
  if (isExpression(pattern)) return withExpression(parseExpression(pattern));
  if (pattern.includes("*")) return withExpression(globExpression(pattern, ""));
  return (value) => value === pattern;
}

function withExpression(expression: RegExp): ValueTest {
  return (value) => value !== undefined && expression.test(value);
}
