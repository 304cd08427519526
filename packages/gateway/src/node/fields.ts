import type { HeaderList } from "../exchange.ts";
import { http } from "./builtins.ts";
import { type InternalResponse, NodeStreamError, OUT_HEADERS, uniqueHeaders } from "./internals.ts";

const { validateHeaderName, validateHeaderValue } = http;

/** Fields about the connection. It belongs to the transport, so what an application says of it is dropped. */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

const SHORTEST_SPECIAL = 7; // "upgrade"
const LONGEST_SPECIAL = 17; // "transfer-encoding"

/** True for a field name that must not be handed to an exchange. */
export function isConnectionField(lowerName: string): boolean {
  return CONNECTION_FIELDS.has(lowerName);
}

/**
 * Turns what `writeHead` would have serialised into a header list, with the rules of `OutgoingMessage#_storeHeader`:
 * order, case and repeated fields kept, arrays of Cookie joined, and names and values validated where that was not
 * done when they were set. `headers` is the message's own store, a flat array, an array of pairs, or an object.
 *
 * @throws what `node:http` throws for an invalid name or value.
 */
export function fieldList(response: InternalResponse, headers: unknown): HeaderList {
  const list: HeaderList = [];
  if (!headers) {
    return list;
  }
  if (headers === response[OUT_HEADERS]) {
    const store = response[OUT_HEADERS];
    for (const lowerName in store) {
      const entry = store[lowerName];
      if (entry !== undefined) {
        add(response, list, lowerName, entry[0], entry[1]);
      }
    }
  } else if (Array.isArray(headers)) {
    addArray(response, list, headers);
  } else {
    for (const name of Object.keys(headers)) {
      validated(response, list, name, (headers as Record<string, unknown>)[name]);
    }
  }
  return list;
}

function addArray(response: InternalResponse, list: HeaderList, headers: readonly unknown[]): void {
  if (headers.length > 0 && Array.isArray(headers[0])) {
    for (const pair of headers as [unknown, unknown][]) {
      validated(response, list, pair[0], pair[1]);
    }
    return;
  }
  if (headers.length % 2 !== 0) {
    throw new NodeStreamError("ERR_INVALID_ARG_VALUE", "The argument 'headers' is invalid: it has an odd length.");
  }
  for (let index = 0; index < headers.length; index += 2) {
    validated(response, list, headers[index], headers[index + 1]);
  }
}

function validated(response: InternalResponse, list: HeaderList, name: unknown, value: unknown): void {
  validateHeaderName(name as string);
  if (Array.isArray(value)) {
    for (const one of value) {
      validateHeaderValue(name as string, one as string);
    }
  } else {
    validateHeaderValue(name as string, value as string);
  }
  add(response, list, (name as string).toLowerCase(), name as string, value);
}

function add(response: InternalResponse, list: HeaderList, lowerName: string, name: string, value: unknown): void {
  const { length } = lowerName;
  if (length >= SHORTEST_SPECIAL && length <= LONGEST_SPECIAL) {
    if (CONNECTION_FIELDS.has(lowerName)) {
      return;
    }
    if (lowerName === "content-length") {
      response._contentLength = Number(value);
      response._removedContLen = false;
    }
  }
  if (typeof value === "string") {
    list.push(name, value);
  } else if (!Array.isArray(value)) {
    list.push(name, String(value));
  } else if (joins(response, lowerName, value.length)) {
    list.push(name, value.join("; "));
  } else {
    for (const one of value) {
      list.push(name, String(one));
    }
  }
}

/** One line for several values: Cookie, and what the server was told to send once (`uniqueHeaders`). */
function joins(response: InternalResponse, lowerName: string, count: number): boolean {
  return (count > 1 && lowerName === "cookie") || uniqueHeaders(response)?.has(lowerName) === true;
}

/** The trailers that `addTrailers` serialised (and validated), as a header list. */
export function trailerList(serialised: string): HeaderList {
  const list: HeaderList = [];
  for (const line of serialised.split("\r\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) {
      list.push(line.slice(0, colon), line.slice(colon + 2));
    }
  }
  return list;
}
