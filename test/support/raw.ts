/** Bytes over a real socket, for what no well-behaved client would send. */
import { connect, type Socket } from "node:net";
import { once } from "node:events";

export class RawClient implements Disposable {
  readonly socket: Socket;
  #received = "";
  #ended = false;
  readonly #waiting = new Set<() => void>();

  private constructor(socket: Socket) {
    this.socket = socket;
    const wake = (): void => {
      for (const each of this.#waiting) each();
      this.#waiting.clear();
    };
    socket.on("data", (chunk: Buffer) => {
      this.#received += chunk.toString("latin1");
      wake();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#ended = true;
      wake();
    });
    socket.on("end", () => {
      this.#ended = true;
      wake();
    });
  }

  static async open(url: string): Promise<RawClient> {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    await once(socket, "connect");
    return new RawClient(socket);
  }

  get received(): string {
    return this.#received;
  }

  send(text: string | Uint8Array): void {
    this.socket.write(typeof text === "string" ? Buffer.from(text, "latin1") : text);
  }

  /** Resolves with the match as soon as what was received (from an offset on) matches; fails when the peer ends before. */
  async until(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(from === 0 ? this.#received : this.#received.slice(from));
      if (match !== null) return match;
      if (this.#ended) throw new Error(`the peer ended before ${pattern} came; received:\n${this.#received}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Resolves with everything when the peer has ended its side. */
  async closed(): Promise<string> {
    while (!this.#ended) await new Promise<void>((resolve) => this.#waiting.add(resolve));
    return this.#received;
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
