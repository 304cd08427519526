/**
 * Where compiled code is kept between starts: a folder that nobody else can write to.
 *
 * Node's own default lies in the folder for temporary files under a name that anybody can guess. Whoever makes it first
 * owns it, and what lies in it is run as code; so this folder is the user's alone, or there is none.
 */
import { chownSync, lstatSync, mkdirSync } from "node:fs";
import { enableCompileCache as enableIn } from "node:module";
import { homedir, tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";

/** Everybody's permissions but the owner's to write. */
const WRITABLE_BY_OTHERS = 0o022;

/**
 * The folder for a user, made where it is not there: `NODE_COMPILE_CACHE` where the operator has set it (its safety is
 * theirs), else `portico/compile` in the user's cache folder, else one of the user's own in the folder for temporary
 * files. Undefined where neither can be had safely, or `NODE_DISABLE_COMPILE_CACHE` is set: then nothing is kept.
 *
 * @param uid of the process that will use it, where that is not this one's: a user to whom privileges are dropped
 */
export function compileCacheFolder(env: NodeJS.ProcessEnv = process.env, uid?: number): string | undefined {
  if (env["NODE_DISABLE_COMPILE_CACHE"] === "1") return undefined;
  const chosen = env["NODE_COMPILE_CACHE"];
  if (chosen !== undefined && chosen !== "") return chosen;
  const own = process.geteuid?.();
  const owner = uid ?? own;
  const places = owner === own ? [cacheHome(env)] : []; // another user's home is not known
  places.push(join(tmpdir(), `portico-${owner ?? "user"}`));
  for (const place of places) {
    const folder = place && privateFolder(place, owner, own);
    if (folder) return folder;
  }
  return undefined;
}

/** Lets this process keep its compiled code there. To be called before anything large is loaded. */
export function enableCompileCache(): void {
  const folder = compileCacheFolder();
  if (folder !== undefined) enableIn(folder);
}

/** `XDG_CACHE_HOME`, else `.cache` in the home folder; undefined where there is none. */
function cacheHome(env: NodeJS.ProcessEnv): string | undefined {
  const given = env["XDG_CACHE_HOME"];
  if (given !== undefined && isAbsolute(given)) return join(given, "portico");
  try {
    const home = env["HOME"] ?? homedir();
    return isAbsolute(home) && home !== "/" && lstatSync(home).isDirectory()
      ? join(home, ".cache", "portico")
      : undefined;
  } catch {
    return undefined;
  }
}

/** `compile` in a folder that belongs to the owner, is no link, and that no one else may write to; undefined where it is not so. */
function privateFolder(parent: string, owner: number | undefined, own: number | undefined): string | undefined {
  const folder = join(parent, "compile");
  try {
    for (const path of [parent, folder]) {
      const made = mkdirSync(path, { recursive: true, mode: 0o700 });
      if (made !== undefined && owner !== undefined && owner !== own) chownSync(path, owner, -1);
      if (!isPrivate(path, owner)) return undefined;
    }
    return folder;
  } catch {
    return undefined; // a read-only or full disk, a file in its place: the start is slower, and that is all
  }
}

function isPrivate(path: string, owner: number | undefined): boolean {
  const facts = lstatSync(path);
  if (!facts.isDirectory()) return false;
  return owner === undefined || (facts.uid === owner && (facts.mode & WRITABLE_BY_OTHERS) === 0);
}
