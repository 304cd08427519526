/**
 * A private folder for the sockets between the tiers: made at start, removed at the end.
 *
 * Its name carries the process id and the space that ids are counted in, so that a folder left behind by a `kill -9` is
 * recognised and removed by the next start of anyone with the right to.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processSpace, processState } from "@portico/supervisor";
import { PorticoError } from "./error.ts";

const NAME = /^portico-(\d+)\.(\d+)-[A-Za-z0-9]{6}$/;

export interface RuntimeFolder {
  readonly path: string;
  remove(): void;
}

/** @throws {PorticoError} `runtime-folder` when it cannot be made */
export function makeRuntimeFolder(parent: string = process.env["XDG_RUNTIME_DIR"] ?? tmpdir()): RuntimeFolder {
  removeStale(parent);
  try {
    const path = mkdtempSync(join(parent, `portico-${process.pid}.${processSpace()}-`)); // mode 0700
    return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PorticoError(
      "runtime-folder",
      `no folder for the sockets between the tiers could be made in ${parent}: ${reason}`,
      { cause },
    );
  }
}

function removeStale(parent: string): void {
  let names: string[];
  try {
    names = readdirSync(parent);
  } catch {
    return; // mkdtemp will say what is wrong with it
  }
  for (const name of names) {
    const [, pid, space] = NAME.exec(name) ?? [];
    // Of another container, that shares the parent, nobody here can say who lives.
    if (pid === undefined || space !== processSpace() || processState(Number(pid)) !== "gone") continue;
    try {
      rmSync(join(parent, name), { recursive: true, force: true });
    } catch {
      // Somebody else's; theirs to remove.
    }
  }
}
