/**
 * Log lines of a thread, on their way to the process's main thread, which alone writes: lines of several threads never
 * mix, a file is reopened in one place, and a slow disk or pipe holds up no request.
 */

/** Where the lines of a log go. */
export type LogName = "access" | "error";

// A message between threads wakes the other one, which has the file written by a third: as much work as a hundred lines.
const BATCH_CHARACTERS = 131_072;
// Long enough to gather lines, short enough for `tail -f`.
const BATCH_MS = 100;

export class LineBatch {
  readonly #post: (lines: string) => void;
  #lines = "";
  #timer: NodeJS.Timeout | undefined;

  constructor(post: (lines: string) => void) {
    this.#post = post;
  }

  /** Takes one line with its end; pino calls it. */
  write(line: string): void {
    this.#lines += line;
    if (this.#lines.length >= BATCH_CHARACTERS) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), BATCH_MS).unref();
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#lines === "") return;
    const lines = this.#lines;
    this.#lines = "";
    this.#post(lines);
  }
}
