/** Accounts and their sessions. Passwords are kept as scrypt hashes, session tokens as SHA-256: the file alone lets nobody in. */
import { createHash, randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";

export interface Account {
  readonly id: number;
  readonly name: string;
}

/** Something a person can mend: the text is shown as it is. */
export class InputError extends Error {
  override readonly name = "InputError";
}

export const SESSION_SECONDS = 14 * 24 * 3600;
const HASH_BYTES = 32;
const derive = promisify(scrypt) as (password: string, salt: Buffer, length: number) => Promise<Buffer>;

export class Accounts {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** @throws {InputError} when the name is taken or the input does not do */
  async register(name: string, password: string): Promise<Account> {
    if (!/^[\p{L}\p{N}][\p{L}\p{N}._-]{1,29}$/u.test(name))
      throw new InputError("A name has 2 to 30 letters, digits, dots, dashes or underscores.");
    if (password.length < 8 || password.length > 200) throw new InputError("A password has 8 to 200 characters.");
    const salt = randomBytes(16);
    const hash = await derive(password, salt, HASH_BYTES);
    const stored = `${salt.toString("base64")}.${hash.toString("base64")}`;
    const row = this.#database
      .prepare(
        "INSERT INTO account (name, password, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING id, name",
      )
      .get(name, stored, Date.now());
    if (row === undefined) throw new InputError("This name is taken.");
    return row as unknown as Account;
  }

  /** @throws {InputError} when name and password do not belong together */
  async login(name: string, password: string): Promise<Account> {
    const row = this.#database.prepare("SELECT id, name, password FROM account WHERE name = ?").get(name) as
      | (Account & { password: string })
      | undefined;
    // An unknown name costs the same time as a wrong password, so names cannot be guessed by the clock.
    const [salt = "", hash = ""] = (row?.password ?? `${"A".repeat(24)}.${"A".repeat(44)}`).split(".");
    const given = await derive(password, Buffer.from(salt, "base64"), HASH_BYTES);
    const expected = Buffer.from(hash, "base64");
    const same = expected.length === given.length && timingSafeEqual(expected, given);
    if (row === undefined || !same) throw new InputError("Name and password do not belong together.");
    return { id: row.id, name: row.name };
  }

  /** Returns the token for the cookie. */
  openSession(account: Account): string {
    const token = randomBytes(24).toString("base64url");
    const now = Date.now();
    this.#database.prepare("DELETE FROM session WHERE expires_at < ?").run(now);
    this.#database
      .prepare("INSERT INTO session VALUES (?, ?, ?)")
      .run(digest(token), account.id, now + SESSION_SECONDS * 1000);
    return token;
  }

  closeSession(token: string): void {
    this.#database.prepare("DELETE FROM session WHERE token_hash = ?").run(digest(token));
  }

  /** Whose session a token is, as long as it lasts. */
  find(token: string | undefined): Account | undefined {
    if (token === undefined || token === "") return undefined;
    return this.#database
      .prepare(
        "SELECT account.id, account.name FROM session JOIN account ON account.id = account_id WHERE token_hash = ? AND expires_at > ?",
      )
      .get(digest(token), Date.now()) as Account | undefined;
  }
}

function digest(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}
