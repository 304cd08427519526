/** Plain HTTP/1.1 over one socket, with bodies of any size: nothing of them is kept. */
import { once } from "node:events";
import { type Socket, connect } from "node:net";

const PART = Buffer.alloc(1_048_576, "portico ");
/** A transfer that has not moved for so long is broken. */
const STALLED_MS = 60_000;

/** An answer that is not what was asked for. */
class TransferError extends Error {
  override readonly name = "TransferError";
}

/** One keep-alive connection; requests one after another. */
export class Connection implements Disposable {
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  static async open(port: number): Promise<Connection> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    socket.on("error", () => {});
    socket.setTimeout(STALLED_MS, () => socket.destroy());
    await once(socket, "connect");
    return new Connection(socket);
  }

  get open(): boolean {
    return this.#socket.readyState === "open";
  }

  /** From here on it may say nothing for as long as it wants. */
  rest(): void {
    this.#socket.setTimeout(0);
  }

  /** Sends a body of `bytes` bytes; the answer's body must be their number. */
  async upload(bytes: number): Promise<void> {
    const answered = this.#answer();
    this.#socket.write(`POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: ${bytes}\r\n\r\n`);
    for (let left = bytes; left > 0; left -= PART.length) {
      if (!this.#socket.write(left >= PART.length ? PART : PART.subarray(0, left)))
        await Promise.race([once(this.#socket, "drain"), answered]);
      if (this.#socket.destroyed) break;
    }
    const { text } = await answered;
    if (text !== String(bytes)) throw new TransferError(`sent ${bytes} bytes, the answer is ${text.slice(0, 100)}`);
  }

  async download(path: string, bytes: number): Promise<void> {
    const answered = this.#answer();
    this.#socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\n\r\n`);
    const { length } = await answered;
    if (length !== bytes) throw new TransferError(`${path} gave ${length} bytes instead of ${bytes}`);
  }

  /** The next answer; its body's length, and its text as far as it is short. */
  #answer(): Promise<{ length: number; text: string }> {
    const socket = this.#socket;
    const { promise, resolve, reject } = Promise.withResolvers<{ length: number; text: string }>();
    let head = "";
    let expected = -1;
    let length = 0;
    let text = "";
    const onData = (chunk: Buffer): void => {
      let body = chunk;
      if (expected < 0) {
        head += chunk.toString("latin1");
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) return;
        if (!head.startsWith("HTTP/1.1 200 ")) return fail(new TransferError(`answered ${head.slice(0, end)}`));
        expected = Number(/^content-length: *(\d+)/im.exec(head.slice(0, end))?.[1] ?? Number.NaN);
        body = chunk.subarray(chunk.length - (head.length - end - 4));
      }
      length += body.length;
      if (length <= 100) text += body.toString("latin1");
      if (length < expected) return;
      release();
      resolve({ length, text });
    };
    const onClose = (): void => fail(new TransferError(`the connection was closed ${length} bytes into the answer`));
    const release = (): void => {
      socket.off("data", onData);
      socket.off("close", onClose);
    };
    const fail = (error: TransferError): void => {
      release();
      socket.destroy();
      reject(error);
    };
    socket.on("data", onData);
    socket.on("close", onClose);
    promise.catch(() => {});
    return promise;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

/** Connections that asked once and then say nothing. */
export class IdleConnections implements Disposable {
  readonly #connections: Connection[] = [];

  /** Dials in waves: a backlog is finite. */
  static async dial(port: number, path: string, bytes: number, count: number): Promise<IdleConnections> {
    const all = new IdleConnections();
    const WAVE = 100;
    while (all.#connections.length < count) {
      const wave = Math.min(WAVE, count - all.#connections.length);
      const opened = await Promise.all(Array.from({ length: wave }, () => Connection.open(port)));
      all.#connections.push(...opened);
      await Promise.all(opened.map((connection) => connection.download(path, bytes)));
      for (const connection of opened) connection.rest();
    }
    return all;
  }

  /** How many the other end keeps. */
  get open(): number {
    return this.#connections.filter((connection) => connection.open).length;
  }

  [Symbol.dispose](): void {
    for (const connection of this.#connections) connection[Symbol.dispose]();
  }
}
