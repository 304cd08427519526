#!/usr/bin/env node
/** The command `portico`. Compiled code is kept for the next start before anything large is loaded. */
import { enableCompileCache } from "@portico/supervisor/compile-cache";

enableCompileCache();
const { run } = await import("./run.ts");
await run(process.argv.slice(2));
