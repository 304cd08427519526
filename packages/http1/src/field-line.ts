import { CLASS, TOKEN, VALUE, isBlank } from "./characters.ts";
import type { Rule } from "./rules.ts";

/** Where a field line stands: what white space at its beginning means depends on it. */
export type FieldLinePlace = "first" | "later";

/** The rule that a line breaks which is no well-formed field line; `text` from `at` to `to`, without CRLF. */
export function fieldLineRule(text: string, at: number, to: number, place: FieldLinePlace): Rule {
  let colon = at;
  while (colon < to && ((CLASS[text.charCodeAt(colon)] as number) & TOKEN) !== 0) colon++;
  if (colon === at || colon === to || text.charCodeAt(colon) !== 58) return nameRule(text, at, colon, to, place);
  let bad = colon + 1;
  while (bad < to && ((CLASS[text.charCodeAt(bad)] as number) & VALUE) !== 0) bad++;
  return valueRule(text.charCodeAt(bad));
}

/** `bad`: the first character that is no tchar. */
function nameRule(text: string, at: number, bad: number, to: number, place: FieldLinePlace): Rule {
  const code = text.charCodeAt(bad);
  if (bad === at && isBlank(code))
    return place === "first" ? "rfc9112-2.2-space-before-fields" : "rfc9112-5.2-obs-fold";
  if (bad === to) return "rfc9112-5-no-colon";
  if (code === 13) return "rfc9112-2.2-bare-cr";
  if (code === 0) return "rfc9110-5.5-nul";
  if (isBlank(code)) {
    let after = bad;
    while (after < to && isBlank(text.charCodeAt(after))) after++;
    if (after < to && text.charCodeAt(after) === 58) return "rfc9112-5.1-space-before-colon";
  }
  const colon = text.indexOf(":", bad);
  return colon < 0 || colon >= to ? "rfc9112-5-no-colon" : "rfc9112-5.1-field-name";
}

function valueRule(code: number): Rule {
  if (code === 13) return "rfc9112-2.2-bare-cr";
  return code === 0 ? "rfc9110-5.5-nul" : "rfc9110-5.5-field-value";
}
