/** The file that says which process is the master. */
import { link, readFile, rename, unlink, writeFile } from "node:fs/promises";
import { SupervisorError } from "./errors.ts";
import { predecessor } from "./predecessor.ts";
import { processState } from "./process-state.ts";

/** gunicorn's: the new master's file, until it is the only one. */
const SECOND = ".2";

export interface PidFile {
  readonly path: string;
  /** Removes the file, if it still names this process. */
  remove(): Promise<void>;
}

async function readPid(path: string): Promise<number | undefined> {
  const pid = Number.parseInt(await readFile(path, "utf8").catch(() => ""), 10);
  return Number.isInteger(pid) && pid > 0 ? pid : undefined;
}

/**
 * Writes this process's pid, whole or not at all. Throws {@link SupervisorError} `pid_file_in_use` while the process that
 * an existing file names still runs; a stale file is replaced. While a predecessor runs, which has the file, it is
 * `PATH.2`; it becomes `PATH` when that one is gone.
 */
export async function writePidFile(path: string): Promise<PidFile> {
  const before = predecessor();
  if (before === undefined || !before.alive) return await takePidFile(path);
  const second = await takePidFile(`${path}${SECOND}`);
  let file = second;
  const moved = before.gone.then(async () => {
    if ((await readPid(second.path)) !== process.pid) return; // removed meanwhile
    await rename(second.path, path);
    file = { path, remove: () => removePidFile(path) };
  });
  moved.catch(() => {}); // the folder is not to be written to any more: the second name stays
  return {
    get path() {
      return file.path;
    },
    remove: () => file.remove(),
  };
}

async function takePidFile(path: string): Promise<PidFile> {
  const beside = `${path}.${process.pid}`;
  await writeFile(beside, `${process.pid}\n`, { mode: 0o644 });
  try {
    await link(beside, path).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
      const holder = await readPid(path);
      if (holder !== undefined && holder !== process.pid && processState(holder) !== "gone") {
        throw new SupervisorError("pid_file_in_use", `${path} belongs to process ${holder}, which is running`, {
          cause: error,
        });
      }
      await unlink(path);
      await link(beside, path);
    });
  } finally {
    await unlink(beside);
  }
  return { path, remove: () => removePidFile(path) };
}

async function removePidFile(path: string): Promise<void> {
  if ((await readPid(path)) === process.pid) await unlink(path).catch(() => {});
}
