/**
 * Where control sockets are: a private folder of the user, in it one socket for each master, named by process id. The
 * folder is the user's alone, so that nobody else can put a socket there that would answer in a proxy's stead.
 */
import { lstatSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PorticoProxyError } from "../errors.ts";

const OTHERS_MODE = 0o077;
const SOCKET_NAME = /^(\d+)\.sock$/;

/** `$XDG_RUNTIME_DIR/portico-proxy`, `/run/portico-proxy` for root, else one under the temporary folder. */
export function controlFolder(env: NodeJS.ProcessEnv = process.env): string {
  const runtime = env["XDG_RUNTIME_DIR"];
  if (runtime !== undefined && runtime !== "") return join(runtime, "portico-proxy");
  const uid = process.geteuid?.() ?? 0;
  return uid === 0 && process.platform === "linux" ? "/run/portico-proxy" : join(tmpdir(), `portico-control-${uid}`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isPrivate(folder: string): boolean {
  const found = lstatSync(folder);
  return found.isDirectory() && found.uid === (process.geteuid?.() ?? found.uid) && (found.mode & OTHERS_MODE) === 0;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function socketsIn(folder: string): { readonly pid: number; readonly path: string }[] {
  return readdirSync(folder)
    .map((name) => ({ pid: Number(SOCKET_NAME.exec(name)?.[1]), path: join(folder, name) }))
    .filter(({ pid }) => Number.isInteger(pid));
}

/**
 * The path for this process. Makes the folder, and removes the sockets of masters that were killed.
 *
 * @throws PorticoProxyError `control-failed` where the folder cannot be made, or somebody else has made it
 */
export function ownControlPath(folder: string = controlFolder()): string {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!isPrivate(folder))
      throw new PorticoProxyError("control-failed", "it is not a folder of this user's alone (mode 0700)");
    for (const { pid, path } of socketsIn(folder)) if (!isAlive(pid)) rmSync(path, { force: true });
  } catch (cause) {
    throw new PorticoProxyError("control-failed", `no control socket in ${folder}: ${messageOf(cause)}`, { cause });
  }
  return join(folder, `${process.pid}.sock`);
}

/** Sockets of masters of this user that run. */
export function controlSockets(folder: string = controlFolder()): string[] {
  try {
    if (!isPrivate(folder)) return [];
    return socketsIn(folder).flatMap(({ pid, path }) => (isAlive(pid) ? [path] : []));
  } catch {
    return []; // there is no folder: nobody runs
  }
}
