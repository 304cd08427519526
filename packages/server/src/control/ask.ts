/** Finds a running server, asks it one thing, and takes its answer. */
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { resolve } from "node:path";
import { PorticoServerError } from "../error.ts";
import { controlFolder, liveSockets } from "./place.ts";
import { CONTROL_VERSION } from "./protocol.ts";
import type { ControlAnswer, ControlCommand, ControlQuestion, ServerStatus } from "./protocol.ts";

/** For a master that is there to say who it is; a busy one answers within its event loop's turn. */
const GREETING_MS = 2_000;

/** How a server is named on the command line; nothing: the one that runs in this folder, or the only one. */
export interface WhichServer {
  /** Path of the control socket. */
  readonly control?: string | undefined;
  /** Path of the pid file. */
  readonly pid?: string | undefined;
  readonly cwd: string;
}

/** @throws PorticoServerError `control` with what was looked for and where */
export async function findServer(which: WhichServer): Promise<string> {
  if (which.control !== undefined) return resolve(which.cwd, which.control);
  if (which.pid !== undefined) return controlFolder.socketOf(readPid(resolve(which.cwd, which.pid)));
  const found = (await Promise.all(liveSockets().map(greet))).filter((server) => server !== undefined);
  const here = found.filter(({ status }) => status.cwd === which.cwd);
  const [only, ...more] = here.length > 0 ? here : found;
  if (only === undefined)
    throw new PorticoServerError(
      "control",
      `no server of this user runs (looked in ${controlFolder.path}); name its socket with --control, or its pid file with --pid`,
    );
  if (more.length > 0)
    throw new PorticoServerError("control", "several servers run: name one with --control", {
      detail: [only, ...more]
        .map(
          ({ path, status }) =>
            `  --control ${path}   ${status.name}, pid ${status.pid}, ${status.app} in ${status.cwd}`,
        )
        .join("\n"),
    });
  return only.path;
}

/**
 * @throws PorticoServerError `control` where nobody answers; the server's own error, with its code, where it answers
 * that it could not
 */
export function ask<Command extends ControlCommand>(
  path: string,
  question: ControlQuestion & { readonly command: Command },
): Promise<ControlAnswer<Command>> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect({ path });
    socket.setEncoding("utf8");
    socket.once("connect", () => socket.write(`${JSON.stringify(question)}\n`));
    socket.on("data", (part: string) => (text += part));
    socket.on("error", (error) => reject(unreachable(path, error)));
    socket.on("end", () => {
      socket.end();
      try {
        resolve(readAnswer<Command>(text));
      } catch {
        reject(new PorticoServerError("control", `${path}: the server ended before it answered`));
      }
    });
  });
}

function readAnswer<Command extends ControlCommand>(text: string): ControlAnswer<Command> {
  const answer = JSON.parse(text) as ControlAnswer<Command>;
  if (answer.version !== CONTROL_VERSION)
    throw new PorticoServerError(
      "control",
      `the server speaks version ${answer.version} of the control protocol, this command version ${CONTROL_VERSION}`,
    );
  return answer;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such socket; does the server run?",
  ECONNREFUSED: "nobody listens: the server was killed and left the socket behind; it is replaced when one starts",
  EACCES: "permission denied: ask as the user who started the server, or as root",
  EPERM: "permission denied: ask as the user who started the server, or as root",
  ENOTSOCK: "this is no socket",
};

function unreachable(path: string, error: NodeJS.ErrnoException): PorticoServerError {
  return new PorticoServerError("control", `${path}: ${REASONS[error.code ?? ""] ?? error.message}`, { cause: error });
}

async function greet(path: string): Promise<{ path: string; status: ServerStatus } | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), GREETING_MS);
  try {
    const answer = await Promise.race([ask(path, { command: "status" }), late.promise]);
    return answer === undefined || "error" in answer ? undefined : { path, status: answer.result };
  } catch {
    return undefined; // it has just gone
  } finally {
    clearTimeout(timer);
  }
}

function readPid(file: string): number {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new PorticoServerError(
      "control",
      `pid file ${file}: ${missing ? "there is no such file; does the server run?" : (error as Error).message}`,
      { cause: error },
    );
  }
  const pid = Number(text.trim());
  if (!Number.isInteger(pid) || pid < 1)
    throw new PorticoServerError("control", `pid file ${file}: it holds no process id`);
  return pid;
}
