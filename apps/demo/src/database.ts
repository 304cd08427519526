/**
 * The one SQLite file all workers share. WAL mode lets them read while one writes; every worker has its own connection.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

const BUSY_TIMEOUT_MS = 5_000; // a writer waits for another one's transaction, which takes milliseconds

/** Applied in order, once; the file's `user_version` says how many it has. Never change one that was released. */
const migrations: readonly string[] = [
  `CREATE TABLE account (
     id INTEGER PRIMARY KEY,
     name TEXT NOT NULL UNIQUE COLLATE NOCASE,
     password TEXT NOT NULL,
     created_at INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE session (
     token_hash TEXT PRIMARY KEY,
     account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
     expires_at INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE notice (
     id INTEGER PRIMARY KEY,
     account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
     title TEXT NOT NULL,
     body TEXT NOT NULL,
     image TEXT,
     created_at INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE message (
     id INTEGER PRIMARY KEY,
     account_name TEXT NOT NULL,
     text TEXT NOT NULL,
     created_at INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE event (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     topic TEXT NOT NULL,
     payload TEXT NOT NULL,
     created_at INTEGER NOT NULL
   ) STRICT;`,
];

/** Opens the database in a folder, made where absent, and brings its tables up to date. */
export function openDatabase(folder: string): DatabaseSync {
  mkdirSync(folder, { recursive: true });
  const database = new DatabaseSync(join(folder, "board.sqlite"), {
    timeout: BUSY_TIMEOUT_MS,
    enableForeignKeyConstraints: true,
  });
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;");
  migrate(database);
  return database;
}

/** Several workers start at once: the first takes the write lock, the others find the work done. */
function migrate(database: DatabaseSync): void {
  database.exec("BEGIN IMMEDIATE");
  try {
    const { user_version: done } = database.prepare("PRAGMA user_version").get() as { user_version: number };
    for (const migration of migrations.slice(done)) database.exec(migration);
    database.exec(`PRAGMA user_version = ${migrations.length}`);
    database.exec("COMMIT");
  } catch (error) {
    database.exec("ROLLBACK");
    throw error;
  }
}
