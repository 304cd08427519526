import { defineConfig } from "tsup";
import { onNode } from "../../tsup.base.ts";

export default defineConfig({
  ...onNode,
  entry: ["src/index.ts", "src/control.ts", "src/worker.ts", "src/bin.ts"],
  // In our files instead of their own hundred, and of zod what is used: 30 ms of every start. Types still come from them.
  noExternal: ["commander", "zod"],
});
