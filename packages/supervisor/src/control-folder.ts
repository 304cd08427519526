/**
 * Where a program's control sockets are: a private folder of the user, in it one socket for each master, named by
 * process id. The folder is the user's alone, so that nobody else can put a socket there that would answer in a
 * master's stead.
 */
import { lstatSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { SupervisorError } from "./errors.ts";
import { processState } from "./process-state.ts";
import { removeIfEmpty } from "./remove-if-empty.ts";

// What it throws, for programs that need nothing else of this package.
export { SupervisorError };

const OTHERS_MODE = 0o077;
const SOCKET_NAME = /^(\d+)\.sock$/;

/** A master's socket. */
export interface ControlSocket {
  readonly pid: number;
  readonly path: string;
}

export class ControlFolder {
  /** `$XDG_RUNTIME_DIR/PROGRAM`, `/run/PROGRAM` for root, else `PROGRAM-control-UID` in the temporary folder. */
  readonly path: string;

  constructor(program: string, env: NodeJS.ProcessEnv = process.env) {
    const runtime = env["XDG_RUNTIME_DIR"];
    const uid = process.geteuid?.() ?? 0;
    if (runtime !== undefined && runtime !== "") this.path = join(runtime, program);
    else if (uid === 0 && process.platform === "linux") this.path = join("/run", program);
    else this.path = join(tmpdir(), `${program}-control-${uid}`);
  }

  /**
   * The path for this process. Makes the folder, and removes the sockets of masters that were killed.
   *
   * @throws SupervisorError `control_folder` where it cannot be made, or somebody else has made it
   */
  own(): string {
    try {
      mkdirSync(this.path, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new SupervisorError("control_folder", `no folder for the control socket: ${messageOf(error)}`, {
        cause: error,
      });
    }
    this.#checkPrivate();
    for (const { pid, path } of this.#sockets()) if (processState(pid) === "gone") rmSync(path, { force: true });
    return this.socketOf(process.pid);
  }

  /**
   * Sockets of masters that run, for the commands.
   *
   * @throws SupervisorError `control_folder` where the folder is not to be believed
   */
  live(): ControlSocket[] {
    if (lstatSync(this.path, { throwIfNoEntry: false }) === undefined) return [];
    this.#checkPrivate();
    return this.#sockets().filter(({ pid }) => processState(pid) !== "gone");
  }

  socketOf(pid: number): string {
    return join(this.path, `${pid}.sock`);
  }

  /** Where a socket was of this folder and is gone: the last one takes the folder away. */
  leave(socket: string): void {
    if (dirname(socket) === this.path) removeIfEmpty(this.path);
  }

  #checkPrivate(): void {
    let found: ReturnType<typeof lstatSync>;
    try {
      found = lstatSync(this.path);
    } catch (error) {
      throw new SupervisorError("control_folder", `${this.path}: ${messageOf(error)}`, { cause: error });
    }
    const uid = process.geteuid?.() ?? found.uid;
    if (!found.isDirectory() || found.uid !== uid || (found.mode & OTHERS_MODE) !== 0)
      throw new SupervisorError(
        "control_folder",
        `${this.path} is not a folder of this user's alone (mode 0700): nothing in it is believed; remove it, or name a socket with --control`,
      );
  }

  #sockets(): ControlSocket[] {
    return readdirSync(this.path)
      .map((name) => ({ pid: Number(SOCKET_NAME.exec(name)?.[1]), path: join(this.path, name) }))
      .filter(({ pid }) => Number.isInteger(pid));
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
