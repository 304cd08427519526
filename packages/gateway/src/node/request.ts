import type { IncomingMessage } from "node:http";
import type { Exchange, HeaderList, RequestHead } from "../exchange.ts";
import type { InternalRequest } from "./internals.ts";

/** A class of requests: `http.IncomingMessage`, or the one that a server was created with. */
export type RequestClass = new (socket: never) => IncomingMessage;

/**
 * Fills a new request from the head of an exchange. Headers are Node's own getters over the raw list, built when read.
 * HTTP/2 towards the front shows as 1.1: that is what a `node:http` message can be, and what it is behind any proxy.
 */
export function fillRequest(request: IncomingMessage, exchange: Exchange, socket: unknown): InternalRequest {
  const { head } = exchange;
  const message = request as unknown as InternalRequest;
  message.socket = socket as InternalRequest["socket"];
  message.client = socket;
  message.httpVersionMajor = 1;
  if (head.version === "1.0") {
    message.httpVersionMinor = 0;
    message.httpVersion = "1.0";
  } else {
    message.httpVersionMinor = 1;
    message.httpVersion = "1.1";
  }
  const headers = head.version === "2" ? withHost(head) : head.headers;
  message._addHeaderLines(headers, headers.length);
  message.method = head.method;
  message.url = head.target;
  message.upgrade = false;
  if (head.bodyLength === 0) {
    // Nothing will be pushed: the stream is at its end, and says so as soon as somebody reads it.
    message.complete = true;
    message._readableState.ended = true;
  }
  return message;
}

/** HTTP/2 names the host in `:authority` alone; a `node:http` handler looks for it in Host (RFC 9113 §8.3.1). */
function withHost(head: RequestHead): HeaderList {
  const { authority, headers } = head;
  const named = headers.some((name, index) => index % 2 === 0 && name.toLowerCase() === "host");
  return named || authority === "" ? headers : ["Host", authority, ...headers];
}
