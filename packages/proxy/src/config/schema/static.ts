/** `static` of a route: how files are served. */
import { z } from "zod";
import { duration, size } from "../units.ts";

export const files = z.strictObject({
  root: z.string().min(1).meta({ description: "Directory, relative to the configuration file." }),
  index: z
    .array(z.string().min(1))
    .prefault(["index.html"])
    .meta({ description: "Files that answer for a directory, the first that exists." }),
  stripPrefix: z.boolean().prefault(true).meta({
    description:
      "Whether the route's prefix is removed before the path is looked up: `/assets/a.css` of route `/assets/*` is `a.css` in the root.",
  }),
  tryFiles: z.array(z.string().min(1)).prefault(["$path"]).meta({
    description:
      'Paths tried in turn, `$path` being the request\'s: `["$path", "$path.html", "/index.html"]` serves a single-page application. The last may be a status, `=404`.',
  }),
  cacheControl: z
    .union([z.string(), z.record(z.string().min(1), z.string())])
    .optional()
    .meta({
      description:
        'Cache-Control of the files, or a value for each pattern of names, the first that matches: `{"*.html": "no-cache", "assets/**": "immutable"}`; a pattern with a slash is compared with the path below the root. `immutable` gives files with a hash in their name a year (`public, max-age=31536000, immutable`), all others `no-cache`.',
    }),
  precompressed: z
    .array(z.enum(["br", "zstd", "gzip"]))
    .prefault([])
    .meta({
      description:
        "Codings in which a file may lie beside itself (`app.js.br`, `.zst`, `.gz`), the preferred first. One that is older than its file is not used.",
    }),
  listing: z
    .boolean()
    .prefault(false)
    .meta({ description: "Lists a directory without index, as a page or as JSON, whichever Accept prefers." }),
  headers: z.record(z.string(), z.string()).optional().meta({ description: "Fields added to every file." }),
  dotfiles: z
    .boolean()
    .prefault(false)
    .meta({ description: "Whether names that begin with a dot are served (`.well-known` always is)." }),
  symlinks: z
    .enum(["inside", "any"])
    .prefault("inside")
    .meta({ description: "Symbolic links: followed only to places inside the root, or anywhere." }),
  fallthrough: z
    .boolean()
    .prefault(false)
    .meta({ description: "A file that is not there passes the request on to the next matching route instead of 404." }),
});

export const staticCache = z
  .strictObject({
    size: size.prefault("64MiB").meta({ description: "Memory for small files, all threads together; 0: none." }),
    file: size.prefault("1MiB").meta({ description: "Largest file that is kept." }),
    check: duration
      .prefault("1s")
      .meta({ description: "How long a kept file is believed before its change time is looked at again." }),
  })
  .prefault({})
  .meta({ description: "Small files kept in memory." });
