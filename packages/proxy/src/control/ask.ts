/** Finds a running proxy, asks it one thing, and takes its answer. */
import net from "node:net";
import { realpathSync } from "node:fs";
import { PorticoProxyError } from "../errors.ts";
import { controlFolder, controlSockets } from "./place.ts";
import {
  CONTROL_VERSION,
  type ControlAnswer,
  type ControlCommand,
  type ControlQuestion,
  type ProxyStatus,
} from "./protocol.ts";

// A busy master answers within its event loop's turn.
const GREETING_MS = 2_000;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such socket; does the proxy run?",
  ECONNREFUSED: "nobody listens: the proxy was killed and left the socket behind",
  EACCES: "permission denied: ask as the user who started the proxy, or as root",
  EPERM: "permission denied: ask as the user who started the proxy, or as root",
  ENOTSOCK: "this is no socket",
};

function unreachable(path: string, error: NodeJS.ErrnoException): PorticoProxyError {
  return new PorticoProxyError("control-failed", `${path}: ${REASONS[error.code ?? ""] ?? error.message}`, {
    cause: error,
  });
}

function parse<Command extends ControlCommand>(path: string, text: string): ControlAnswer<Command> {
  let answer: ControlAnswer<Command>;
  try {
    answer = JSON.parse(text) as ControlAnswer<Command>;
  } catch (cause) {
    throw new PorticoProxyError("control-failed", `${path}: the proxy ended before it answered`, { cause });
  }
  if (answer.version === CONTROL_VERSION) return answer;
  throw new PorticoProxyError(
    "control-failed",
    `the proxy speaks version ${answer.version} of the control protocol, this command version ${CONTROL_VERSION}`,
  );
}

/**
 * @param waitMs longest time for an answer; a reload or a graceful stop takes as long as it takes
 * @throws PorticoProxyError `control-failed` where nobody answers
 */
export function askProxy<Command extends ControlCommand>(
  path: string,
  question: ControlQuestion & { readonly command: Command },
  waitMs?: number,
): Promise<ControlAnswer<Command>> {
  const { promise, resolve, reject } = Promise.withResolvers<ControlAnswer<Command>>();
  let text = "";
  const socket = net.connect({ path }).setEncoding("utf8");
  if (waitMs !== undefined)
    socket.setTimeout(waitMs, () => socket.destroy(new PorticoProxyError("control-failed", "it does not answer")));
  socket.once("connect", () => void socket.write(`${JSON.stringify(question)}\n`));
  socket.on("data", (part: string) => (text += part));
  socket.on("error", (error) => reject(unreachable(path, error)));
  socket.on("close", () => {
    try {
      resolve(parse<Command>(path, text));
    } catch (error) {
      reject(error instanceof Error ? error : new PorticoProxyError("control-failed", String(error)));
    }
  });
  return promise;
}

/** How a proxy is named on the command line; nothing: the only one of this user. */
export interface WhichProxy {
  /** Path of its control socket. */
  readonly control: string | undefined;
  /** Its configuration file. */
  readonly config: string | undefined;
}

async function greet(path: string): Promise<{ path: string; status: ProxyStatus } | undefined> {
  try {
    const answer = await askProxy(path, { command: "status" }, GREETING_MS);
    return "error" in answer ? undefined : { path, status: answer.result };
  } catch {
    return undefined; // it has just gone
  }
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** @throws PorticoProxyError `control-failed` with what was looked for and where */
export async function findProxy(which: WhichProxy): Promise<string> {
  if (which.control !== undefined) return which.control;
  const { config } = which;
  const running = (await Promise.all(controlSockets().map(greet))).filter((found) => found !== undefined);
  const [only, ...more] =
    config === undefined ? running : running.filter(({ status }) => real(status.config) === real(config));
  if (only === undefined)
    throw new PorticoProxyError(
      "control-failed",
      `no proxy of this user runs${config === undefined ? "" : ` with ${config}`} (looked in ${controlFolder.path}); name its socket with --control`,
    );
  if (more.length > 0)
    throw new PorticoProxyError(
      "control-failed",
      `several proxies run: name one with --control\n${[only, ...more].map(({ path, status }) => `  --control ${path}   pid ${status.pid}, ${status.config}`).join("\n")}`,
    );
  return only.path;
}
