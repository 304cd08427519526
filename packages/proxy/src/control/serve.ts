/** The control socket of a master: answers whoever may open it, which is its own user and root. */
import net from "node:net";
import { EXIT } from "@portico/supervisor/exit-codes";
import { BoundListener } from "@portico/supervisor";
import { PorticoProxyError } from "../errors.ts";
import { controlFolder } from "./place.ts";
import { CONTROL_VERSION, type ControlCommand, type ControlQuestion, type ControlResults } from "./protocol.ts";

const SOCKET_MODE = 0o600;
// A question is some dozen bytes, sent at once.
const LONGEST_QUESTION = 64 * 1024;
const QUESTION_TIMEOUT_MS = 10_000;

export type ControlHandlers = {
  readonly [Command in ControlCommand]: (question: ControlQuestion) => Promise<ControlResults[Command]>;
};

export interface ControlServer {
  readonly path: string;
  /** Takes no more questions; those that were asked are still answered. */
  close(): Promise<void>;
}

function answerOf(error: unknown): object {
  const message = error instanceof Error ? error.message : String(error);
  return error instanceof PorticoProxyError
    ? { code: error.code, message, exitCode: error.exitCode }
    : { code: "failed", message, exitCode: EXIT.failed };
}

async function answer(line: string, handlers: ControlHandlers): Promise<object> {
  try {
    const question = JSON.parse(line) as ControlQuestion;
    if (!Object.hasOwn(handlers, question.command))
      throw new PorticoProxyError("usage", `there is no command ${JSON.stringify(question.command)}`);
    return { result: await handlers[question.command](question) };
  } catch (error) {
    return {
      error: error instanceof SyntaxError ? answerOf(new PorticoProxyError("usage", "is not JSON")) : answerOf(error),
    };
  }
}

function serve(socket: net.Socket, handlers: ControlHandlers): void {
  let text = "";
  socket.setEncoding("utf8").setTimeout(QUESTION_TIMEOUT_MS, () => socket.destroy());
  socket.on("error", () => {});
  const take = (part: string): void => {
    text += part;
    const end = text.indexOf("\n");
    if (end === -1) {
      if (text.length > LONGEST_QUESTION) socket.destroy();
      return;
    }
    socket.off("data", take).resume().setTimeout(0);
    void answer(text.slice(0, end), handlers).then((reply) =>
      socket.end(`${JSON.stringify({ version: CONTROL_VERSION, ...reply })}\n`),
    );
  };
  socket.on("data", take);
}

/** @throws PorticoProxyError `control-failed` */
export async function serveControl(path: string, handlers: ControlHandlers): Promise<ControlServer> {
  try {
    const listener = await BoundListener.bind({ protocol: "http", kind: "unix", path }, { mode: SOCKET_MODE });
    const server = net.createServer({ allowHalfOpen: true }, (socket) => serve(socket, handlers));
    await listener.serve(server);
    return {
      path,
      async close() {
        await listener.close();
        controlFolder.leave(path);
        server.close();
      },
    };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PorticoProxyError("control-failed", `no control socket: ${reason}`, { cause });
  }
}
