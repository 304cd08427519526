import { defineConfig } from "tsup";
import { onNode } from "../../tsup.base.ts";

export default defineConfig({
  ...onNode,
  entry: [
    "src/index.ts",
    "src/child.ts",
    "src/compile-cache.ts",
    "src/control-folder.ts",
    "src/exit-codes.ts",
    "src/nearest.ts",
    "src/predecessor.ts",
    "src/watchdog.ts",
  ],
});
