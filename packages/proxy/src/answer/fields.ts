/** Looks into header lists. */
import type { HeaderList } from "@portico/gateway/exchange";

/**
 * Value of a field, several lines joined by a comma (RFC 9110 §5.3); undefined where it is absent.
 *
 * @param name in lower case
 */
export function fieldValue(headers: HeaderList, name: string): string | undefined {
  let value: string | undefined;
  for (let index = 0; index < headers.length; index += 2) {
    const candidate = headers[index]!;
    if (candidate.length === name.length && candidate.toLowerCase() === name) {
      value = value === undefined ? headers[index + 1]! : `${value}, ${headers[index + 1]!}`;
    }
  }
  return value;
}

/** A header list of a configured record. */
export function fieldList(fields: Readonly<Record<string, string>> | undefined): HeaderList {
  return Object.entries(fields ?? {}).flat();
}
