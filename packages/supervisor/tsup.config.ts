import { defineConfig } from "tsup";

// Types come from `tsc`: tsup's own `dts` needs a compiler API that TypeScript 7 does not have yet.
export default defineConfig({
  entry: ["src/index.ts", "src/child.ts", "src/exit-codes.ts", "src/nearest.ts", "src/watchdog.ts"],
  format: ["esm"],
  target: "node24",
  platform: "node",
  sourcemap: true,
  dts: false,
  clean: true,
});
