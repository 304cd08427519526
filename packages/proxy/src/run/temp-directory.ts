/** The proxy's private folder for bodies that do not fit into memory. */
import { mkdir, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processSpace, processState } from "@portico/supervisor";

const PREFIX = "portico-proxy-";

/**
 * Makes the folder of this process, readable by nobody else, below `base`; removes those that a killed one left.
 * Whoever calls it removes it with {@link removeTempDirectory}.
 */
export async function makeTempDirectory(base: string = tmpdir()): Promise<string> {
  await mkdir(base, { recursive: true });
  const space = processSpace(); // of another container, that shares the folder, nobody here can say who lives
  const own = new RegExp(`^${PREFIX}(\\d+)-[^-]+-${space}$`);
  for (const name of await readdir(base)) {
    const pid = Number(own.exec(name)?.[1] ?? Number.NaN);
    if (Number.isInteger(pid) && processState(pid) === "gone")
      await rm(join(base, name), { recursive: true, force: true }).catch(() => {});
  }
  const path = join(base, `${PREFIX}${process.pid}-${Math.random().toString(36).slice(2, 10)}-${space}`);
  await mkdir(path, { mode: 0o700 });
  return path;
}

export async function removeTempDirectory(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}
