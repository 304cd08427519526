import { defineConfig } from "vitest/config";

// Everything runs from `src`: the private condition leads every import of a workspace package to its sources.
// Vitest hands these to Node as well: `import` or `module` among them would make `require` load ES modules, which
// breaks CommonJS packages (Express among them).
const conditions = ["@portico/source", "node"];
const shared = {
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
};

export default defineConfig({
  ...shared,
  root: new URL("..", import.meta.url).pathname,
  test: {
    execArgv: ["--conditions=@portico/source"],
    pool: "forks",
    maxWorkers: 2,
    projects: [
      {
        ...shared,
        test: {
          name: "unit",
          include: ["packages/*/src/**/*.test.ts", "apps/*/src/**/*.test.ts"],
          execArgv: ["--conditions=@portico/source"],
          testTimeout: 20_000,
        },
      },
      {
        ...shared,
        test: {
          name: "suite",
          include: ["test/suite/**/*.test.ts"],
          execArgv: ["--conditions=@portico/source"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
