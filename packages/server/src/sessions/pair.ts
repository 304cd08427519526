/** Two ends of one connection, for two processes that have none between them. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

const LOOPBACK = "127.0.0.1";

/**
 * A TCP connection of this process with itself. Node has no `socketpair`. Whoever else connects in the moment that the
 * port is open is told by its own port, and let go.
 */
export async function socketPair(): Promise<readonly [Socket, Socket]> {
  const accepted = Promise.withResolvers<Socket>();
  accepted.promise.catch(() => {}); // where connecting fails first, nobody waits for it
  const early: Socket[] = [];
  let port: number | undefined;
  const look = (): void => {
    for (const socket of early.splice(0))
      if (port === undefined) early.push(socket);
      else if (socket.remotePort === port && socket.remoteAddress === LOOPBACK) accepted.resolve(socket);
      else socket.destroy();
  };
  // Nothing is read here: the end that is given away must have all its bytes.
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
    early.push(socket);
    look();
  });
  server.on("error", accepted.reject);
  try {
    server.listen(0, LOOPBACK);
    await once(server, "listening");
    const near = connect({ port: (server.address() as AddressInfo).port, host: LOOPBACK, noDelay: true });
    await once(near, "connect");
    port = near.localPort;
    look();
    return [near, await accepted.promise];
  } finally {
    server.close();
  }
}

/**
 * Resolves when the other end has sent something, which stays to be read: it has arrived where it was sent, and none of
 * the processes that it passes on its way can take from it what is sent to it from now on.
 */
export function firstBytes(near: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    const lost = (): void => reject(new TypeError("the sibling is not there"));
    near.on("error", lost).once("end", lost).once("close", lost);
    near.once("data", (chunk: Buffer) => {
      near.pause();
      near.unshift(chunk);
      near.off("end", lost).off("close", lost);
      resolve();
    });
  });
}
