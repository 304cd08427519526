import { rmdirSync } from "node:fs";

/** Removes a folder that nothing is in any more; one with something in it stays, and one that is not there is no mistake. */
export function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Somebody still has something there, or it was never made.
  }
}
