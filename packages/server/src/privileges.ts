/** Who the workers are, looked up by the master. Each of them becomes it before it loads anything of the application. */
import { closeSync, constants, fchownSync, openSync } from "node:fs";
import { SupervisorError, findIdentity } from "@portico/supervisor";
import type { Identity } from "@portico/supervisor";
import { PorticoServerError } from "./error.ts";
import type { ResolvedConfig } from "./settings.ts";

/**
 * Undefined: as the master.
 * @throws PorticoServerError `identity`: there is no such user or group, or this process may not become it
 */
export async function workerIdentity(config: ResolvedConfig): Promise<Identity | undefined> {
  const { user, group } = config;
  if (user === undefined && group === undefined) return undefined;
  const wanted = await lookUp(user ?? String(process.getuid?.()), group, user === undefined ? "group" : "user");
  if (process.geteuid?.() === 0) return wanted;
  if (wanted.uid === process.geteuid?.() && wanted.gid === process.getegid?.()) return undefined;
  const what = user === undefined ? `group ${group}` : `user ${user}`;
  throw new PorticoServerError(
    "identity",
    `${what}: only root may run workers as somebody else, and this is uid ${process.geteuid?.()}`,
  );
}

/**
 * @param owner `user`, `user:group` or `:group`, names or numbers
 * @throws PorticoServerError `identity`
 */
export async function socketOwner(owner: string | undefined): Promise<{ uid: number; gid: number } | undefined> {
  if (owner === undefined) return undefined;
  const [user = "", group = "", more] = owner.split(":");
  if (more !== undefined || (user === "" && group === ""))
    throw new PorticoServerError("identity", `owner ${owner}: must be user, user:group or :group`);
  const { uid, gid } = await lookUp(
    user === "" ? String(process.geteuid?.()) : user,
    group === "" ? undefined : group,
    "owner",
  );
  return { uid, gid };
}

async function lookUp(user: string, group: string | undefined, setting: string): Promise<Identity> {
  try {
    return await findIdentity(user, group);
  } catch (error) {
    if (!(error instanceof SupervisorError)) throw error;
    throw new PorticoServerError("identity", `${setting}: ${error.message}`, { cause: error });
  }
}

/** What the owner of a log file and its group may do; others have no business in it. */
const LOG_MODE = 0o640;

/**
 * Makes log files that are not there yet, and gives them to the workers, who write to them too. One that is there is
 * left as it is: its owner, or a link in its place, is the operator's choice or somebody's trap.
 */
export function makeLogFiles({ logFile, accessLog }: ResolvedConfig, identity: Identity | undefined): void {
  if (identity === undefined) return;
  for (const file of [logFile, accessLog]) {
    if (file === undefined || file === "-") continue;
    try {
      const fd = openSync(file, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, LOG_MODE);
      fchownSync(fd, identity.uid, identity.gid);
      closeSync(fd);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") continue;
      throw new PorticoServerError(
        "config",
        `log file ${file}: ${error instanceof Error ? error.message : String(error)}`,
        {
          cause: error,
        },
      );
    }
  }
}
