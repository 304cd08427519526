/** What is run. */
import * as z from "zod";
import { row } from "./row.ts";

export const application = {
  $schema: row(z.string().optional(), {
    from: "text",
    about: "JSON Schema of the file, for editors.",
    changes: "reload",
  }),
  app: row(z.string().min(1).optional(), {
    from: "text",
    about:
      "The application: a file (`app.ts`), a package name, either with `:export` or `:factory()`. On the command line it is the argument.",
    changes: "reload",
  }),
  interface: row(z.enum(["auto", "tsgi", "node"]).default("auto"), {
    flags: "--interface <kind>",
    from: "text",
    about:
      "How an exported plain function is called: `tsgi` (request, ctx), `node` (req, res), or `auto`: `node` if it takes three parameters or its second one is named `res` or `response`, else `tsgi`.",
    changes: "reload",
  }),
  chdir: row(z.string().min(1).optional(), {
    flags: "--chdir <folder>",
    from: "text",
    about: "Working folder of the workers, and what MODULE and relative socket paths are relative to.",
    changes: "restart",
  }),
  env: row(z.record(z.string().regex(/^[A-Za-z_]\w*$/, "is no name of a variable"), z.string()).default({}), {
    flags: "-e, --env <NAME=value>",
    from: "record",
    about: "Environment variable for the workers, added to the master's own. Repeatable.",
    changes: "reload",
  }),
  compileCache: row(z.union([z.boolean(), z.string().min(1)]).default(true), {
    flags: "--compile-cache <folder>",
    from: "text",
    about:
      "Where Node keeps compiled code for the workers' next start: a folder that only the workers' user may write to, `true` (`portico/compile` in the user's cache folder), or `false`.",
    changes: "reload",
  }),
  reload: row(z.boolean().default(false), {
    flags: "--reload",
    from: "switch",
    about:
      "For development: the workers are replaced when a file that they have loaded changes, and what the application throws is shown in the browser with its source line.",
    changes: "restart",
  }),
  reloadExtra: row(z.array(z.string().min(1)).default([]), {
    flags: "--reload-extra <path>",
    from: "list",
    about: "Further file or folder that --reload watches. Repeatable.",
    changes: "restart",
  }),
} as const;
