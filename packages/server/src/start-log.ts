/**
 * Keeps a failed start to one message. What every worker failed with is what the start rejects with; so those lines are
 * held back while it is under way, and written after all where the start succeeds.
 */
import type { Logger } from "@portico/gateway";
import type { GroupLog } from "@portico/supervisor";

/** Events that the error of a failed start says in one message. */
const HELD_EVENTS = new Set<unknown>(["failed", "stopping", "stopped", "killed"]);

export class StartLog {
  readonly #log: Logger;
  #held: (() => void)[] | undefined = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  /** For the group of workers. */
  readonly log: GroupLog = {
    info: (fields, message) => this.#take("info", fields, message),
    warn: (fields, message) => this.#take("warn", fields, message),
    error: (fields, message) => this.#take("error", fields, message),
  };

  /** The start succeeded: everything is written, from now on at once. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const write of held) write();
  }

  #take(
    level: "info" | "warn" | "error",
    fields: { readonly type?: unknown; readonly level?: unknown },
    message: string,
  ): void {
    const { level: _said, ...rest } = fields; // the logger writes the level itself
    const write = (): void => this.#log[level](rest, message);
    if (this.#held !== undefined && HELD_EVENTS.has(fields.type)) this.#held.push(write);
    else write();
  }
}
