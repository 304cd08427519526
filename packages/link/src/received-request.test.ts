import { expect, test } from "vitest";
import type { FastBuffer } from "./frame.ts";
import { type LinkRequest, writeRequest } from "./head.ts";
import { FRAME_HEADER_BYTES } from "./limits.ts";
import { Outbox } from "./outbox.ts";
import { type ReceivedRequest, readRequest } from "./received-request.ts";

const REQUEST: LinkRequest = {
  method: "GET",
  scheme: "https",
  authority: "example.com:8443",
  target: "/a?b",
  version: "1.1",
  headers: ["Accept", "*/*", "Cookie", "a=\xe9"],
  bodyLength: 0,
  upgrade: undefined,
  id: "id-1",
  traceparent: undefined,
  tracestate: undefined,
  client: { address: "192.0.2.7", port: 4711, vouchedBy: "socket" },
  tls: undefined,
  receivedAt: 1_700_000_000_123,
  queuedMs: 7,
  deadline: undefined,
};

/** A request on the other side of the link; `upgrade` as the session passes it. */
function sent(request: LinkRequest, upgrade = ""): ReceivedRequest {
  let bytes = Buffer.alloc(0);
  const sink = {
    write: (chunk: Uint8Array) => ((bytes = Buffer.from(chunk)), true),
    schedule() {},
    end() {},
    destroy() {},
  };
  const out = new Outbox(sink);
  writeRequest(out, 1, request, 0, upgrade, null, 0, 65_536);
  out.flush();
  const read = readRequest(bytes as FastBuffer, FRAME_HEADER_BYTES, bytes.length, 200);
  if (read === undefined) throw new Error("malformed");
  // What was cut late must not depend on the bytes it came in.
  bytes.fill(0);
  return read;
}

test("fields that the facts say are written by the worker, in the proxy's order", () => {
  const added = "X-Forwarded-For 192.0.2.7 X-Forwarded-Proto https X-Forwarded-Host example.com:8443 X-Request-Id id-1";
  const list = ["Host", "example.com:8443", ...REQUEST.headers, ...added.split(" ")];
  const read = sent({ ...REQUEST, derived: true });
  expect(read.headers).toEqual(list);
  expect(read.headers).toBe(read.headers);
  expect(sent(REQUEST).headers).toEqual(REQUEST.headers);
});

test("each string is found, with TLS and without", () => {
  const tls = { protocol: "TLSv1.3", cipher: "X", alpn: undefined, serverName: "s", clientCertificate: "a\nb\n" };
  for (const given of [undefined, tls]) {
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const read = sent({ ...REQUEST, method: "REPORT", tls: given, traceparent, tracestate: "k=v", bodyLength: -1 });
    const { method, scheme, authority, target, version, bodyLength, id, clientAddress, clientPort } = read;
    expect({ method, scheme, authority, target, version, bodyLength, id, clientAddress, clientPort }).toEqual({
      method: "REPORT",
      scheme: "https",
      authority: "example.com:8443",
      target: "/a?b",
      version: "1.1",
      bodyLength: -1,
      id: "id-1",
      clientAddress: "192.0.2.7",
      clientPort: 4711,
    });
    expect([read.traceparent, read.tracestate, read.receivedAt, read.queuedMs]).toEqual([
      traceparent,
      "k=v",
      1_700_000_000_123,
      7,
    ]);
    expect(read.tls).toEqual(given);
    expect(read.headers).toEqual(REQUEST.headers);
  }
});

test("an upgrade is given back as the fields that carry it", () => {
  const read = sent({ ...REQUEST, headers: [], derived: true }, "websocket");
  expect(read.upgrade).toBe("websocket");
  expect(read.headers.slice(-4)).toEqual(["Connection", "Upgrade", "Upgrade", "websocket"]);
});
