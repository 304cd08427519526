/**
 * Everything that must hold before a change lands, in one table. `npm test` runs all of it;
 * `pnpm check format lint` runs the named steps only. Steps run in order and all are reported;
 * the exit code is 1 when any failed.
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const packages = globSync("packages/*/package.json", { cwd: root }).map((file) => file.replace("/package.json", ""));

const steps: Record<string, readonly (readonly string[])[]> = {
  format: [["oxfmt", "--check", "."]],
  lint: [["oxlint", "--type-aware"]],
  imports: [["node", ".ci/import-law.ts"]],
  types: [
    ["tsc", "-b", ...packages],
    ["tsc", "-p", "test"],
    ["tsc", "-p", "apps/demo"],
  ],
  unused: [["knip"]],
  packages: [
    ["turbo", "run", "build", "--output-logs=errors-only", "--no-update-notifier"],
    ...packages.flatMap((folder) => [
      ["publint", "--strict", folder],
      ["attw", "--pack", folder, "--profile", "esm-only", "--quiet"],
    ]),
  ],
  tests: [["vitest", "run", "--config", "test/vitest.config.ts"]],
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in steps));
if (unknown.length > 0) {
  console.error(`check: unknown step ${unknown.join(", ")}; the steps are ${Object.keys(steps).join(", ")}`);
  process.exit(2);
}

const results: { name: string; ok: boolean; seconds: number }[] = [];
for (const [name, commands] of Object.entries(steps)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  console.log(`\n── ${name}`);
  const began = performance.now();
  let ok = true;
  for (const [command, ...args] of commands) {
    const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit", env: environment() });
    if (error) console.error(`check: ${command}: ${error.message}`);
    if (status !== 0) {
      console.error(`check: ${[command, ...args].join(" ")} failed`);
      ok = false;
    }
  }
  results.push({ name, ok, seconds: (performance.now() - began) / 1000 });
}

console.log("");
for (const { name, ok, seconds } of results)
  console.log(`${ok ? "ok    " : "FAILED"} ${name} (${seconds.toFixed(1)} s)`);
const failed = results.filter(({ ok }) => !ok).length;
console.log(`check: ${results.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

/** The tools of the workspace come first, so that every one of them runs on the workspace's own Node. */
function environment(): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PATH: `${root}node_modules/.bin:${process.env["PATH"]}`,
    TURBO_TELEMETRY_DISABLED: "1",
    NO_UPDATE_NOTIFIER: "1",
  };
}
