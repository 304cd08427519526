import type { Logger } from "../context.ts";

/** A logger for when none is given: one JSON object a line through `console`, which every platform has. */
export function consoleLogger(bindings: Record<string, unknown> = {}): Logger {
  const at = (level: "debug" | "info" | "warn" | "error"): Logger["info"] => {
    return (fields: object | string, message?: string): void => {
      const given = typeof fields === "string" ? { msg: fields } : { ...fields, msg: message };
      console[level](JSON.stringify({ level, time: Date.now(), ...bindings, ...given }, printable));
    };
  };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: (more) => consoleLogger({ ...bindings, ...more }),
  };
}

function printable(_key: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  const { name, message, stack, cause } = value;
  const code = (value as { code?: unknown }).code;
  return { name, message, code, stack, cause };
}

/** A logger that writes nothing. */
export function silentLogger(): Logger {
  const nothing = (): void => {};
  const logger: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => logger };
  return logger;
}
