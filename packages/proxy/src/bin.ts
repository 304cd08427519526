#!/usr/bin/env node
/** The command `portico-proxy`. Compiled code is kept for the next start before anything large is loaded. */
import { enableCompileCache } from "@portico/supervisor/compile-cache";

enableCompileCache();
const { main } = await import("./command.ts");
process.exitCode = await main(process.argv.slice(2));
