/**
 * The old master's side of an upgrade: a second master, started from what is on the disk now, on the same sockets. Both
 * serve until somebody decides: who stops the old one confirms the new one, who stops the new one is where he was.
 * The new master's side is `predecessor.ts`.
 */
import { spawn } from "node:child_process";
import type { ChildProcess, SendHandle } from "node:child_process";
import type { Socket } from "node:net";
import { SupervisorError } from "./errors.ts";
import { describeHandover, HANDOVER_VARIABLE } from "./handover.ts";
import type { FromSuccessor, NamedListener, ToSuccessor } from "./handover.ts";
import { EXIT } from "./exit-codes.ts";
import { startCommand } from "./start-place.ts";
import { Travelling } from "./travelling.ts";

/** The init of a container: when it ends, so does everything in it. */
const INIT_PID = 1;

export class Successor {
  readonly pid: number;
  /** Resolves when it serves. Rejects with {@link SupervisorError} `upgrade_failed` and its own reason when it ends before. */
  readonly ready: Promise<void>;
  /** Resolves when it begins to stop, or is gone; never rejects. */
  readonly leaving: Promise<void>;
  /** Resolves, with how it ended, when it is gone; never rejects. */
  readonly gone: Promise<string>;
  readonly #process: ChildProcess;
  readonly #left: () => void;
  readonly #travelling = new Travelling();
  #state: "starting" | "ready" | "leaving" | "gone" = "starting";
  #failure: Extract<FromSuccessor, { state: "failed" }> | undefined;

  /** Throws {@link SupervisorError} `upgrade_failed` where there can be none. */
  constructor(listeners: readonly NamedListener[], env: NodeJS.ProcessEnv = process.env) {
    if (process.pid === INIT_PID)
      throw new SupervisorError(
        "upgrade_failed",
        "process 1 cannot be followed by another master: its container ends with it; start a new container, or run it under an init",
      );
    const { file, args, cwd } = startCommand();
    const sockets = listeners.map(({ listener }) => listener.fd);
    this.#process = spawn(file, args, {
      cwd,
      env: { ...env, PWD: cwd, [HANDOVER_VARIABLE]: JSON.stringify(describeHandover(listeners)) },
      stdio: ["inherit", "inherit", "inherit", "ipc", ...sockets],
    });
    this.pid = this.#process.pid ?? -1;
    const { promise: leaving, resolve: left } = Promise.withResolvers<void>();
    this.leaving = leaving;
    this.#left = left;
    this.gone = this.#watchExit();
    this.ready = this.#watchReady();
    this.ready.catch(() => {}); // whoever waits for it hears of it
    // It may live longer than this process.
    this.#process.unref();
    this.#process.channel?.unref();
  }

  /** It runs, ready or not yet. */
  get alive(): boolean {
    return this.#state !== "gone";
  }

  /** Passes a connection on that this master has accepted and cannot serve. False: the successor cannot either; the socket is still the caller's. */
  pass(socket: Socket, message: unknown): boolean {
    if (this.#state !== "ready" || !this.#process.connected) return false;
    const passed: ToSuccessor = { portico: "predecessor", message };
    const arrived = this.#travelling.depart(socket);
    this.#process.send(passed, socket as SendHandle, undefined, arrived);
    return true;
  }

  #watchReady(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#process.on("message", (message) => {
        const said = message as FromSuccessor;
        if (said.portico !== "successor") return;
        if (said.state === "failed") this.#failure = said;
        else if (said.state === "leaving") this.#leave("leaving");
        else if (this.#state === "starting") {
          this.#state = "ready";
          resolve();
        }
      });
      void this.gone.then((how) =>
        reject(
          new SupervisorError(
            "upgrade_failed",
            this.#failure?.message ?? `the new master ended before it served: ${how}`,
            {
              exitCode: this.#failure?.exitCode ?? EXIT.failed,
            },
          ),
        ),
      );
    });
  }

  #leave(state: "leaving" | "gone"): void {
    this.#state = state;
    this.#left();
  }

  #watchExit(): Promise<string> {
    return new Promise((resolve) => {
      const end = (how: string): void => {
        this.#leave("gone");
        this.#travelling.close();
        resolve(how);
      };
      this.#process.on("error", (error) => {
        if (this.#process.pid === undefined) end(`it could not be spawned: ${error.message}`);
      });
      this.#process.once("exit", (code, signal) => end(signal === null ? `exit code ${code}` : `killed by ${signal}`));
    });
  }
}
