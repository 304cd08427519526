import type { ResponseRecord } from "../application.ts";
import { PorticoGatewayError } from "../errors.ts";
import { checkFields } from "../host/fields.ts";
import { FileTicket } from "../host/file.ts";
import { UpgradeTicket } from "../host/upgrade.ts";
import type { BreachBook } from "./breach.ts";

/** Statuses whose responses carry no body (RFC 9110 §15.3.5, §15.3.6, §15.4.5). */
const BODYLESS = new Set([204, 205, 304]);

/**
 * Checks a reply without consuming it, and gives it back, with a body that is a stream wrapped so that its parts are
 * checked as they pass.
 */
export function checkReply(book: BreachBook, reply: unknown): unknown {
  const breach = (kept: boolean, rule: string, message: string): boolean =>
    book.check(kept, rule, "application", message);
  if (
    !breach(typeof reply === "object" && reply !== null, "T5.1.1", `returned ${reply === null ? "null" : typeof reply}`)
  )
    return reply;
  if (reply instanceof UpgradeTicket || reply instanceof FileTicket || isTicket(reply as object)) return reply;
  if (reply instanceof Response) {
    breach(!reply.bodyUsed, "T5.4.3", "returned a Response whose body was read");
    breach(reply.status >= 200 && reply.status <= 599, "T5.1.3", `status is ${reply.status}`);
    checkList(book, reply.headers, reply.status);
    return reply;
  }
  const record = reply as ResponseRecord;
  const unknown = Object.keys(record).filter((key) => key !== "status" && key !== "headers" && key !== "body");
  breach(unknown.length === 0, "T5.1.1", `a record has only status, headers and body, not ${unknown.join(", ")}`);
  const status = record.status ?? 200;
  breach(Number.isInteger(status) && status >= 200 && status <= 599, "T5.1.3", `status is ${String(status)}`);
  const length = checkList(book, record.headers, status);
  const body: unknown = record.body ?? null;
  breach(!BODYLESS.has(status) || body === null || body === "", "T5.4.2", `a body was given with status ${status}`);
  if (!breach(isBody(body), "T5.4.1", `a body cannot be a ${typeof body}`)) return reply;
  const whole = wholeLength(body);
  if (length !== -1 && whole !== undefined)
    breach(whole === length, "T5.3.2", `Content-Length says ${length}, the body has ${whole} bytes`);
  if (whole !== undefined || body === null || !(Symbol.asyncIterator in (body as object))) return reply;
  return { ...record, body: checkedParts(book, body as AsyncIterable<unknown>, length) };
}

function checkList(book: BreachBook, headers: ResponseRecord["headers"] | Headers, status: number): number {
  try {
    const { contentLength } = checkFields(headers, headers instanceof Headers);
    book.check(
      contentLength === -1 || status !== 204,
      "T5.4.2",
      "application",
      "Content-Length was given with status 204",
    );
    return contentLength;
  } catch (error) {
    if (!(error instanceof PorticoGatewayError)) throw error;
    book.check(false, error.rule ?? "T5.2.1", "application", error.message);
    return -1;
  }
}

async function* checkedParts(
  book: BreachBook,
  body: AsyncIterable<unknown>,
  declared: number,
): AsyncGenerator<Uint8Array | string> {
  let sent = 0;
  for await (const part of body) {
    if (
      !book.check(
        typeof part === "string" || part instanceof Uint8Array,
        "T5.4.1",
        "application",
        `a body gave a part that is a ${typeof part}`,
      )
    )
      return;
    const chunk = part as string | Uint8Array;
    sent += wholeLength(chunk) ?? 0;
    if (declared !== -1)
      book.check(
        sent <= declared,
        "T5.3.2",
        "application",
        `Content-Length says ${declared}, the body gave ${sent} bytes and more`,
      );
    yield chunk;
  }
  if (declared !== -1)
    book.check(
      sent === declared,
      "T5.3.2",
      "application",
      `Content-Length says ${declared}, the body gave ${sent} bytes`,
    );
}

function isBody(body: unknown): boolean {
  if (body === null || typeof body === "string") return true;
  if (typeof body !== "object") return false;
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body) || body instanceof Blob) return true;
  if (body instanceof URLSearchParams || body instanceof FormData) return true;
  return Symbol.asyncIterator in body;
}

function wholeLength(body: unknown): number | undefined {
  if (typeof body === "string") return new TextEncoder().encode(body).length;
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return body.byteLength;
  if (body instanceof Blob) return body.size;
  return undefined;
}

/** What a method of the context returned to be returned, of another copy of this package. */
function isTicket(reply: object): boolean {
  const { kind } = reply as { kind?: unknown };
  return kind === "tsgi.upgrade" || kind === "tsgi.file";
}
