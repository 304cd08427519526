/** CONNECT over every transport, where a route passes it on: a server opens the tunnel, or refuses. */
import { randomBytes } from "node:crypto";
import http from "node:http";
import net from "node:net";
import type { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Stage, until } from "./test-front.ts";

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.close());

interface Seen {
  url: string | undefined;
  headers: http.IncomingHttpHeaders;
}

/** Opens tunnels that echo; `denied.example` is refused. */
function tunnelServer(seen: Seen[], answer = "HTTP/1.1 200 Fine\r\nX-Tunnel: yes\r\n\r\n"): http.Server {
  const server = http.createServer((_request, response) => response.end("plain"));
  server.on("connect", (request: http.IncomingMessage, socket: Duplex, head: Buffer) => {
    seen.push({ url: request.url, headers: request.headers });
    socket.on("error", () => {});
    if (request.url!.startsWith("denied.example:")) {
      socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
      return;
    }
    socket.write(answer);
    if (head.length > 0) socket.write(head);
    socket.pipe(socket);
  });
  return server;
}

interface Client {
  readonly socket: net.Socket;
  /** Everything that came. */
  text(): string;
  body(): Buffer;
}

function connect(port: number, target: string, first: string | Buffer = ""): Client {
  const socket = net.connect(port, "127.0.0.1");
  const parts: Buffer[] = [];
  socket.on("error", () => {});
  socket.on("data", (part: Buffer) => parts.push(part));
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nX-Kept: yes\r\n\r\n`);
  if (first.length > 0) socket.write(first);
  const all = (): Buffer => Buffer.concat(parts);
  return {
    socket,
    text: () => all().toString("latin1"),
    body: () => all().subarray(all().indexOf("\r\n\r\n") + 4),
  };
}

describe.each(["tcp", "unix", "link"] as const)("over %s", (transport) => {
  it("passes bytes both ways, those too that did not wait for the answer", async () => {
    const seen: Seen[] = [];
    const backend = await stage.backend(transport, tunnelServer(seen));
    const front = await stage.front({ servers: [backend.address], proxy: { connect: true, host: "other.example" } });
    const client = connect(front.port, "far.example:443", "early");
    await until(() => client.text().endsWith("early"), "the early bytes are echoed");
    expect(client.text()).toMatch(/^HTTP\/1\.1 200 /);
    expect(client.text()).toMatch(/\r\nX-Tunnel: yes\r\n/i);
    expect(client.text()).not.toMatch(/content-length|transfer-encoding/i);
    expect(seen[0]).toMatchObject({ url: "far.example:443", headers: { host: "far.example:443", "x-kept": "yes" } });
    expect(seen[0]!.headers.via).toMatch(/^1\.1 portico/);
    const bytes = randomBytes(2_000_000);
    client.socket.write(bytes);
    await until(() => client.body().length === bytes.length + 5, "all echoed");
    expect(client.body().subarray(5).equals(bytes)).toBe(true);
    expect(front.records.at(-1)).toMatchObject({ status: 200, failure: undefined });
    client.socket.end();
    await new Promise((resolve) => client.socket.once("close", resolve));
    await until(() => front.upstream.status().servers[0]!.inFlight === 0, "the tunnel is over");
  });

  it("passes a refusal on, and reads nothing more as a request", async () => {
    const seen: Seen[] = [];
    const backend = await stage.backend(transport, tunnelServer(seen));
    const front = await stage.front({ servers: [backend.address], proxy: { connect: true } });
    const client = connect(front.port, "denied.example:443", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    await new Promise((resolve) => client.socket.once("close", resolve));
    expect(client.text()).toMatch(/^HTTP\/1\.1 403 [^]*\r\n\r\nno$/);
    expect(seen).toHaveLength(1);
  });

  it("tells each side that the other is gone", async () => {
    const gone = Promise.withResolvers<void>();
    const server = http.createServer();
    server.on("connect", (request: http.IncomingMessage, socket: Duplex) => {
      socket.on("error", () => {});
      socket.write("HTTP/1.1 200 Fine\r\n\r\n");
      if (request.url!.startsWith("short.")) socket.once("data", () => socket.destroy());
      else {
        socket.on("end", () => socket.end());
        socket.on("close", () => gone.resolve());
        socket.resume();
      }
    });
    const backend = await stage.backend(transport, server);
    const front = await stage.front({ servers: [backend.address], proxy: { connect: true } });
    const short = connect(front.port, "short.example:1", "go");
    await new Promise((resolve) => short.socket.once("close", resolve));
    const client = connect(front.port, "long.example:1");
    await until(() => client.text().includes("\r\n\r\n"), "the tunnel is open");
    client.socket.resetAndDestroy();
    await gone.promise;
    await until(() => front.upstream.status().servers[0]!.inFlight === 0, "both are over");
  });

  it("is a 501 where the route does not say so", async () => {
    const seen: Seen[] = [];
    const backend = await stage.backend(transport, tunnelServer(seen));
    const front = await stage.front({ servers: [backend.address] });
    const client = connect(front.port, "far.example:443");
    await new Promise((resolve) => client.socket.once("close", resolve));
    expect(client.text()).toMatch(/^HTTP\/1\.1 501 /);
    expect(seen).toHaveLength(0);
  });
});

it("takes a Content-Length of nothing out of an answer that opens a tunnel", async () => {
  const backend = await stage.backend("tcp", tunnelServer([], "HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n"));
  const front = await stage.front({ servers: [backend.address], proxy: { connect: true } });
  const client = connect(front.port, "far.example:443", "early");
  await until(() => client.text().endsWith("early"), "it is a tunnel");
  expect(client.text()).not.toMatch(/content-length/i);
  client.socket.destroy();
});

it("is a 502 where a server on the link answers as if it were a page", async () => {
  const backend = await stage.linkBackend((exchange) => exchange.respond(200, [], "a page"));
  const front = await stage.front({ servers: [backend.address], proxy: { connect: true } });
  const client = connect(front.port, "far.example:443");
  await new Promise((resolve) => client.socket.once("close", resolve));
  expect(client.text()).toMatch(/^HTTP\/1\.1 502 /);
  expect(front.logged.at(-1)).toMatchObject({ code: "bad-response", reason: "200 without a tunnel" });
});
