#!/usr/bin/env node
/** The command `portico-server`. Compiled code is kept for the next start before anything large is loaded. */
import { enableCompileCache } from "@portico/supervisor/compile-cache";

enableCompileCache();
const [word, ...rest] = process.argv.slice(2);
const { isControlCommand } = await import("./control/commands.ts");
if (isControlCommand(word)) {
  // Commands to a running server need next to nothing of what a server needs.
  const { controlMain } = await import("./control/main.ts");
  process.exitCode = await controlMain("portico-server", word, rest);
} else {
  const { main } = await import("./cli.ts");
  process.exitCode = await main(process.argv.slice(2), process.env);
}
