/** Who children run as. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { SupervisorError } from "./errors.ts";

export interface Identity {
  readonly uid: number;
  readonly gid: number;
  /** Name of the user, who may be in more groups than `gid`; undefined for a number that nobody has. */
  readonly user?: string | undefined;
}

const run = promisify(execFile);
const NUMBER = /^\d+$/;

async function ask(program: string, args: readonly string[], what: string): Promise<string> {
  try {
    return (await run(program, args)).stdout.trim();
  } catch (error) {
    throw new SupervisorError("identity_unknown", `${what} is not known on this machine`, { cause: error });
  }
}

async function groupId(group: string): Promise<number> {
  if (NUMBER.test(group)) return Number(group);
  const entry = await ask("getent", ["group", group], `the group "${group}"`);
  return Number(entry.split(":")[2]);
}

/** The user's name, for its supplementary groups; undefined for a number that nobody has. */
async function userName(user: string): Promise<string | undefined> {
  return NUMBER.test(user) ? await ask("id", ["-un", "--", user], user).catch(() => undefined) : user;
}

/** Looks a user and a group up, by name or number; without a group, the user's own. Throws {@link SupervisorError} `identity_unknown`. */
export async function findIdentity(user: string, group?: string): Promise<Identity> {
  const what = `the user "${user}"`;
  const uid = NUMBER.test(user) ? Number(user) : Number(await ask("id", ["-u", "--", user], what));
  const gid = group === undefined ? Number(await ask("id", ["-g", "--", user], what)) : await groupId(group);
  return { uid, gid, user: await userName(user) };
}
