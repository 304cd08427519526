/** The notices on the board, newest first. */
import type { DatabaseSync } from "node:sqlite";
import { type Account, InputError } from "./accounts.ts";
import type { Events } from "./events.ts";

export interface Notice {
  readonly id: number;
  readonly author: string;
  readonly title: string;
  readonly body: string;
  /** Name of the picture's file, or null. */
  readonly image: string | null;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
}

const PAGE_SIZE = 30;
const COLUMNS =
  "notice.id, account.name AS author, notice.title, notice.body, notice.image, notice.created_at AS createdAt FROM notice JOIN account ON account.id = account_id";

export class Notices {
  readonly #database: DatabaseSync;
  readonly #events: Events;

  constructor(database: DatabaseSync, events: Events) {
    this.#database = database;
    this.#events = events;
  }

  list(before: number = Number.MAX_SAFE_INTEGER): Notice[] {
    const rows = this.#database
      .prepare(`SELECT ${COLUMNS} WHERE notice.id < ? ORDER BY notice.id DESC LIMIT ${PAGE_SIZE}`)
      .all(before);
    return rows as unknown as Notice[];
  }

  find(id: number): Notice | undefined {
    return this.#database.prepare(`SELECT ${COLUMNS} WHERE notice.id = ?`).get(id) as Notice | undefined;
  }

  /** @throws {InputError} when title or text do not do */
  post(author: Account, title: string, body: string, image: string | null): Notice {
    if (title.trim() === "" || title.length > 120) throw new InputError("A title has 1 to 120 characters.");
    if (body.length > 5_000) throw new InputError("A text has at most 5,000 characters.");
    const { lastInsertRowid } = this.#database
      .prepare("INSERT INTO notice (account_id, title, body, image, created_at) VALUES (?, ?, ?, ?, ?)")
      .run(author.id, title.trim(), body.trim(), image, Date.now());
    const notice = this.find(Number(lastInsertRowid))!;
    this.#events.publish("notice", notice);
    return notice;
  }

  /** True when there was such a notice by this author, and it is gone now. */
  remove(author: Account, id: number): boolean {
    const { changes } = this.#database.prepare("DELETE FROM notice WHERE id = ? AND account_id = ?").run(id, author.id);
    if (changes > 0) this.#events.publish("notice-removed", { id });
    return changes > 0;
  }
}
