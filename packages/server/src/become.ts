/** In the worker: who it is from here on. */
import type { Identity } from "@portico/supervisor";
import { PorticoServerError } from "./error.ts";

/** Documented by Node, and missing in its types. */
type Initgroups = NodeJS.Process & { initgroups(user: string | number, extraGroup: number): void };

/**
 * In the worker: gives up root for good, with the user's own supplementary groups and no others.
 * @throws PorticoServerError `identity` where the system refuses, or would let it back
 */
export function become({ uid, gid, user }: Identity): void {
  try {
    if (user === undefined) process.setgroups!([gid]);
    else (process as Initgroups).initgroups(user, gid);
    process.setgid!(gid);
    process.setuid!(uid);
  } catch (error) {
    throw new PorticoServerError("identity", `the worker cannot become uid ${uid}, gid ${gid}: ${String(error)}`, {
      cause: error,
    });
  }
  if (uid !== 0 && mayBeRoot())
    throw new PorticoServerError("identity", `the worker became uid ${uid}, and could still become root again`);
}

function mayBeRoot(): boolean {
  try {
    process.setuid!(0);
    return true;
  } catch {
    return false;
  }
}
