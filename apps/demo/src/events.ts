/**
 * What happened on the board, told to every worker.
 *
 * Workers are processes, on one machine or in several containers over one volume. The database they share carries the
 * events: a worker that publishes appends a row, the others see by `PRAGMA data_version` (which reads no page) that
 * another connection wrote, and fetch what is new.
 */
import type { DatabaseSync } from "node:sqlite";

const POLL_MS = 100; // nobody notices a tenth of a second in a chat; the check costs microseconds
const KEPT_MS = 60_000; // longer than any worker sleeps between two polls

export type Topic = "notice" | "notice-removed" | "message";

export interface BoardEvent {
  readonly id: number;
  readonly topic: Topic;
  /** JSON text, as it is sent to browsers. */
  readonly payload: string;
}

export type Listener = (event: BoardEvent) => void;

export class Events {
  readonly #database: DatabaseSync;
  readonly #listeners = new Set<Listener>();
  readonly #timer: NodeJS.Timeout;
  #version: number;
  #last: number;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#version = this.#dataVersion();
    this.#last = (database.prepare("SELECT coalesce(max(id), 0) AS id FROM event").get() as { id: number }).id;
    this.#timer = setInterval(() => this.#poll(), POLL_MS);
    this.#timer.unref();
  }

  /** Tells every listener in every worker. */
  publish(topic: Topic, payload: unknown): void {
    const now = Date.now();
    this.#database
      .prepare("INSERT INTO event (topic, payload, created_at) VALUES (?, ?, ?)")
      .run(topic, JSON.stringify(payload), now);
    this.#database.prepare("DELETE FROM event WHERE created_at < ?").run(now - KEPT_MS);
    this.#deliver();
  }

  /** Id of the newest event that this worker has told its listeners of. */
  get last(): number {
    return this.#last;
  }

  /** What happened after an event, as far as it is kept, for a page that was away for a moment. */
  since(id: number): BoardEvent[] {
    const rows = this.#database
      .prepare("SELECT id, topic, payload FROM event WHERE id > ? AND id <= ? ORDER BY id")
      .all(id, this.#last);
    return rows as unknown as BoardEvent[];
  }

  /** Returns the function that ends the subscription. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#listeners.clear();
  }

  #poll(): void {
    const version = this.#dataVersion();
    if (version === this.#version) return;
    this.#version = version;
    this.#deliver();
  }

  #deliver(): void {
    const rows = this.#database
      .prepare("SELECT id, topic, payload FROM event WHERE id > ? ORDER BY id")
      .all(this.#last);
    for (const row of rows as unknown as BoardEvent[]) {
      this.#last = row.id;
      for (const listener of this.#listeners) listener(row);
    }
  }

  #dataVersion(): number {
    return (this.#database.prepare("PRAGMA data_version").get() as { data_version: number }).data_version;
  }
}
