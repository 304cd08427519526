/** Gives each connection of the link to the ready worker that has the fewest. Lives in the master. */
import type { Socket } from "node:net";
import type { ChildHandle } from "@portico/supervisor";
import type { ToWorker } from "./messages.ts";

/** Connections that may wait for a worker to become ready; a front dials a handful per worker. */
const MAX_HELD = 1024;
/** A worker that has not beaten for so long gets nothing while another one has. Four heartbeats. */
const SILENT_MS = 4_000;

interface Held {
  readonly socket: Socket;
  readonly message: ToWorker;
}

export class LinkDispatcher {
  readonly #children: () => readonly ChildHandle[];
  readonly #links = new WeakMap<ChildHandle, number>();
  /** When a child was last given a link, counted in links: of equals the one that has waited longest comes first. */
  readonly #given = new WeakMap<ChildHandle, number>();
  #sequence = 0;
  readonly #leaving = new WeakSet<ChildHandle>();
  readonly #held: Held[] = [];
  #closed = false;

  constructor(children: () => readonly ChildHandle[]) {
    this.#children = children;
  }

  /** @param socket paused, nothing read from it yet */
  accept(socket: Socket, message: ToWorker): void {
    socket.on("error", () => socket.destroy());
    if (this.#pass(socket, message)) return;
    if (this.#closed || this.#held.length >= MAX_HELD) {
      socket.destroy();
      return;
    }
    const held = { socket, message };
    this.#held.push(held);
    socket.once("close", () => {
      const index = this.#held.indexOf(held);
      if (index !== -1) this.#held.splice(index, 1);
    });
  }

  /** A worker became ready: whoever waited is passed on. */
  offer(): void {
    for (const { socket, message } of this.#held.splice(0)) if (!this.#pass(socket, message)) socket.destroy();
  }

  /** One of the child's links has ended. */
  closed(child: ChildHandle): void {
    this.#links.set(child, Math.max(0, this.links(child) - 1));
  }

  /** The child gets no more links. */
  leaving(child: ChildHandle): void {
    this.#leaving.add(child);
  }

  links(child: ChildHandle): number {
    return this.#links.get(child) ?? 0;
  }

  /** Ends the connections that still wait. */
  close(): void {
    this.#closed = true;
    for (const { socket } of this.#held.splice(0)) socket.destroy();
  }

  #pass(socket: Socket, message: ToWorker): boolean {
    const now = performance.now();
    const candidates = this.#children()
      .filter((child) => child.state === "ready" && !this.#leaving.has(child))
      .toSorted(
        (a, b) => this.#rank(a, now) - this.#rank(b, now) || (this.#given.get(a) ?? 0) - (this.#given.get(b) ?? 0),
      );
    const child = candidates.find((candidate) => candidate.send(message, socket));
    if (child === undefined) return false;
    this.#links.set(child, this.links(child) + 1);
    this.#given.set(child, ++this.#sequence);
    return true;
  }

  #rank(child: ChildHandle, now: number): number {
    return this.links(child) + (child.silentMs(now) > SILENT_MS ? MAX_HELD : 0);
  }
}
