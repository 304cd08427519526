/**
 * What somebody read of a request, and when two readings are the same message.
 *
 * Text is latin1 throughout: one character for each byte.
 */

export interface Reading {
  readonly method: string;
  readonly target: string;
  /** Flat: `[name, value, …]`. */
  readonly fields: readonly string[];
  readonly body: string;
}

/** How a peer keeps fields: each as it came, or those of one name joined by commas, or as CGI has them (RFC 3875 §4.1.18). */
export type FieldStyle = "each" | "joined" | "cgi";

/** What each hop writes for itself, so that it says nothing of what was read. Bodies are compared as bytes. */
const OF_THE_HOP = new Set([
  "connection",
  "keep-alive",
  "transfer-encoding",
  "content-length",
  "upgrade",
  "via",
  "x-forwarded-server",
]);

/** A text that is equal for two readings of the same message. */
export function fingerprint(reading: Reading, style: FieldStyle): string {
  const names = new Map<string, string[]>();
  for (let at = 0; at < reading.fields.length; at += 2) {
    const lower = reading.fields[at]!.toLowerCase().replaceAll("_", style === "cgi" ? "-" : "_");
    if (OF_THE_HOP.has(lower)) continue;
    const values = names.get(lower);
    if (values === undefined) names.set(lower, [reading.fields[at + 1]!]);
    else values.push(reading.fields[at + 1]!);
  }
  const fields = [...names].sort(([one], [other]) => (one < other ? -1 : 1));
  const shown = style === "each" ? fields : fields.map(([name, values]) => [name, listOf(values)]);
  return JSON.stringify([reading.method, reading.target, shown, reading.body]);
}

/** Equal for a list on one line and on several (RFC 9110 §5.3), however its commas are spaced. */
function listOf(values: readonly string[]): string {
  return values.join(",").replaceAll(/[\t ]*,[\t ]*/g, ",");
}

/** The answer of an application that says what it read; `body` is latin1. */
export function parseReading(body: string): Reading {
  return JSON.parse(Buffer.from(body, "latin1").toString()) as Reading;
}
