/**
 * Holds the direction of imports (ARCHITECTURE.md): a package may import only those named for it here,
 * only through their public entry points, and engines (`http1`, `link`) may reach no I/O outside `socket.ts`.
 */
import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

const mayImport: Record<string, readonly string[]> = {
  gateway: [],
  http1: ["gateway"],
  link: ["gateway"],
  supervisor: ["gateway"],
  server: ["gateway", "http1", "link", "supervisor"],
  proxy: ["gateway", "http1", "link", "supervisor"],
  portico: ["gateway", "proxy", "server", "supervisor"],
};

/** Engines take bytes and give events; sockets, files, clocks and processes stay outside. */
const engines = ["http1", "link"];
const inputOutput =
  /^node:(net|tls|http|https|http2|fs|dgram|child_process|cluster|worker_threads|timers|dns|process)(\/|$)/;

/** Names in those modules that are tables or pure functions. */
const pure = new Set(["isIP", "isIPv4", "isIPv6", "STATUS_CODES", "METHODS"]);

const breaches: string[] = [];
for (const [name, allowed] of Object.entries(mayImport)) {
  for (const file of globSync(`packages/${name}/src/**/*.ts`, { cwd: root })) {
    const test = file.endsWith(".test.ts") || file.includes("/fixtures/") || file.includes("/testing/");
    const text = readFileSync(root + file, "utf8");
    for (const match of text.matchAll(/(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+|\bresolve\(\s*)["']([^"']+)["']/g)) {
      const target = match[1];
      const line = text.slice(0, match.index).split("\n").length;
      const other = /^@portico\/([^/]+)/.exec(target)?.[1] ?? (/^portico(\/|$)/.test(target) ? "portico" : undefined);
      if (other !== undefined && other !== name && !allowed.includes(other) && !test) {
        breaches.push(
          `${file}:${line}: ${name} must not import ${other} (it may import: ${allowed.join(", ") || "nothing"})`,
        );
      }
      if (/^(\.\.\/)+(packages|apps|test)\//.test(target) || /^(\.\.\/){2,}[^.]*\/src\//.test(target)) {
        breaches.push(`${file}:${line}: ${target} reaches into another package; import its public entry point`);
      }
      const engine = engines.includes(name) && !test && !/\/src\/socket(\/|\.)/.test(file);
      if (engine && inputOutput.test(target) && !isHarmless(text, match.index)) {
        breaches.push(`${file}:${line}: an engine does no I/O, so it must not import ${target}`);
      }
    }
  }
}

for (const breach of breaches) console.error(breach);
console.log(`import law: ${breaches.length} breaches`);
process.exit(breaches.length === 0 ? 0 : 1);

/** Types only, or nothing but tables and pure functions. */
function isHarmless(text: string, index: number): boolean {
  const statement = text.slice(text.lastIndexOf("import", index + 6), index);
  if (statement.startsWith("import type")) return true;
  const names = /\{([^}]*)\}/
    .exec(statement)?.[1]
    .split(",")
    .map((name) => name.trim()) ?? ["*"];
  return names.every((name) => name === "" || name.startsWith("type ") || pure.has(name));
}
