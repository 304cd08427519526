/**
 * In the master, for `--reload`: waits for a change of the files that the application consists of. Folders are watched
 * rather than files, because editors write a new file and put it in the old one's place.
 */
import { type FSWatcher, statSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import type { Logger } from "@portico/gateway";

/** An editor that saves several files is one change, milliseconds. */
const SETTLE_MS = 100;

export class FileWatch {
  readonly #changed: (file: string) => void;
  readonly #log: Logger;
  readonly #folders = new Map<string, { readonly watcher: FSWatcher; readonly names: Set<string> | undefined }>();
  #timer: NodeJS.Timeout | undefined;

  /** @param changed told once for changes that come together, with one of the files */
  constructor(changed: (file: string) => void, log: Logger) {
    this.#changed = changed;
    this.#log = log;
  }

  /** Watches files, or everything below a folder. Those that are watched already are left alone. */
  add(paths: readonly string[]): void {
    for (const path of paths) {
      if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) this.#watch(path, undefined);
      else this.#watch(dirname(path), basename(path));
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const { watcher } of this.#folders.values()) watcher.close();
    this.#folders.clear();
  }

  /** @param name undefined: everything below the folder */
  #watch(folder: string, name: string | undefined): void {
    const known = this.#folders.get(folder);
    if (known !== undefined && (known.names === undefined || name !== undefined)) {
      if (name !== undefined) known.names?.add(name);
      return;
    }
    known?.watcher.close();
    const names = name === undefined ? undefined : new Set([name]);
    try {
      const watcher = watch(folder, { recursive: name === undefined, persistent: false }, (_event, file) => {
        if (file !== null && (names === undefined || names.has(file))) this.#soon(file);
      });
      watcher.on("error", (error) => this.#log.warn(`--reload: ${folder} is not watched any more: ${error.message}`));
      this.#folders.set(folder, { watcher, names });
    } catch (error) {
      this.#log.warn(
        `--reload: ${folder} cannot be watched: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  #soon(file: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#changed(file), SETTLE_MS);
  }
}
