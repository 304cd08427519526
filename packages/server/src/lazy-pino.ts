/** pino, loaded when something is first written: it takes some 10 ms, and a start that goes well has little to say. */
import { createRequire } from "node:module";
import type * as Pino from "pino";
import type { Logger } from "@portico/gateway";

const require = createRequire(import.meta.url);
const RANKS = { debug: 0, info: 1, warn: 2, error: 3, silent: 4 } as const;

export type Level = keyof typeof RANKS;

export function pino(): typeof Pino {
  return require("pino") as typeof Pino;
}

/** A logger that asks for the real one with the first line that its level lets through, or the first child. */
export function lazyLogger(level: () => Level, real: () => Logger): Logger {
  const method =
    (name: Exclude<Level, "silent">) =>
    (fields: object | string, message?: string): void => {
      if (RANKS[name] >= RANKS[level()]) real()[name](fields as object, message);
    };
  return {
    debug: method("debug"),
    info: method("info"),
    warn: method("warn"),
    error: method("error"),
    child: (bindings) => real().child(bindings),
  };
}
