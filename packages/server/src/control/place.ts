/**
 * Where control sockets are: a private folder of the user, in it one socket for each master, named by process id. The
 * folder is the user's alone, so that nobody else can put a socket there that would answer in a server's stead.
 */
import { lstatSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PorticoServerError } from "../error.ts";

const OTHERS_MODE = 0o077;
const SOCKET_NAME = /^(\d+)\.sock$/;

/** `$XDG_RUNTIME_DIR/portico-server`, `/run/portico-server` for root, else one under the temporary folder. */
export function controlFolder(env: NodeJS.ProcessEnv = process.env): string {
  const runtime = env["XDG_RUNTIME_DIR"];
  if (runtime !== undefined && runtime !== "") return join(runtime, "portico-server");
  const uid = process.geteuid?.() ?? 0;
  return uid === 0 && process.platform === "linux" ? "/run/portico-server" : join(tmpdir(), `portico-server-${uid}`);
}

/**
 * Makes the folder where it is not there, and removes the sockets of masters that were killed.
 * @returns the path for this process
 * @throws PorticoServerError `control` where the folder cannot be made, or somebody else has made it
 */
export function defaultControlPath(folder: string = controlFolder()): string {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new PorticoServerError("control", `no folder for the control socket: ${messageOf(error)}`, { cause: error });
  }
  checkPrivate(folder);
  for (const { pid, path } of socketsIn(folder)) if (!isAlive(pid)) rmSync(path, { force: true });
  return join(folder, `${process.pid}.sock`);
}

/** Sockets of masters that run, for the commands. */
export function liveSockets(folder: string = controlFolder()): { readonly pid: number; readonly path: string }[] {
  try {
    checkPrivate(folder);
  } catch (error) {
    if ((error as { cause?: NodeJS.ErrnoException }).cause?.code === "ENOENT") return [];
    throw error;
  }
  return socketsIn(folder).filter(({ pid }) => isAlive(pid));
}

export function socketOf(pid: number, folder: string = controlFolder()): string {
  return join(folder, `${pid}.sock`);
}

function checkPrivate(folder: string): void {
  let found: ReturnType<typeof lstatSync>;
  try {
    found = lstatSync(folder);
  } catch (error) {
    throw new PorticoServerError("control", `${folder}: ${messageOf(error)}`, { cause: error });
  }
  const uid = process.geteuid?.() ?? found.uid;
  if (!found.isDirectory() || found.uid !== uid || (found.mode & OTHERS_MODE) !== 0)
    throw new PorticoServerError(
      "control",
      `${folder} is not a folder of this user's alone (mode 0700): nothing in it is believed; remove it, or name a socket with --control`,
    );
}

function socketsIn(folder: string): { readonly pid: number; readonly path: string }[] {
  return readdirSync(folder)
    .map((name) => ({ pid: Number(SOCKET_NAME.exec(name)?.[1]), path: join(folder, name) }))
    .filter(({ pid }) => Number.isInteger(pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
