/** What is written, where, and in which form. */
import * as z from "zod";
import { row } from "./row.ts";

export const logging = {
  logLevel: row(z.enum(["debug", "info", "warn", "error", "silent"]).default("info"), {
    flags: "--log-level <level>",
    from: "text",
    about: "Least level that is logged.",
    changes: "reload",
  }),
  logFile: row(z.string().min(1).default("-"), {
    flags: "--log-file <file>",
    from: "text",
    about: "Where the log goes; `-` is standard error. Reopened on SIGUSR1.",
    changes: "restart",
  }),
  logFormat: row(z.enum(["auto", "json", "text"]).default("auto"), {
    flags: "--log-format <format>",
    from: "text",
    about: "`json`, `text` for people, or `auto`: text on a terminal, else JSON.",
    changes: "restart",
  }),
  accessLog: row(z.string().min(1).optional(), {
    flags: "--access-log <file>",
    from: "text",
    about: "One line per request, to a file or `-` (standard output). Off where it is not given. Reopened on SIGUSR1.",
    changes: "reload",
  }),
  accessLogFormat: row(z.enum(["json", "combined"]).default("json"), {
    flags: "--access-log-format <format>",
    from: "text",
    about:
      "`json`, or `combined`: the line of nginx and Apache, with the duration in seconds and the request's id behind.",
    changes: "reload",
  }),
  captureOutput: row(z.boolean().default(false), {
    flags: "--capture-output",
    from: "switch",
    about:
      "What the application prints becomes lines of the log, each with its worker; else it goes where the server's own output goes.",
    changes: "restart",
  }),
} as const;
