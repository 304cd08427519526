/**
 * Hashed assets: `assets/style.css` becomes `dist/assets/style.<hash>.css`, so that browsers may keep it for ever.
 * The front serves the folder; the application only needs the names, from the manifest beside it.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";

const source = join(import.meta.dirname, "../assets");
const target = join(import.meta.dirname, "../dist/public");
const manifestFile = join(import.meta.dirname, "../dist/assets.json");

export const publicFolder: string = target;

/**
 * Copies every asset under its hashed name; returns the manifest, plain name to URL path. Files that are there stay
 * untouched, so that a stack that runs from this folder is not disturbed.
 */
export function buildAssets(): Record<string, string> {
  const folder = join(target, "assets");
  mkdirSync(folder, { recursive: true });
  const manifest: Record<string, string> = {};
  const names = new Set<string>();
  for (const name of readdirSync(source).toSorted()) {
    const bytes = readFileSync(join(source, name));
    const extension = extname(name);
    const hashed = `${name.slice(0, -extension.length)}.${createHash("sha256").update(bytes).digest("hex").slice(0, 10)}${extension}`;
    names.add(hashed);
    manifest[name] = `/assets/${hashed}`;
    if (!existsSync(join(folder, hashed))) writeWhole(join(folder, hashed), bytes);
  }
  for (const name of readdirSync(folder)) if (!names.has(name)) rmSync(join(folder, name), { force: true });
  writeWhole(manifestFile, JSON.stringify(manifest, null, 2));
  return manifest;
}

/** Nobody reads half of it. */
function writeWhole(file: string, content: string | Uint8Array): void {
  const aside = join(dirname(target), `.${basename(file)}.${process.pid}`);
  writeFileSync(aside, content);
  renameSync(aside, file);
}

/** Names by the last build; builds where there was none. */
export function assetNames(): Record<string, string> {
  try {
    return JSON.parse(readFileSync(manifestFile, "utf8")) as Record<string, string>;
  } catch {
    return buildAssets();
  }
}
