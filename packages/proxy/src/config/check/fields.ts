/** Header fields that a configuration sets. */
import type { Finding, KeyPath } from "../problems.ts";
import { record } from "./raw.ts";

// RFC 9110 §5.1, §5.5: a field name is a token; a value has no control characters.
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
// Framing and connection management belong to the transport.
const TRANSPORT_FIELDS = new Set([
  "connection",
  "content-length",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Names and values of a record of fields. */
export function checkFields(fields: unknown, path: KeyPath, found: Finding[]): void {
  for (const [name, value] of Object.entries(record(fields))) {
    if (!FIELD_NAME.test(name)) found.push({ path: [...path, name], message: "is not a field name" });
    else if (TRANSPORT_FIELDS.has(name.toLowerCase()))
      found.push({ path: [...path, name], message: "belongs to the connection and cannot be set" });
    else if (typeof value === "string" && !FIELD_VALUE.test(value))
      found.push({ path: [...path, name], message: "has characters that no field may have" });
  }
}
