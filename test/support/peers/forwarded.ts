/**
 * Reads what a front forwards, by the narrowest grammar there is: nothing optional, nothing old, one way to say each
 * thing. It shares no code with the engine under test. What does not fit is a finding, even if it is legal.
 */
import type { Reading } from "./reading.ts";

export interface ForwardedMessage extends Reading {
  /** Exactly the bytes that came. */
  readonly raw: Buffer;
}

const LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x22\x24-\x7e]+) HTTP\/1\.1$/;
const FIELD =
  /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)$/;
const LENGTH = /^(?:0|[1-9][0-9]{0,15})$/;
const CHUNK = /^([1-9a-f][0-9a-f]{0,12})\r\n/;
const TRAILER_END = /^0\r\n((?:[^\r\n]+\r\n)*)\r\n/;

/** What a connection carried that is no message by that grammar. */
export class ForwardedFault extends Error {
  override readonly name = "ForwardedFault";
  readonly bytes: string;

  constructor(message: string, bytes: string) {
    super(`${message}: ${JSON.stringify(bytes.slice(0, 500))}`);
    this.bytes = bytes;
  }
}

/** One connection's bytes. */
export class ForwardedReader {
  #text = "";

  /** True where a message has begun and is not complete. */
  get inMessage(): boolean {
    return this.#text !== "";
  }

  add(chunk: Buffer): void {
    this.#text += chunk.toString("latin1");
  }

  /** The next whole message, or undefined where more is needed. Throws {@link ForwardedFault}. */
  next(): ForwardedMessage | undefined {
    const end = this.#text.indexOf("\r\n\r\n");
    if (end < 0) return undefined;
    const [line = "", ...lines] = this.#text.slice(0, end).split("\r\n");
    const [, method = "", target = ""] = LINE.exec(line) ?? this.#fault("no canonical request line");
    const fields = lines.flatMap((each) => {
      const [, name = "", value = ""] = FIELD.exec(each) ?? this.#fault("no canonical field line");
      return [name, value];
    });
    const body = this.#body(end + 4, fields);
    if (body === undefined) return undefined;
    const raw = Buffer.from(this.#text.slice(0, body.end), "latin1");
    this.#text = this.#text.slice(body.end);
    return { method, target, fields, body: body.text, raw };
  }

  #body(from: number, fields: readonly string[]): { text: string; end: number } | undefined {
    if (valuesOf(fields, "host").length !== 1) this.#fault("not exactly one Host");
    const lengths = valuesOf(fields, "content-length");
    const codings = valuesOf(fields, "transfer-encoding");
    if (lengths.length + codings.length > 1) this.#fault("more than one framing field");
    if (codings.length === 1) {
      if (codings[0] !== "chunked") this.#fault("another coding than chunked");
      return this.#chunks(from);
    }
    const [length = "0"] = lengths;
    if (!LENGTH.test(length)) this.#fault("no canonical Content-Length");
    const end = from + Number(length);
    return end > this.#text.length ? undefined : { text: this.#text.slice(from, end), end };
  }

  #chunks(from: number): { text: string; end: number } | undefined {
    let text = "";
    for (let at = from; ;) {
      const rest = this.#text.slice(at);
      const last = TRAILER_END.exec(rest);
      if (last !== null) {
        for (const line of last[1]!.split("\r\n").slice(0, -1)) {
          if (!FIELD.test(line)) this.#fault("no canonical trailer line");
        }
        return { text, end: at + last[0].length };
      }
      const chunk = CHUNK.exec(rest);
      if (chunk === null) {
        if (rest.includes("\r\n") && !rest.startsWith("0\r\n")) this.#fault("no canonical chunk");
        return undefined;
      }
      const size = Number.parseInt(chunk[1]!, 16);
      const data = at + chunk[0].length;
      if (this.#text.length < data + size + 2) return undefined;
      if (this.#text.slice(data + size, data + size + 2) !== "\r\n") this.#fault("a chunk without its end");
      text += this.#text.slice(data, data + size);
      at = data + size + 2;
    }
  }

  #fault(message: string): never {
    throw new ForwardedFault(message, this.#text);
  }
}

export function valuesOf(fields: readonly string[], lowerName: string): string[] {
  const found: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    if (fields[at]!.toLowerCase() === lowerName) found.push(fields[at + 1]!);
  }
  return found;
}
