import { defineConfig } from "tsup";
import { onNode } from "../../tsup.base.ts";

export default defineConfig({
  ...onNode,
  entry: ["src/index.ts", "src/bin.ts"],
});
