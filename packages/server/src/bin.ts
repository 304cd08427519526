#!/usr/bin/env node
/** The command `portico-server`. Compiled code is kept for the next start before anything large is loaded. */
import { enableCompileCache } from "@portico/supervisor/compile-cache";

enableCompileCache();
const { main } = await import("./cli.ts");
process.exitCode = await main(process.argv.slice(2), process.env);
