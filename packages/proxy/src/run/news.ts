/**
 * What the threads of a proxy tell each other of the servers' health: one asks the servers for all, and whoever finds
 * a server failing spares the others the same discovery. A thread that begins later asks what it has missed.
 */
import { BroadcastChannel } from "node:worker_threads";
import type { HealthNews } from "../upstream/context.ts";

/** Reaches the threads of this process and nobody else. */
const CHANNEL = "portico-health";

type Message = HealthNews | "ask";

export interface NewsEvents {
  onNews(news: HealthNews): void;
  /** Another thread has begun. */
  onAsked(): void;
}

export class HealthNewsChannel {
  readonly #channel = new BroadcastChannel(CHANNEL);

  constructor(events: NewsEvents) {
    this.#channel.unref();
    this.#channel.addEventListener("message", (event) => {
      const message = (event as unknown as { data: Message }).data;
      if (message === "ask") events.onAsked();
      else events.onNews(message);
    });
    this.#post("ask");
  }

  tell(news: HealthNews): void {
    this.#post(news);
  }

  close(): void {
    this.#channel.close();
  }

  #post(message: Message): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#channel.postMessage(message);
  }
}
