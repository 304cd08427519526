/**
 * When a request that failed is sent again. The one promise: nothing that may have been processed is processed twice,
 * unless its method says that this is the same (RFC 9110 §9.2.2).
 *
 * | what failed | sent again |
 * | --- | --- |
 * | the server refused: certainly not processed | while time allows: it costs the application nothing |
 * | no connection: never sent | to every server once, and as often as `retries.attempts` says |
 * | anything else before the response | `retries.attempts` times, idempotent methods only |
 * | once a part of the response went on, or of a streamed body | never |
 */
import type { UpstreamSettings } from "../config/schema.ts";
import type { ForwardError } from "./error.ts";
import { isIdempotent } from "./semantics.ts";

/** Bounds a server that refuses at once, always; a rolling restart of many workers stays far below. */
const MAX_ATTEMPTS = 32;

/**
 * @param attempts made so far
 * @param elapsedMs since the request was received
 * @param servers of the upstream
 */
export function isRetryable(
  error: ForwardError,
  method: string,
  attempts: number,
  elapsedMs: number,
  servers: number,
  settings: UpstreamSettings["retries"],
): boolean {
  if (error.code === "unsupported" || elapsedMs > settings.within || attempts >= MAX_ATTEMPTS) return false;
  if (error.refused && error.code === "refused") return true;
  if (error.refused && settings.attempts > 0 && attempts < servers) return true;
  return attempts <= settings.attempts && (error.refused || isIdempotent(method));
}
