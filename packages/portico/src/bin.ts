#!/usr/bin/env node
/** The command `portico`. Compiled code is kept for the next start before anything large is loaded. */
import { enableCompileCache } from "@portico/supervisor/compile-cache";

enableCompileCache();
const [word, ...rest] = process.argv.slice(2);
const control = word === "serve" ? undefined : await import("@portico/server/control");
if (control?.isControlCommand(word)) {
  process.exitCode = await control.controlMain("portico", word, rest);
} else {
  const { run } = await import("./run.ts");
  await run(process.argv.slice(2));
}
