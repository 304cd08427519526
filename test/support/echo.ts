/** An application that echoes WebSockets, and sends an event ten times a second to everyone else. */
import { once } from "node:events";
import { createServer } from "node:http";
import { WebSocket, WebSocketServer } from "ws";

export async function startEcho(): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const timer = setInterval(() => response.write("data: tick\n\n"), 100);
    response.on("close", () => clearInterval(timer));
  });
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) =>
    socket.on("message", (message) => socket.send(message as Buffer, { binary: false })),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** A WebSocket through a proxy, open. */
export async function openSocket(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url.replace("http", "ws"));
  await once(socket, "open");
  return socket;
}

/** Sends a word and gives what comes back. */
export async function say(socket: WebSocket, word: string): Promise<string> {
  const answer = once(socket, "message");
  socket.send(word);
  return String((await answer)[0]);
}
