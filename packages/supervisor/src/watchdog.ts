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
import { ALIVE, DESCRIBE_KEY, REPORT_KEY, STACK_WAIT_MS } from "./messages.ts";
import type { StackReport, WatchQuestion } from "./messages.ts";

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

/** Calls a function that the main thread has left for us, on that thread, while it is paused. Never rejects. */
function callThere(session: Session, key: string): Promise<string | undefined> {
  const expression = `String(globalThis[Symbol.for(${JSON.stringify(key)})]?.() ?? "")`;
  return new Promise((resolve) => {
    session.post("Runtime.evaluate", { expression, returnByValue: true }, (error, answer) => {
      const failed = error !== null || answer.exceptionDetails !== undefined;
      const value: unknown = failed ? undefined : answer.result.value;
      resolve(typeof value === "string" && value !== "" ? value : undefined);
    });
  });
}

/** Pauses the main thread for as long as it takes to read its stack. Never rejects. */
function takeStack(question: WatchQuestion): Promise<StackReport> {
  return new Promise((resolve) => {
    const session = new Session();
    const urls = new Map<string, string>();
    const finish = (report: Partial<StackReport>): void => {
      clearTimeout(timer);
      resolve({ stack: undefined, doing: undefined, report: undefined, reason: undefined, ...report });
      setImmediate(() => session.disconnect()); // which may have to wait for the main thread: answer first
    };
    const timer = setTimeout(finish, STACK_WAIT_MS, {
      reason: "it runs no JavaScript: it is inside native code or a blocking system call",
    });
    const look = async (frames: readonly Debugger.CallFrame[]): Promise<void> => {
      const stack = formatFrames(frames, urls);
      const doing = await callThere(session, DESCRIBE_KEY);
      timer.refresh();
      const report = question === "hang" ? await callThere(session, REPORT_KEY) : undefined;
      session.post("Debugger.resume", () => finish({ stack, doing, report }));
    };
    session.on("Debugger.scriptParsed", ({ params }) => urls.set(params.scriptId, params.url));
    session.on("Debugger.paused", ({ params }) => void look(params.callFrames));
    try {
      session.connectToMainThread();
      session.post("Debugger.enable", () => session.post("Debugger.pause"));
    } catch (error) {
      finish({ reason: `no debugger could be attached: ${String(error)}` });
    }
  });
}

function watch({ fd, orphanMs }: WatchdogData): void {
  const pipe = new Socket({ fd, readable: true, writable: true });
  let busy = false;
  pipe.on("data", (question: Buffer) => {
    if (busy) return; // one question at a time: the answer under way serves both
    busy = true;
    pipe.write(`${ALIVE}\n`);
    void takeStack(question.toString().startsWith("hang") ? "hang" : "stack").then((report) => {
      busy = false;
      pipe.write(`${JSON.stringify(report)}\n`);
    });
  });
  pipe.on("error", () => {});
  pipe.on("close", () => setTimeout(() => process.kill(process.pid, "SIGKILL"), orphanMs));
}

watch(workerData as WatchdogData);
