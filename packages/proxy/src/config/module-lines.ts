/**
 * Lines of the keys of a configuration module, as far as its text shows them.
 *
 * A module is a program, and its keys may come from anywhere. But nearly every one is an object literal, which reads
 * like YAML's flow form once its comments are blanked: so that is what it is read as. What cannot be found this way has
 * no line, never a wrong one on purpose.
 */
import { LineCounter, parseDocument } from "yaml";
import { offsetOf } from "./offsets.ts";
import type { KeyPath } from "./problems.ts";

/** Where the literal begins, the likeliest first. */
const BEGINNINGS = [/defineProxy\s*\(\s*(?=\{)/, /export\s+default\s+(?=\{)/, /=\s*(?=\{)/];

/** Strings, comments and templates: what brackets do not count in. */
const SKIPPED = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|\/\/[^\n]*|\/\*[^]*?\*\//g;

const blank = (text: string): string => text.replaceAll(/[^\n]/g, " ");

/** The text with comments blanked, and template strings made plain; as long as before, line by line. */
function withoutComments(text: string): string {
  return text.replaceAll(SKIPPED, (part) => {
    if (part.startsWith("/")) return blank(part);
    return part.startsWith("`") ? `"${part.slice(1, -1).replaceAll(/["\\\n]/g, " ")}"` : part;
  });
}

/** The end of the bracket that opens at `from`. */
function endOf(text: string, from: number): number {
  const bare = text.replaceAll(SKIPPED, blank);
  let depth = 0;
  for (let at = from; at < bare.length; at++) {
    if ("{[(".includes(bare[at]!)) depth++;
    else if ("}])".includes(bare[at]!) && --depth === 0) return at + 1;
  }
  return text.length;
}

/** @param text source of a module */
export function moduleLines(text: string): (path: KeyPath) => number | undefined {
  const clean = withoutComments(text);
  const beginning = BEGINNINGS.map((pattern) => pattern.exec(clean)).find((match) => match !== null);
  if (beginning === undefined) return () => undefined;
  const from = beginning.index + beginning[0].length;
  const lines = new LineCounter();
  // What stands before is blank: offsets are those of the file.
  const literal = blank(clean.slice(0, from)) + clean.slice(from, endOf(clean, from));
  const document = parseDocument(literal, { lineCounter: lines, prettyErrors: false, logLevel: "silent" });
  const root = document.contents;
  const first = offsetOf(root, []);
  return (path) => {
    const offset = offsetOf(root, path);
    // The whole, for a key in it: it was not found.
    return offset === undefined || (path.length > 0 && offset === first) ? undefined : lines.linePos(offset).line;
  };
}
