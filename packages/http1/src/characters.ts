/**
 * Character classes of RFC 9110 §5.6.2 and RFC 9112 §3.2, one byte of flags for each byte value.
 *
 * Hot path: a loop of `charCodeAt` and one table look-up for each character, nothing allocated.
 */

/** tchar, RFC 9110 §5.6.2. */
export const TOKEN = 1;
/** field-content: VCHAR, obs-text, SP, HTAB; RFC 9110 §5.5. */
export const VALUE = 2;
/** What a request target may hold: visible ASCII but `#`. */
export const TARGET = 4;
/** `_`, which some readers take for `-`. */
export const UNDERSCORE = 8;
/** `\`, which URL parsers take for `/`. */
export const BACKSLASH = 16;

/** Flags by byte value. */
export const CLASS: Uint8Array = buildClasses();

function buildClasses(): Uint8Array {
  const table = new Uint8Array(256);
  for (let code = 0; code < 256; code++) {
    let flags = 0;
    if (/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(code))) flags |= TOKEN;
    if (code === 9 || (code >= 32 && code !== 127)) flags |= VALUE;
    if (code > 32 && code < 127 && code !== 35) flags |= TARGET;
    if (code === 95) flags |= UNDERSCORE;
    if (code === 92) flags |= BACKSLASH;
    table[code] = flags;
  }
  return table;
}

/** Whether the text is a non-empty token. */
export function isToken(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code > 127 || ((CLASS[code] as number) & TOKEN) === 0) return false;
  }
  return text.length > 0;
}

/** Whether the text may stand as a field value: no control character but HTAB, nothing above U+00FF. */
export function isFieldValue(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code > 255 || ((CLASS[code] as number) & VALUE) === 0) return false;
  }
  return true;
}

/** Whether the character at `at` is SP or HTAB. */
export function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

/** The elements of a comma-separated list (RFC 9110 §5.6.1), lower-cased, without white space; empty elements are left out. */
export function listElements(value: string): string[] {
  const elements: string[] = [];
  for (const part of value.toLowerCase().split(",")) {
    const element = trimBlank(part);
    if (element !== "") elements.push(element);
  }
  return elements;
}

/** Removes SP and HTAB, and nothing else, at both ends. */
export function trimBlank(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return from === 0 && to === text.length ? text : text.slice(from, to);
}
