import type { RecordBody, ResponseRecord } from "../application.ts";
import { PorticoGatewayError } from "../errors.ts";
import type { HeaderList, WholeBody } from "../exchange.ts";
import { checkFields } from "./fields.ts";
import { type LightParts, LightResponse } from "./light-response.ts";
import { type BodySource, sourceOf } from "./source.ts";

/** A reply, checked and in the form in which an exchange takes it. */
export interface Draft {
  readonly status: number;
  readonly headers: HeaderList;
  /** Content-Length that the application gave; -1 where it gave none. */
  readonly contentLength: number;
  /** The body where it is whole; null where there is none or `stream` has it. */
  readonly whole: WholeBody;
  readonly stream: BodySource | undefined;
}

const RealResponse: typeof Response = globalThis.Response;
const encoder = new TextEncoder();

/**
 * Checks what an application returned. Hot path for records.
 *
 * Throws `BAD_RESPONSE`, `BAD_STATUS`, `BAD_BODY`, and what `checkFields` throws.
 */
export function draftOf(reply: unknown, method: string): Draft {
  if (typeof reply !== "object" || reply === null) throw notAResponse(reply);
  if (reply instanceof RealResponse || isForeignResponse(reply)) return draftOfResponse(reply, method);
  const record = reply as ResponseRecord;
  if (
    record.status === undefined &&
    record.headers === undefined &&
    record.body === undefined &&
    !isEmptyRecord(record)
  ) {
    throw notAResponse(reply);
  }
  const status = checkStatus(record.status ?? 200);
  const fields = checkFields(record.headers);
  const body = record.body;
  if (typeof body === "string") {
    if (!fields.hasContentType && !isBodyless(status)) fields.list.push("content-type", "text/plain;charset=UTF-8");
    return draft(status, fields.list, fields.contentLength, body, undefined, method);
  }
  if (body === null || body === undefined)
    return draft(status, fields.list, fields.contentLength, null, undefined, method);
  if (body instanceof Uint8Array) return draft(status, fields.list, fields.contentLength, body, undefined, method);
  return draftOfOther(status, fields.list, fields.contentLength, fields.hasContentType, body, method);
}

/** Lets go of a reply that will not be sent, with the reason, so that whoever produces its body stops. */
export function discardReply(reply: unknown, reason: unknown): void {
  if (typeof reply === "object" && reply !== null && LightResponse.partsOf(reply) !== undefined) return;
  const body = (reply as { body?: unknown } | null | undefined)?.body;
  if (typeof body !== "object" || body === null || body instanceof Uint8Array) return;
  try {
    sourceOf(body)?.cancel(reason);
  } catch {
    // A body that is locked is somebody else's to let go of.
  }
}

function draftOfResponse(response: Response, method: string): Draft {
  const light = LightResponse.partsOf(response);
  if (light !== undefined) return draftOfLight(light, method);
  const status = checkStatus(response.status);
  const fields = checkFields(response.headers, true);
  if (response.bodyUsed) {
    throw new PorticoGatewayError("BAD_BODY", "The body of the returned Response was read already", { rule: "T5.4.3" });
  }
  const body = response.body;
  const stream = body === null ? undefined : (sourceOf(body) as BodySource);
  return draft(status, fields.list, fields.contentLength, null, stream, method);
}

/** Hot path where `makeLightResponses` was asked for. */
function draftOfLight({ status, headers, body }: LightParts, method: string): Draft {
  const fields = checkFields(headers, true);
  // Fields that the application has held have the type already, unless it took it away.
  if (typeof body === "string" && !fields.hasContentType && Array.isArray(headers)) {
    fields.list.push("content-type", "text/plain;charset=UTF-8");
  }
  return draft(status, fields.list, fields.contentLength, body, undefined, method);
}

function draftOfOther(
  status: number,
  list: HeaderList,
  contentLength: number,
  hasContentType: boolean,
  body: RecordBody,
  method: string,
): Draft {
  if (body instanceof ArrayBuffer) return draft(status, list, contentLength, new Uint8Array(body), undefined, method);
  if (ArrayBuffer.isView(body)) {
    const view = body as ArrayBufferView;
    return draft(
      status,
      list,
      contentLength,
      new Uint8Array(view.buffer, view.byteOffset, view.byteLength),
      undefined,
      method,
    );
  }
  if (body instanceof URLSearchParams || body instanceof FormData || body instanceof Blob) {
    // The fetch standard knows how each is written, and under which type.
    const response = new RealResponse(body);
    const type = response.headers.get("content-type");
    if (!hasContentType && type !== null && !isBodyless(status)) list.push("content-type", type);
    return draft(status, list, contentLength, null, sourceOf(response.body as ReadableStream), method);
  }
  const stream = body === null || typeof body !== "object" ? undefined : sourceOf(body);
  if (stream === undefined) {
    throw new PorticoGatewayError("BAD_BODY", `A body cannot be a ${kindOf(body)}`, { rule: "T5.4.1" });
  }
  return draft(status, list, contentLength, null, stream, method);
}

/** Applies what status and method say of bodies (RFC 9110 §6.4.1, §8.6, §15.3.5, §15.4.5). */
function draft(
  status: number,
  headers: HeaderList,
  contentLength: number,
  whole: WholeBody,
  stream: BodySource | undefined,
  method: string,
): Draft {
  const bodyless = isBodyless(status);
  if (!bodyless && method !== "HEAD") {
    if (contentLength !== -1 && stream === undefined) checkLength(contentLength, whole);
    return { status, headers, contentLength, whole, stream };
  }
  stream?.cancel(undefined);
  if (status === 204 || status === 205) {
    if (contentLength !== -1) removeContentLength(headers);
  } else if (method === "HEAD" && status !== 304 && contentLength === -1 && whole !== null) {
    headers.push("content-length", String(lengthOf(whole)));
  }
  return { status, headers, contentLength, whole: null, stream: undefined };
}

function isBodyless(status: number): boolean {
  return status === 204 || status === 304 || status === 205;
}

function checkStatus(status: unknown): number {
  if (typeof status === "number" && Number.isInteger(status) && status >= 200 && status <= 599) return status;
  throw new PorticoGatewayError("BAD_STATUS", `Status is ${String(status)}, not a whole number from 200 to 599`, {
    rule: "T5.1.3",
  });
}

function checkLength(declared: number, body: WholeBody): void {
  const actual = body === null ? 0 : lengthOf(body);
  if (declared === actual) return;
  throw new PorticoGatewayError("BAD_CONTENT_LENGTH", `Content-Length says ${declared}, the body has ${actual} bytes`, {
    rule: "T5.3.2",
  });
}

export function lengthOf(body: Uint8Array | string): number {
  return typeof body === "string" ? encoder.encode(body).length : body.length;
}

function removeContentLength(headers: HeaderList): void {
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at]?.toLowerCase() === "content-length") headers.splice(at, 2);
  }
}

/** A Response of another implementation or realm, such as that of the undici package. */
function isForeignResponse(reply: object): reply is Response {
  const candidate = reply as Partial<Response>;
  return typeof candidate.arrayBuffer === "function" && typeof candidate.headers?.get === "function";
}

function isEmptyRecord(record: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(record);
  return prototype === Object.prototype || prototype === null
    ? Object.keys(record).every((key) => key === "status" || key === "headers" || key === "body")
    : false;
}

function notAResponse(reply: unknown): PorticoGatewayError {
  return new PorticoGatewayError(
    "BAD_RESPONSE",
    `The application returned ${kindOf(reply)}, which is neither a Response nor a record of status, headers and body`,
    { rule: "T5.1.1" },
  );
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== "object") return `a ${typeof value}`;
  const name: unknown = value.constructor?.name;
  return typeof name === "string" && name !== "Object" ? `an instance of ${name}` : "an object";
}
