/** The master's end of the control socket: one question a connection, answered by what `target` does. */
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { BoundListener, SupervisorError } from "@portico/supervisor";
import { PorticoServerError } from "../error.ts";
import { controlFolder } from "./place.ts";
import { CONTROL_VERSION, failureOf, MOST_QUESTION_BYTES } from "./protocol.ts";
import type { ControlAnswer, ControlCommand, ControlQuestion, ControlTarget } from "./protocol.ts";

/** The owner's alone: who may connect may stop the server, and read what is in its memory. */
const SOCKET_MODE = 0o600;
/** For the question to come; it is one line from a program on this machine. */
const QUESTION_MS = 5_000;

/** A control socket that is open. */
export interface ControlServer {
  readonly path: string;
  /** Answers under way are sent first; then the path is removed. */
  close(): Promise<void>;
}

/** @throws PorticoServerError `in-use` where a server that runs has the path, `control` where it cannot be opened */
export async function openControl(path: string, target: ControlTarget): Promise<ControlServer> {
  const connections = new Set<Socket>();
  const answers = new Set<Promise<void>>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections.add(socket);
    socket.once("close", () => connections.delete(socket));
    void question(socket).then((line) => {
      if (line === undefined) return;
      const sent = answer(line, target).then((given) => void socket.end(`${JSON.stringify(given)}\n`));
      answers.add(sent);
      void sent.then(() => answers.delete(sent));
    });
  });
  const listener = await bind(path, server);
  return {
    path,
    async close() {
      await listener.close();
      controlFolder.leave(path);
      server.close();
      await Promise.all(answers);
      for (const socket of connections) socket.end();
    },
  };
}

async function bind(path: string, server: Server): Promise<BoundListener> {
  try {
    const listener = await BoundListener.bind({ protocol: "http", kind: "unix", path }, { mode: SOCKET_MODE });
    await listener.serve(server);
    return listener;
  } catch (error) {
    const taken = error instanceof SupervisorError && error.code === "address_in_use";
    const message = error instanceof Error ? error.message : String(error);
    throw new PorticoServerError(
      taken ? "in-use" : "control",
      `control ${path}: ${taken ? "a server that runs has it" : message}`,
      { cause: error },
    );
  }
}

/** The first line; undefined where none came. */
function question(socket: Socket): Promise<string | undefined> {
  return new Promise((resolve) => {
    let text = "";
    const timer = setTimeout(() => socket.destroy(), QUESTION_MS).unref();
    socket.setEncoding("utf8");
    socket.on("error", () => socket.destroy()); // it left; what it asked for is done all the same
    socket.once("close", () => resolve(undefined));
    socket.once("end", () => {
      if (!text.includes("\n")) socket.end();
    });
    const read = (part: string): void => {
      text += part;
      const end = text.indexOf("\n");
      if (end === -1 && text.length <= MOST_QUESTION_BYTES) return;
      clearTimeout(timer);
      socket.off("data", read).resume();
      resolve(text.slice(0, Math.max(0, end)));
    };
    socket.on("data", read);
  });
}

async function answer(line: string, target: ControlTarget): Promise<ControlAnswer> {
  try {
    const question = readQuestion(line, target);
    return { version: CONTROL_VERSION, result: await target[question.command](question) };
  } catch (error) {
    return { version: CONTROL_VERSION, error: failureOf(error) };
  }
}

function readQuestion(line: string, target: ControlTarget): ControlQuestion {
  let question: Partial<ControlQuestion> | undefined;
  try {
    question = JSON.parse(line) as Partial<ControlQuestion>;
  } catch {
    // Said below.
  }
  const command = question?.command;
  if (typeof command !== "string" || !Object.hasOwn(target, command))
    throw new PorticoServerError(
      "usage",
      `the control socket takes one line of JSON such as {"command":"status"}; commands: ${Object.keys(target).join(", ")}`,
    );
  return { ...question, command: command satisfies ControlCommand };
}
