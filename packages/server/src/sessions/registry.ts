/** In the master: which worker opened which session. */

/** Sessions that are remembered; the oldest is forgotten first. Some 10 MB at most. */
const MOST_SESSIONS = 100_000;

export class SessionRegistry {
  readonly #owners = new Map<string, number>();

  /** @param owner number of the process, never used twice */
  opened(key: string, owner: number): void {
    if (this.#owners.size >= MOST_SESSIONS) {
      const [oldest] = this.#owners.keys();
      if (oldest !== undefined) this.#owners.delete(oldest);
    }
    this.#owners.set(key, owner);
  }

  /**
   * Calls back with the owner. A worker says that it opened a session before its client knows of it; but pipes are read
   * in any order, so who is not known is looked up again when what was in them has been read.
   */
  find(key: string, found: (owner: number | undefined) => void): void {
    const owner = this.#owners.get(key);
    if (owner !== undefined) found(owner);
    else setImmediate(() => setImmediate(() => found(this.#owners.get(key))));
  }
}
