/** The log files of a process: opened once, written without waiting, opened again when told. */
import { isatty } from "node:tty";
import pino from "pino";
import type { LogSettings } from "../config/schema.ts";
import type { LogName } from "./batch.ts";
import { readable } from "./readable.ts";

type Destination = ReturnType<typeof pino.destination>;

interface Sink {
  readonly destination: Destination;
  /** Resolves when it is open (true) or cannot be opened. */
  readonly opened: Promise<boolean>;
}

const DESCRIPTORS: Readonly<Record<string, number>> = { stdout: 1, stderr: 2 };
// Beyond it lines are dropped rather than memory filled: the disk or pipe has stopped taking them.
const MOST_WAITING_BYTES = 16 * 1024 * 1024;

function openSink(where: string): Sink {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const destination = pino.destination({
    dest: DESCRIPTORS[where] ?? where,
    sync: false,
    mkdir: true,
    append: true,
    // Not to hold lines back, but because `flush` waits for what is under way only where there is a least length.
    minLength: 1,
    maxLength: MOST_WAITING_BYTES,
  });
  destination.once("ready", () => resolve(true));
  // A log that cannot be written (full disk, closed pipe) must not end the program that serves; it is said once.
  destination.once("error", (error: Error) => {
    resolve(false);
    if (where !== "stderr") process.stderr.write(`portico-proxy: cannot write the log ${where}: ${error.message}\n`);
  });
  destination.on("error", () => {});
  return { destination, opened: promise };
}

const terminals = new Map<string, boolean>();

function isTerminal(where: string): boolean {
  const fd = DESCRIPTORS[where];
  if (fd === undefined) return false;
  let known = terminals.get(where);
  if (known === undefined) terminals.set(where, (known = isatty(fd)));
  return known;
}

export class LogSinks {
  readonly #sinks = new Map<string, Sink>();
  #settings: LogSettings;

  constructor(settings: LogSettings) {
    this.#settings = settings;
  }

  /** Takes the logs of a new configuration; those that nobody names any more are closed. */
  configure(settings: LogSettings): void {
    this.#settings = settings;
    for (const [where, sink] of this.#sinks) {
      if (where === settings.access || where === settings.error) continue;
      this.#sinks.delete(where);
      void sink.opened.then((open) => (open ? sink.destination.end() : sink.destination.destroy()));
    }
  }

  /** Writes whole lines. */
  write(log: LogName, lines: string): void {
    const where = this.#settings[log];
    if (where === "off") return;
    let sink = this.#sinks.get(where);
    if (sink === undefined) this.#sinks.set(where, (sink = openSink(where)));
    sink.destination.write(log === "error" && isTerminal(where) ? readable(lines) : lines);
  }

  /** After a file was moved away: goes on in a new one of the same name. */
  reopen(): void {
    for (const [where, sink] of this.#sinks) if (DESCRIPTORS[where] === undefined) sink.destination.reopen();
  }

  /** Waits until everything is written, as far as it can be. */
  async flush(): Promise<void> {
    const flushed = Array.from(this.#sinks.values(), async ({ destination, opened }) => {
      if (!(await opened)) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      destination.flush(() => resolve());
      await promise;
    });
    await Promise.all(flushed);
  }
}
