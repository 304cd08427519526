import { asBuffer, latin1 } from "./bytes.ts";

/**
 * Heads that are the same each time: what a frozen field list became is kept with the list, so that the next answer is
 * one map lookup and one write; and where the body is the same too, head and body are one text. Only Date varies, and
 * that once a second (RFC 9110 §6.6.1).
 *
 * The promise that makes this sound stands at `Exchange.respond`: a frozen list cannot change, and whoever gives it with
 * the same body again has not changed the body's bytes.
 */
export interface Ready {
  readonly status: number;
  /** Bytes of the body. */
  readonly length: number;
  /** The Date line that stands in the head. */
  readonly dateLine: string;
  /** Head of a connection that persists, in HTTP/1.1. */
  readonly head: string;
  /** The body that came last. */
  body: Uint8Array;
  /** Head and body as one flat text, once the same body came twice; undefined where it is not small. */
  whole: string | undefined;
}

const ready = new WeakMap<readonly string[], Ready>();

/** What was kept for an answer like this; it holds for as long as Date does. HOT. */
export function findReady(headers: readonly string[], status: number, length: number): Ready | undefined {
  const found = ready.get(headers);
  return found !== undefined && found.length === length && found.status === status ? found : undefined;
}

/** Keeps a head for the next time; nothing where the list can still change. */
export function keepReady(
  headers: readonly string[],
  status: number,
  body: Uint8Array,
  dateLine: string,
  head: string,
): void {
  if (!Object.isFrozen(headers)) return;
  ready.set(headers, { status, length: body.length, dateLine, head: flat(head), body, whole: undefined });
}

/** Head and body as one text, where this body came before. HOT. */
export function wholeText(found: Ready, body: Uint8Array): string | undefined {
  if (found.body !== body) {
    found.body = body;
    found.whole = undefined;
    return undefined;
  }
  return (found.whole ??= flat(found.head + latin1(asBuffer(body), 0, body.length)));
}

/** One piece of memory: a text put together by `+` would be walked again with every write. */
function flat(text: string): string {
  const bytes = Buffer.from(text, "latin1");
  return latin1(bytes, 0, bytes.length);
}
