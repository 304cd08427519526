/** `--print-config`: what the server would work with, and where each value is from. */
import type { LoadedConfiguration } from "./configuration.ts";
import { SETTINGS } from "./settings.ts";

/** Shown in place of what nobody may read over a shoulder. */
const HIDDEN = "(hidden)";

/** JSON with a comment behind each line, for people. */
export function printableConfiguration(loaded: LoadedConfiguration): string {
  const lines = entriesOf(loaded).map(({ name, value, from }) => [
    `  ${JSON.stringify(name)}: ${JSON.stringify(value)},`,
    from,
  ]);
  const width = Math.min(MOST_WIDTH, Math.max(...lines.map(([text]) => text!.length)));
  return ["{", ...lines.map(([text, from]) => `${text!.padEnd(width)} // ${from}`), "}"].join("\n");
}

/** Comments of longer lines begin where the line ends. */
const MOST_WIDTH = 60;

/** `{ "workers": { "value": 2, "from": "command line" } }`, for machines. */
export function configurationJson(loaded: LoadedConfiguration): string {
  return JSON.stringify(
    Object.fromEntries(entriesOf(loaded).map(({ name, value, from }) => [name, { value, from }])),
    null,
    2,
  );
}

function entriesOf({ config, origins }: LoadedConfiguration): { name: string; value: unknown; from: string }[] {
  return SETTINGS.filter(({ name }) => config[name] !== undefined).map(({ name }) => ({
    name,
    value: name === "linkSecret" ? HIDDEN : config[name],
    from: origins[name] ?? (name === "linkSecret" ? "linkSecretFile" : "default"),
  }));
}
