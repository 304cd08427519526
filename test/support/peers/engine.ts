/** What our own parser reads of a connection's bytes: the verdict that everybody else's is held against. */
import { DATA, END, FAILED, HEAD, NEED_MORE, RequestParser, type Rule } from "@portico/http1";
import { valuesOf } from "./forwarded.ts";
import type { Reading } from "./reading.ts";

export interface EngineReading extends Reading {
  readonly authority: string;
  readonly trailers: readonly string[];
  /** A tunnel or an upgrade was asked for, well-formed or not: what follows may not be HTTP. */
  readonly switches: boolean;
  readonly keepAlive: boolean;
}

export interface EngineVerdict {
  /** The messages that were read whole. */
  readonly messages: readonly EngineReading[];
  /** How it ended: with a whole message, in the middle of one, or with a rule. */
  readonly end: "whole" | "incomplete" | Rule;
}

export function readByEngine(pieces: readonly Buffer[]): EngineVerdict {
  const parser = new RequestParser();
  const messages: EngineReading[] = [];
  let body = "";
  for (const piece of pieces) {
    parser.feed(piece);
    for (let event = parser.next(); event !== NEED_MORE; event = parser.next()) {
      if (event === FAILED) return { messages, end: parser.error!.rule };
      if (event === HEAD) body = "";
      else if (event === DATA) body += parser.data.toString("latin1");
      else if (event === END) {
        const { method, target, authority, headers, trailers, keepAlive } = parser;
        const switches = method === "CONNECT" || valuesOf(headers, "upgrade").length > 0;
        messages.push({ method, target, authority, fields: headers, body, trailers, switches, keepAlive });
        // What follows such a message belongs to nobody.
        if (method === "CONNECT" || !keepAlive) return { messages, end: "whole" };
      }
    }
  }
  return { messages, end: parser.inMessage ? "incomplete" : "whole" };
}
