import { asBuffer, latin1 } from "./bytes.ts";

/**
 * Responses that are the same each time: what a frozen field list and its body became is kept with the list, so that
 * the next answer is one map lookup and one write. Only Date varies, and that once a second (RFC 9110 §6.6.1).
 *
 * The promise that makes this sound stands at `Exchange.respond`: whoever gives a frozen list with the same body again
 * has not changed the body's bytes.
 */
export interface Ready {
  readonly status: number;
  readonly body: Uint8Array;
  /** The Date line that stands in the head. */
  readonly dateLine: string;
  /** Head of a connection that persists, in HTTP/1.1. */
  readonly head: string;
  /** Head and body as one flat text, where the body is small. */
  readonly whole: string | undefined;
}

const ready = new WeakMap<readonly string[], Ready>();

/** What was kept for this answer; it holds for as long as Date does. HOT. */
export function findReady(headers: readonly string[], status: number, body: Uint8Array): Ready | undefined {
  const found = ready.get(headers);
  return found !== undefined && found.body === body && found.status === status ? found : undefined;
}

/** Keeps a response for the next time; for nothing where the list can still change. */
export function keepReady(
  headers: readonly string[],
  status: number,
  body: Uint8Array,
  dateLine: string,
  head: string,
  textBytes: number,
): void {
  if (!Object.isFrozen(headers)) return;
  const whole = body.length <= textBytes ? flat(head, body) : undefined;
  ready.set(headers, { status, body, dateLine, head, whole });
}

/** One piece of memory: a text put together by `+` would be walked again with every write. */
function flat(head: string, body: Uint8Array): string {
  const bytes = Buffer.allocUnsafe(head.length + body.length);
  bytes.write(head, 0, "latin1");
  asBuffer(body).copy(bytes, head.length);
  return latin1(bytes, 0, bytes.length);
}
