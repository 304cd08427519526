/** What the tests of the link have in common: a request, an observer that does nothing, an observer that remembers. */
import type { HeaderList } from "@portico/gateway/exchange";
import { expect } from "vitest";
import type { UpstreamObserver, UpstreamReset } from "./client.ts";
import type { LinkRequest } from "./head.ts";

/** A plain GET without fields; `parts` replace its own. */
export function requestOf(parts: Partial<LinkRequest> = {}): LinkRequest {
  return {
    method: "GET",
    scheme: "http",
    authority: "example.com",
    target: "/",
    version: "1.1",
    headers: [],
    bodyLength: 0,
    upgrade: undefined,
    id: "i",
    traceparent: undefined,
    tracestate: undefined,
    client: { address: "192.0.2.1", port: 1, vouchedBy: "socket" },
    tls: undefined,
    receivedAt: 0,
    queuedMs: 0,
    deadline: undefined,
    ...parts,
  };
}

/** For streams whose events do not matter. */
export const SILENT: UpstreamObserver = {
  onInform() {},
  onResponse() {},
  onData() {},
  onEnd() {},
  onDrain() {},
  onReset() {},
};

/** A LinkError with this code, to compare with. */
export function linkError(name: string): unknown {
  return expect.objectContaining({ name: "LinkError", code: name });
}

/** What the proxy saw of one stream. */
export class Watcher implements UpstreamObserver {
  readonly informs: [number, HeaderList][] = [];
  status = 0;
  headers: HeaderList = [];
  body = "";
  complete = false;
  trailers: HeaderList | undefined;
  drains = 0;
  reset: UpstreamReset | undefined;

  onInform(status: number, headers: HeaderList): void {
    this.informs.push([status, headers]);
  }
  onResponse(status: number, headers: HeaderList, body: Uint8Array | null, complete: boolean): void {
    this.status = status;
    this.headers = headers;
    if (body !== null) this.body += Buffer.from(body).toString();
    this.complete = complete;
  }
  onData(chunk: Uint8Array): void {
    this.body += Buffer.from(chunk).toString();
  }
  onEnd(trailers: HeaderList): void {
    this.complete = true;
    this.trailers = trailers;
  }
  onDrain(): void {
    this.drains++;
  }
  onReset(error: UpstreamReset): void {
    this.reset = error;
  }
}
