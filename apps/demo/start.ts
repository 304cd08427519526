/**
 * `npm start`: the demo behind both tiers. The front serves the hashed assets itself, everything else comes from the
 * application's workers over the link.
 *
 * PORT (8080), HOST (127.0.0.1), WORKERS (2) and DEMO_DATA (a folder) may be set in the environment.
 */
import { join } from "node:path";
import { run } from "portico";
import { buildAssets, publicFolder } from "./src/assets.ts";

buildAssets();
const { PORT = "8080", HOST = "127.0.0.1", WORKERS = "2" } = process.env;
await run([
  "serve",
  join(import.meta.dirname, "src/app.ts"),
  "--listen",
  `${HOST}:${PORT}`,
  "--workers",
  WORKERS,
  "--static",
  publicFolder,
]);
