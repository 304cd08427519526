/** What `MODULE` on the command line names: a file or package, and what to take from it. Loads nothing. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { createRequire, findPackageJSON } from "node:module";
import { readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { PorticoServerError } from "./error.ts";
import { suggestion } from "@portico/supervisor/nearest";

/** A MODULE that was found. */
export interface ModuleSpecifier {
  /** As it was written. */
  readonly written: string;
  /** Absolute path of the file to import. */
  readonly file: string;
  /** Name of the export to take, dots go deeper; undefined: whatever in the module is an application. */
  readonly exportName: string | undefined;
  /** The export is to be called, and what it returns is the application. */
  readonly factory: boolean;
}

/** Tried in this order where the name has no extension. */
const EXTENSIONS = [".ts", ".mts", ".cts", ".js", ".mjs", ".cjs"];
const INDEX_FILES = EXTENSIONS.map((extension) => `index${extension}`);
const EXPORT_PART = /:([A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*)(\(\))?$/;

/**
 * @param cwd folder that relative names start from, and whose node_modules packages come from
 * @throws PorticoServerError `app-missing`
 */
export function resolveModule(written: string, cwd: string): ModuleSpecifier {
  const part = EXPORT_PART.exec(written);
  const name = part === null ? written : written.slice(0, part.index);
  const file = findFile(name, cwd) ?? findPackage(name, cwd);
  if (file === undefined) throw notFound(name, cwd);
  return { written, file, exportName: part?.[1], factory: part?.[2] !== undefined };
}

function findFile(name: string, cwd: string): string | undefined {
  const path = resolve(cwd, name);
  if (isFile(path)) return path;
  const withExtension = EXTENSIONS.map((extension) => path + extension).find(isFile);
  if (withExtension !== undefined) return withExtension;
  if (!isFolder(path)) return undefined;
  return mainOf(path) ?? INDEX_FILES.map((index) => join(path, index)).find(isFile);
}

function mainOf(folder: string): string | undefined {
  const manifest = readManifest(join(folder, "package.json"));
  if (typeof manifest?.main !== "string") return undefined;
  const path = resolve(folder, manifest.main);
  return [path, ...EXTENSIONS.map((extension) => path + extension)].find(isFile);
}

/** A package by its name, as `import` from a module in `cwd` would find it. */
function findPackage(name: string, cwd: string): string | undefined {
  if (name.startsWith(".") || name.startsWith("/") || name === "") return undefined;
  const base = join(cwd, "portico-server.js");
  try {
    const found = createRequire(base).resolve(name);
    return isFile(found) ? found : undefined; // a built-in such as "http" is no application
  } catch {
    return importOnlyEntry(name, base);
  }
}

/** Packages whose exports have `import` and no `require` are invisible to require.resolve. */
function importOnlyEntry(name: string, base: string): string | undefined {
  let path: string | undefined;
  try {
    path = findPackageJSON(name, pathToFileURL(base));
  } catch {
    return undefined;
  }
  if (path === undefined) return undefined;
  const { exports } = readManifest(path) ?? {};
  const root = isRecord(exports) && "." in exports ? exports["."] : exports;
  const target = pickImport(root);
  const file = target === undefined ? undefined : resolve(dirname(path), target);
  return file !== undefined && isFile(file) ? file : undefined;
}

function pickImport(target: unknown): string | undefined {
  if (typeof target === "string") return target;
  if (!isRecord(target)) return undefined;
  for (const [condition, inner] of Object.entries(target))
    if (condition === "node" || condition === "import" || condition === "default") return pickImport(inner);
  return undefined;
}

function notFound(name: string, cwd: string): PorticoServerError {
  const folder = dirname(resolve(cwd, name));
  const wanted = basename(name);
  const files = isFolder(folder)
    ? readdirSync(folder).filter((file) => EXTENSIONS.some((end) => file.endsWith(end)))
    : [];
  const looksLikePath = name.startsWith(".") || name.startsWith("/") || EXTENSIONS.some((end) => name.endsWith(end));
  const where = looksLikePath
    ? `there is no file ${resolve(cwd, name)}`
    : `there is no file or package "${name}" in ${cwd}`;
  return new PorticoServerError("app-missing", `cannot find the application: ${where}${suggestion(wanted, files)}`);
}

function readManifest(path: string): { main?: unknown; exports?: unknown } | undefined {
  if (!existsSync(path)) return undefined;
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
