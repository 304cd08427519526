/**
 * From a path to a file inside the root, or to the reason why there is none.
 *
 * Nothing outside of the root is ever opened: the path comes without dot segments (`router/path.ts`), symbolic links
 * are resolved before the file is opened, the resolved file must lie below the resolved root, it is opened without
 * following a link, without waiting (a FIFO would), and must then be a regular file. Devices, sockets, FIFOs and
 * hidden names are as good as absent.
 */
import { constants, type Stats } from "node:fs";
import { type FileHandle, open, realpath, stat } from "node:fs/promises";
import { sep } from "node:path";

export interface LocateRules {
  /** Absolute. */
  readonly root: string;
  readonly index: readonly string[];
  readonly dotfiles: boolean;
  readonly symlinks: "inside" | "any";
}

/**
 * `directory`: it is one, and was asked for without the final slash. `unlisted`: it is one, and has no index.
 * `forbidden`: it exists and may not be read.
 */
export type Located =
  | {
      readonly kind: "file";
      /** Below the root, the name of the index included. */
      readonly path: string;
      /** Where it really is. */
      readonly real: string;
      readonly stats: Stats;
    }
  | { readonly kind: "directory"; readonly stats: Stats }
  | { readonly kind: "unlisted" | "absent" | "forbidden" | "busy" };

const ABSENT: Located = { kind: "absent" };

const FAILURES: Readonly<Record<string, Located>> = {
  EACCES: { kind: "forbidden" },
  EPERM: { kind: "forbidden" },
  EMFILE: { kind: "busy" },
  ENFILE: { kind: "busy" },
  ENOMEM: { kind: "busy" },
  EIO: { kind: "busy" },
};

/** What a failed system call says about a file. */
export function failure(error: unknown): Located {
  return FAILURES[(error as NodeJS.ErrnoException).code ?? ""] ?? ABSENT;
}

/** A segment that begins with a dot, save `.well-known` (RFC 8615). */
const HIDDEN = /\/\.(?!well-known(?:\/|$))/;

async function inspect(below: string, rules: LocateRules): Promise<Located> {
  try {
    const real = await realpath(rules.root + below);
    if (rules.symlinks === "inside") {
      // The root is resolved each time: a deployment may switch what it points to.
      const root = await realpath(rules.root);
      if (real !== root && !real.startsWith(root.endsWith(sep) ? root : root + sep)) return ABSENT;
    }
    const stats = await stat(real);
    if (stats.isDirectory()) return { kind: "directory", stats };
    return stats.isFile() ? { kind: "file", path: below, real, stats } : ABSENT;
  } catch (error) {
    return failure(error);
  }
}

/**
 * Finds the file of a path below the root.
 *
 * @param path in normal form, begins with a slash; one that ends in a slash asks for the directory's index
 */
export async function locate(path: string, rules: LocateRules): Promise<Located> {
  if (!rules.dotfiles && HIDDEN.test(path)) return ABSENT;
  if (!path.endsWith("/")) return inspect(path, rules);
  for (const name of rules.index) {
    const found = await inspect(path + name, rules);
    if (found.kind === "file" || found.kind === "forbidden" || found.kind === "busy") return found;
  }
  const directory = await inspect(path, rules);
  return directory.kind === "directory" ? { kind: "unlisted" } : directory.kind === "file" ? ABSENT : directory;
}

/** Opens a located file for reading. @throws what the system says; see {@link failure} */
export async function openRegular(real: string): Promise<{ handle: FileHandle; stats: Stats } | undefined> {
  // O_NOFOLLOW: the last name was resolved already and must not have become a link since. O_NONBLOCK: never wait.
  const handle = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stats = await handle.stat();
    if (stats.isFile()) return { handle, stats };
    await handle.close();
    return undefined;
  } catch (error) {
    await handle.close();
    throw error;
  }
}
