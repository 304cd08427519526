/** The small files of a thread, kept in memory: bounded by bytes, the longest unused go first. */
import { LRUCache } from "lru-cache";
import type { FileVersion } from "./version.ts";

// What an entry costs beside its body: fields, stats, keys. Measured roughly; it bounds many tiny files.
const ENTRY_BYTES = 2048;

/** A kept file, and the table that finds it by path. */
interface Kept {
  readonly table: Map<string, FileVersion>;
  readonly path: string;
  readonly version: FileVersion;
}

/**
 * Each static route has a table of its own, path → version, so that a hit is one lookup without a compound key. This
 * cache knows all of them and keeps their sum bounded. Recency is noted when a file is checked for change (about once
 * a second), not with every hit.
 */
export class FileCache {
  readonly #kept: LRUCache<FileVersion, Kept> | undefined;
  /** Largest file that is kept, bytes. */
  readonly largest: number;

  /** @param bytes for this thread; 0: nothing is kept */
  constructor(bytes: number, largest: number) {
    this.largest = bytes === 0 ? -1 : Math.min(largest, Math.max(0, bytes - ENTRY_BYTES));
    if (bytes === 0) return;
    this.#kept = new LRUCache<FileVersion, Kept>({
      maxSize: bytes,
      sizeCalculation: (kept) => ENTRY_BYTES * (1 + kept.version.variants.length) + kept.version.keptBytes,
      dispose: (kept) => {
        if (kept.table.get(kept.path) === kept.version) kept.table.delete(kept.path);
      },
    });
  }

  keep(table: Map<string, FileVersion>, path: string, version: FileVersion): void {
    const before = table.get(path);
    table.set(path, version);
    if (before !== undefined && before !== version) this.#kept?.delete(before);
    this.#kept?.set(version, { table, path, version });
  }

  /** Notes that a kept file is in use. */
  touch(version: FileVersion): void {
    this.#kept?.get(version);
  }

  /** Forgets the file of a path. */
  drop(table: Map<string, FileVersion>, path: string): void {
    const version = table.get(path);
    if (version !== undefined) this.#kept?.delete(version);
  }

  /** Bytes in use. */
  get bytes(): number {
    return this.#kept?.calculatedSize ?? 0;
  }
}
