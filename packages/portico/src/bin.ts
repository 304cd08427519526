#!/usr/bin/env node
/** The command `portico`. Compiled code is kept for the next start before anything large is loaded. */
import { enableCompileCache } from "node:module";

enableCompileCache();
const { run } = await import("./run.ts");
await run(process.argv.slice(2));
