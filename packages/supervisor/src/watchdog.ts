/**
 * A thread in every child that is awake when the main thread is not. It does two things:
 *
 * - asked over the watch pipe, it attaches a debugger to the main thread, takes its JavaScript stack, and lets it go on.
 *   A master that gets no answer knows that the whole process is stopped or dead, not merely blocked;
 * - when the pipe closes, the master is gone; should the main thread not end the process in time, this thread does.
 *
 * No debugger is attached before it is asked for, so it costs the application nothing.
 */
import { Session } from "node:inspector";
import type { Debugger } from "node:inspector";
import { Socket } from "node:net";
import { workerData } from "node:worker_threads";
import { ALIVE, DESCRIBE_KEY, STACK_WAIT_MS } from "./messages.ts";
import type { StackReport } from "./messages.ts";

export interface WatchdogData {
  readonly fd: number;
  /** Milliseconds after the master's death by which the process must be gone. */
  readonly orphanMs: number;
}

function formatFrames(frames: readonly Debugger.CallFrame[], urls: ReadonlyMap<string, string>): string {
  return frames
    .map((frame) => {
      const url = frame.url || urls.get(frame.location.scriptId) || "<anonymous>";
      const place = `${url}:${frame.location.lineNumber + 1}:${(frame.location.columnNumber ?? 0) + 1}`;
      return `    at ${frame.functionName || "<anonymous>"} (${place})`;
    })
    .join("\n");
}

/** Pauses the main thread for as long as it takes to read its stack. Never rejects. */
function takeStack(): Promise<StackReport> {
  return new Promise((resolve) => {
    const session = new Session();
    const urls = new Map<string, string>();
    const finish = (report: StackReport): void => {
      clearTimeout(timer);
      resolve(report);
      setImmediate(() => session.disconnect()); // which may have to wait for the main thread: answer first
    };
    const timer = setTimeout(finish, STACK_WAIT_MS, {
      stack: undefined,
      doing: undefined,
      reason: "it runs no JavaScript: it is inside native code or a blocking system call",
    });
    session.on("Debugger.scriptParsed", ({ params }) => urls.set(params.scriptId, params.url));
    session.on("Debugger.paused", ({ params }) => {
      const stack = formatFrames(params.callFrames, urls);
      const expression = `String(globalThis[Symbol.for(${JSON.stringify(DESCRIBE_KEY)})]?.() ?? "")`;
      session.post("Runtime.evaluate", { expression, returnByValue: true }, (error, answer) => {
        const value: unknown = error === null ? answer.result.value : undefined;
        const doing = typeof value === "string" && value !== "" ? value : undefined;
        session.post("Debugger.resume", () => finish({ stack, doing, reason: undefined }));
      });
    });
    try {
      session.connectToMainThread();
      session.post("Debugger.enable", () => session.post("Debugger.pause"));
    } catch (error) {
      finish({ stack: undefined, doing: undefined, reason: `no debugger could be attached: ${String(error)}` });
    }
  });
}

function watch({ fd, orphanMs }: WatchdogData): void {
  const pipe = new Socket({ fd, readable: true, writable: true });
  let busy = false;
  pipe.on("data", () => {
    if (busy) return; // one question at a time: the answer under way serves both
    busy = true;
    pipe.write(`${ALIVE}\n`);
    void takeStack().then((report) => {
      busy = false;
      pipe.write(`${JSON.stringify(report)}\n`);
    });
  });
  pipe.on("error", () => {});
  pipe.on("close", () => setTimeout(() => process.kill(process.pid, "SIGKILL"), orphanMs));
}

watch(workerData as WatchdogData);
