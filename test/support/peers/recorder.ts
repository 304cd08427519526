/** A plain HTTP/1.1 server of raw sockets that keeps exactly the bytes that a front sends it, and answers each message. */
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { ForwardedReader, type ForwardedMessage } from "./forwarded.ts";

export class Recorder implements AsyncDisposable {
  /** Whole messages in the order they became whole; whoever reads them takes them out. */
  messages: ForwardedMessage[] = [];
  /** Bytes that were no message. */
  faults: Error[] = [];
  /** Messages that ended with their connection. */
  cut = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  static async start(): Promise<Recorder> {
    const recorder = new Recorder();
    recorder.#server.listen(0, "127.0.0.1");
    await once(recorder.#server, "listening");
    return recorder;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What came since the last time. */
  take(): ForwardedMessage[] {
    const { messages } = this;
    this.messages = [];
    return messages;
  }

  #accept(socket: Socket): void {
    const reader = new ForwardedReader();
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#sockets.delete(socket);
      if (reader.inMessage) this.cut++;
    });
    socket.on("data", (chunk: Buffer) => {
      reader.add(chunk);
      try {
        for (let message = reader.next(); message !== undefined; message = reader.next()) {
          this.messages.push(message);
          socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${message.method === "HEAD" ? "" : "ok"}`);
        }
      } catch (error) {
        this.faults.push(error as Error);
        socket.destroy();
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
