/** The file that says which process is the master. */
import { link, readFile, unlink, writeFile } from "node:fs/promises";
import { SupervisorError } from "./errors.ts";
import { processState } from "./process-state.ts";

export interface PidFile {
  readonly path: string;
  /** Removes the file, if it still names this process. */
  remove(): Promise<void>;
}

async function readPid(path: string): Promise<number | undefined> {
  const pid = Number.parseInt(await readFile(path, "utf8").catch(() => ""), 10);
  return Number.isInteger(pid) && pid > 0 ? pid : undefined;
}

/** Writes this process's pid, whole or not at all. Throws {@link SupervisorError} `pid_file_in_use` while the process that an existing file names still runs; a stale file is replaced. */
export async function writePidFile(path: string): Promise<PidFile> {
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
  return {
    path,
    async remove() {
      if ((await readPid(path)) === process.pid) await unlink(path).catch(() => {});
    },
  };
}
