import { defineConfig } from "tsup";
import { onNode } from "../../tsup.base.ts";

export default defineConfig({
  ...onNode,
  entry: [
    "src/index.ts",
    "src/exchange.ts",
    "src/host.ts",
    "src/node.ts",
    "src/adapters.ts",
    "src/lint.ts",
    "src/conformance.ts",
    "src/reference.ts",
    "src/address.ts",
    "src/read-into.ts",
    "src/access-line.ts",
    "src/watched-exchange.ts",
  ],
});
