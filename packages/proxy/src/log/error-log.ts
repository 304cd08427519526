/** The error log: JSON by pino, one object a line. */
import pino from "pino";
import type { LogSettings } from "../config/schema.ts";
import type { ProxyLog } from "../deps.ts";

/** @param write takes whole lines */
export function createErrorLog(
  settings: LogSettings,
  fields: Record<string, unknown>,
  write: (line: string) => void,
): ProxyLog {
  const level = settings.error === "off" ? "silent" : settings.level;
  return pino(
    {
      level,
      base: fields,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: pino.stdSerializers.err },
    },
    { write },
  );
}
