/** Looked for in the working folder, in this order, where `--config` does not name a file. */
export const CONFIG_FILES: readonly string[] = [
  "server.config.ts",
  "server.config.js",
  "server.config.mjs",
  "server.config.cjs",
  "server.config.json",
];
