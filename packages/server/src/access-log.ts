/** One line per request, where it was asked for. What is in it: `@portico/gateway/access-line`. */
import { closeSync, openSync } from "node:fs";
import { combinedLine, jsonLine, roundMs } from "@portico/gateway/access-line";
import type { destination } from "pino";
import { PorticoServerError } from "./error.ts";
import { pino } from "./lazy-pino.ts";
import type { OnServed } from "./served-exchange.ts";

const STDOUT_FD = 1;
/** Bytes gathered before they are written: one system call for some 30 lines. */
const GATHER_BYTES = 8_192;
/** Beyond it lines are dropped rather than memory filled: the disk or pipe has stopped taking them. */
const MOST_WAITING_BYTES = 16 * 1024 * 1024;
/** A line is on disk at most so late, milliseconds. */
const FLUSH_MS = 1_000;

/** Writes lines; `-` is standard output. */
export class AccessLog {
  readonly #sink: ReturnType<typeof destination>;
  readonly #file: string;
  readonly #timer: NodeJS.Timeout;
  /** Writes the line of an exchange that has ended. */
  readonly onServed: OnServed;

  /** @throws PorticoServerError `config` where the file cannot be written */
  constructor(file: string, format: "json" | "combined", worker: number) {
    if (file !== "-") checkWritable(file);
    this.#file = file;
    this.#sink = pino().destination({
      ...(file === "-" ? { fd: STDOUT_FD } : { dest: file }),
      sync: false,
      minLength: GATHER_BYTES,
      maxLength: MOST_WAITING_BYTES,
    });
    this.#sink.on("error", () => {}); // a full disk must not end the worker
    this.#timer = setInterval(() => this.#sink.flush(), FLUSH_MS).unref();
    this.onServed =
      format === "combined"
        ? (exchange, _ending, durationMs) => void this.#sink.write(combinedLine(exchange, durationMs))
        : (exchange, ending, durationMs) =>
            void this.#sink.write(
              jsonLine(
                exchange,
                ending,
                durationMs,
                `,"queuedMs":${roundMs(exchange.facts.queuedMs)},"worker":${worker}`,
              ),
            );
  }

  reopen(): void {
    if (this.#file !== "-") this.#sink.reopen();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#sink.flushSync();
  }
}

/** The sink opens its file later, when nobody can be told any more. */
function checkWritable(file: string): void {
  try {
    closeSync(openSync(file, "a"));
  } catch (error) {
    throw new PorticoServerError(
      "config",
      `accessLog ${file}: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}
