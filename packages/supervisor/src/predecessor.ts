/** The new master's side of an upgrade: who was there before, and the sockets that came from it. */
import { closeSync } from "node:fs";
import type { Socket } from "node:net";
import { messageOf } from "./errors.ts";
import { EXIT } from "./exit-codes.ts";
import { HANDOVER_VARIABLE, readHandover } from "./handover.ts";
import type { FromSuccessor, HandedSocket, Handover, ToSuccessor } from "./handover.ts";

export class Predecessor {
  readonly pid: number;
  /** Resolves when it has ended: everything is this master's from then on. */
  readonly gone: Promise<void>;
  #alive = true;
  #sockets: readonly HandedSocket[];
  #onSocket: ((message: unknown, socket: Socket) => void) | undefined;

  constructor({ pid, sockets }: Handover) {
    this.pid = pid;
    this.#sockets = sockets;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.gone = promise;
    const end = (): void => {
      this.#alive = false;
      resolve();
    };
    process.once("disconnect", end);
    if (!process.connected) end();
    process.on("message", (said: ToSuccessor, handle: unknown) => {
      if (said.portico !== "predecessor") return;
      if (this.#onSocket === undefined) (handle as Socket | undefined)?.destroy();
      else this.#onSocket(said.message, handle as Socket);
    });
    process.channel?.unref();
  }

  /** It still runs: what is at its paths is its as much as ours. */
  get alive(): boolean {
    return this.#alive;
  }

  /** Whether it was listening on what was asked for as `key`. */
  has(key: string): boolean {
    return this.#sockets.some((socket) => socket.key === key);
  }

  /** The sockets of a key; each is given out once. */
  take(key: string): readonly HandedSocket[] {
    const taken = this.#sockets.filter((socket) => socket.key === key);
    this.#sockets = this.#sockets.filter((socket) => socket.key !== key);
    return taken;
  }

  /** Tells it that this master serves; sockets that nobody wanted are closed here. */
  served(onSocket: (message: unknown, socket: Socket) => void): void {
    this.#onSocket = onSocket;
    for (const { fd } of this.#sockets) closeSync(fd);
    this.#sockets = [];
    void this.#say({ portico: "successor", state: "ready" });
  }

  /** Tells it that this master stops: whatever comes from now on is for the old one again. */
  leaving(): void {
    this.#onSocket = undefined;
    void this.#say({ portico: "successor", state: "leaving" });
  }

  /** Tells it why this master does not come up. Resolves when that is said. */
  failed(error: unknown): Promise<void> {
    const { exitCode = EXIT.failed } = error as { exitCode?: number };
    return this.#say({ portico: "successor", state: "failed", message: messageOf(error), exitCode });
  }

  #say(message: FromSuccessor): Promise<void> {
    return new Promise((resolve) => {
      if (process.send === undefined || !process.connected) return resolve();
      process.send(message, undefined, undefined, () => resolve());
    });
  }
}

let found: Predecessor | undefined;

/** The master that started this one to take its place, if one did. The variable that says so is removed, so that children do not think it is meant for them. */
export function predecessor(): Predecessor | undefined {
  const text = process.env[HANDOVER_VARIABLE];
  if (text === undefined) return found;
  delete process.env[HANDOVER_VARIABLE];
  const handover = readHandover(text);
  if (handover !== undefined) found = new Predecessor(handover);
  return found;
}
