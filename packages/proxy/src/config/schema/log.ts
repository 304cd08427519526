/** `log`. */
import { z } from "zod";

export const log = z.strictObject({
  access: z
    .string()
    .min(1)
    .prefault("off")
    .meta({ description: "Access log, JSON, one line for each request: `off`, `stdout`, `stderr` or a file." }),
  error: z
    .string()
    .min(1)
    .prefault("stderr")
    .meta({ description: "Error log, JSON: `off`, `stdout`, `stderr` or a file." }),
  level: z
    .enum(["debug", "info", "warn", "error"])
    .prefault("info")
    .meta({ description: "Least level that is written to the error log." }),
});
