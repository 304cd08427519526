/** WebSocket tunnels over every transport: what `ws` says arrives as it is, both ways. */
import { randomBytes } from "node:crypto";
import http from "node:http";
import net from "node:net";
import type { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask, Stage, until } from "./test-front.ts";

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.close());

/** Accepts every upgrade and echoes raw bytes; `onTunnel` sees the socket. */
function echoServer(onTunnel: (socket: Duplex) => void = () => {}): http.Server {
  const server = http.createServer((_request, response) => response.writeHead(426).end("upgrade, please"));
  server.on("upgrade", (request, socket, head) => {
    if (request.url === "/denied") {
      socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
      return;
    }
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Tunnel: yes\r\n\r\n",
    );
    if (head.length > 0) socket.write(head);
    socket.on("error", () => {});
    onTunnel(socket);
    socket.pipe(socket);
  });
  return server;
}

interface Tunnel {
  readonly head: string;
  readonly socket: net.Socket;
  received(): Buffer;
}

function upgrade(port: number, path = "/", first = ""): Promise<Tunnel> {
  const { promise, resolve, reject } = Promise.withResolvers<Tunnel>();
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", reject);
  let all = Buffer.alloc(0);
  let start = -1;
  socket.on("data", (chunk: Buffer) => {
    all = Buffer.concat([all, chunk]);
    if (start !== -1) return;
    start = all.indexOf("\r\n\r\n");
    if (start === -1) return;
    start += 4;
    resolve({ head: all.toString("latin1", 0, start), socket, received: () => all.subarray(start) });
  });
  socket.write(
    `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n${first}`,
  );
  return promise;
}

describe.each(["tcp", "unix", "link"] as const)("over %s", (transport) => {
  it("switches protocols and passes bytes both ways", async () => {
    const backend = await stage.backend(transport, echoServer());
    const front = await stage.front({ servers: [backend.address] });
    const tunnel = await upgrade(front.port);
    expect(tunnel.head).toMatch(/^HTTP\/1\.1 101 /);
    expect(tunnel.head.toLowerCase()).toContain("upgrade: websocket");
    expect(tunnel.head.toLowerCase()).toContain("x-tunnel: yes");
    const bytes = randomBytes(3_000_000);
    tunnel.socket.write(bytes);
    await until(() => tunnel.received().length === bytes.length, "all echoed");
    expect(tunnel.received().equals(bytes)).toBe(true);
    expect(front.records.at(-1)).toMatchObject({ status: 101, failure: undefined });
    tunnel.socket.end();
    await new Promise((resolve) => tunnel.socket.once("close", resolve));
    await until(() => front.upstream.status().servers[0]!.inFlight === 0, "the tunnel is over");
  });

  it("passes a refusal on as an ordinary answer", async () => {
    const backend = await stage.backend(transport, echoServer());
    const front = await stage.front({ servers: [backend.address] });
    const tunnel = await upgrade(front.port, "/denied");
    expect(tunnel.head).toMatch(/^HTTP\/1\.1 403 /);
    await until(() => tunnel.received().toString() === "no", "its body");
    tunnel.socket.destroy();
    await until(() => front.upstream.status().servers[0]!.inFlight === 0, "nothing under way");
  });

  it("tells the application that the client is gone", async () => {
    const gone = Promise.withResolvers<void>();
    const backend = await stage.backend(
      transport,
      echoServer((socket) => socket.on("close", () => gone.resolve())),
    );
    const front = await stage.front({ servers: [backend.address] });
    const tunnel = await upgrade(front.port);
    tunnel.socket.resetAndDestroy();
    await gone.promise;
    await until(() => front.upstream.status().servers[0]!.inFlight === 0, "the tunnel is over");
  });

  it("tells the client that the application is gone", async () => {
    const backend = await stage.backend(
      transport,
      echoServer((socket) => setTimeout(() => socket.destroy(), 50)),
    );
    const front = await stage.front({ servers: [backend.address] });
    const tunnel = await upgrade(front.port);
    tunnel.socket.on("error", () => {});
    await new Promise((resolve) => tunnel.socket.once("close", resolve));
    await until(() => front.upstream.status().servers[0]!.inFlight === 0, "the tunnel is over");
  });

  it("takes a request for another protocol's upgrade that the application ignores as an ordinary one", async () => {
    const backend = await stage.backend(transport, (_request, response) => response.end("plain"));
    const front = await stage.front({ servers: [backend.address] });
    const answer = await ask(front.port, {
      headers: { Connection: "Upgrade, HTTP2-Settings", Upgrade: "h2c", "HTTP2-Settings": "AAMAAABk" },
    });
    expect(answer.text).toBe("plain");
  });
});
