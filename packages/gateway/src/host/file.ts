import type { FileHandle } from "node:fs/promises";
import type { ResponseRecord } from "../application.ts";
import { PorticoGatewayError } from "../errors.ts";
import type { HeaderList, RequestHead } from "../exchange.ts";
import { headerOf } from "../header-of.ts";

/** Files up to this size are read at once and go in one write; larger ones piece by piece of as many bytes. */
const PIECE_BYTES = 65_536;

/** What `ctx.file` returns: opened when it is returned as the reply. */
export class FileTicket {
  readonly kind = "tsgi.file";
  readonly #path: string;
  readonly #headers: HeaderList;

  constructor(path: string, headers: HeaderList) {
    this.#path = path;
    this.#headers = headers;
  }

  /** The response for a request: 200, 206, 304, 404, 412 or 416 (RFC 9110 §13, §14). Rejects with what the system says of a file that is there and cannot be read. */
  async respond(head: RequestHead): Promise<ResponseRecord> {
    const file = await this.#open();
    if (file === undefined) return { status: 404, headers: TEXT, body: "Not Found\n" };
    try {
      const { size, mtime, mtimeMs } = await file.handle.stat();
      const facts = { size, modified: mtime, etag: this.#etag(size, mtimeMs) };
      const headers = this.#fields(facts);
      const status = precondition(head, facts);
      if (status !== undefined) return await withoutBody(file.handle, status, headers);
      const range = rangeOf(head, facts);
      if (range === "unsatisfiable")
        return await withoutBody(file.handle, 416, [...headers, "content-range", `bytes */${size}`]);
      const [from, to] = range ?? [0, size];
      if (range !== undefined) headers.push("content-range", `bytes ${from}-${to - 1}/${size}`);
      headers.push("content-length", String(to - from));
      return { status: range === undefined ? 200 : 206, headers, body: await bodyOf(file.handle, from, to, head) };
    } catch (error) {
      await file.handle.close().catch(() => {});
      throw error;
    }
  }

  async #open(): Promise<{ handle: FileHandle } | undefined> {
    const { constants } = process.getBuiltinModule("node:fs");
    const { open } = process.getBuiltinModule("node:fs/promises");
    try {
      // Without waiting: a pipe would hold up whoever opens it until somebody writes.
      const handle = await open(this.#path, constants.O_RDONLY | constants.O_NONBLOCK);
      if ((await handle.stat()).isFile()) return { handle };
      await handle.close();
      return undefined;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "ENOENT" || code === "ENOTDIR" || code === "ENAMETOOLONG") return undefined;
      throw error;
    }
  }

  #etag(size: number, mtimeMs: number): string {
    return headerOf(this.#headers, "etag") ?? `"${Math.floor(mtimeMs).toString(36)}-${size.toString(36)}"`;
  }

  #fields({ etag, modified }: FileFacts): HeaderList {
    const list = this.#headers.slice();
    const add = (name: string, value: string): void => {
      if (headerOf(list, name) === undefined) list.push(name, value);
    };
    add("content-type", "application/octet-stream");
    add("last-modified", modified.toUTCString());
    add("etag", etag);
    add("accept-ranges", "bytes");
    return list;
  }
}

const TEXT = ["content-type", "text/plain;charset=UTF-8"] as const;

interface FileFacts {
  /** Bytes */
  readonly size: number;
  readonly modified: Date;
  readonly etag: string;
}

async function withoutBody(handle: FileHandle, status: number, headers: HeaderList): Promise<ResponseRecord> {
  await handle.close();
  return { status, headers, body: null };
}

/** 304 or 412 where a condition of the request says so (RFC 9110 §13.2.2). */
function precondition({ headers, method }: RequestHead, { etag, modified }: FileFacts): 304 | 412 | undefined {
  const second = Math.floor(modified.getTime() / 1000);
  const match = headerOf(headers, "if-match");
  const unmodified = dateOf(headerOf(headers, "if-unmodified-since"));
  if (match !== undefined ? !matches(match, etag, true) : unmodified !== undefined && second > unmodified) return 412;
  const noneMatch = headerOf(headers, "if-none-match");
  const since = dateOf(headerOf(headers, "if-modified-since"));
  const isRead = method === "GET" || method === "HEAD";
  if (noneMatch !== undefined) return matches(noneMatch, etag, false) ? (isRead ? 304 : 412) : undefined;
  return isRead && since !== undefined && second <= since ? 304 : undefined;
}

function matches(list: string, etag: string, strong: boolean): boolean {
  if (list.trim() === "*") return true;
  const own = etag.replace(/^W\//, "");
  if (strong && own !== etag) return false;
  return [...list.matchAll(/(W\/)?("[^"]*")/g)].some(([, weak, tag]) => tag === own && !(strong && weak !== undefined));
}

/** One range, as [from, to) in bytes; undefined: the whole is asked for, or several ranges, for which the whole is a right answer too. */
function rangeOf(
  { headers, method }: RequestHead,
  facts: FileFacts,
): readonly [number, number] | "unsatisfiable" | undefined {
  const asked = /^bytes=\s*(\d{0,15})-(\d{0,15})\s*$/i.exec(headerOf(headers, "range") ?? "");
  if (method !== "GET" || asked === null || !stillTheSame(headerOf(headers, "if-range"), facts)) return undefined;
  const [, first = "", last = ""] = asked;
  const { size } = facts;
  if (first === "" && last === "") return undefined;
  if (first === "") {
    const count = Math.min(Number(last), size);
    return count === 0 ? "unsatisfiable" : [size - count, size];
  }
  const from = Number(first);
  if (last !== "" && Number(last) < from) return undefined;
  return from >= size ? "unsatisfiable" : [from, last === "" ? size : Math.min(Number(last) + 1, size)];
}

/** If-Range (RFC 9110 §13.1.5): only a strong validator proves it. */
function stillTheSame(condition: string | undefined, { etag, modified }: FileFacts): boolean {
  if (condition === undefined) return true;
  if (condition.startsWith('"')) return condition === etag;
  return dateOf(condition) === Math.floor(modified.getTime() / 1000);
}

/** Seconds since the epoch; undefined where it is no date. */
function dateOf(text: string | undefined): number | undefined {
  const ms = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000);
}

async function bodyOf(
  handle: FileHandle,
  from: number,
  to: number,
  head: RequestHead,
): Promise<ResponseRecord["body"]> {
  if (head.method === "HEAD") {
    await handle.close();
    return null;
  }
  if (to - from > PIECE_BYTES) return new FileBody(handle, from, to);
  const bytes = new Uint8Array(to - from);
  const { bytesRead } = await handle.read(bytes, 0, bytes.length, from);
  await handle.close();
  return bytes.subarray(0, bytesRead);
}

/** A part of an open file, which is closed when it is read or let go of, begun or not. */
class FileBody implements AsyncIterable<Uint8Array>, AsyncIterator<Uint8Array> {
  readonly #handle: FileHandle;
  #at: number;
  readonly #to: number;

  constructor(handle: FileHandle, from: number, to: number) {
    this.#handle = handle;
    this.#at = from;
    this.#to = to;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    if (this.#at >= this.#to) return await this.return();
    const bytes = new Uint8Array(Math.min(PIECE_BYTES, this.#to - this.#at));
    const { bytesRead } = await this.#handle.read(bytes, 0, bytes.length, this.#at);
    if (bytesRead === 0) {
      await this.return();
      throw new PorticoGatewayError("BAD_BODY", "The file became shorter while it was sent", { rule: "T5.7.1" });
    }
    this.#at += bytesRead;
    return { done: false, value: bytes.subarray(0, bytesRead) };
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.#at = this.#to;
    await this.#handle.close();
    return { done: true, value: undefined };
  }
}
