/** The master's question to a child's watchdog thread: where is the main thread? */
import type { Socket } from "node:net";
import { ALIVE, STACK_WAIT_MS } from "./messages.ts";
import type { StackReport, WatchQuestion } from "./messages.ts";

// The watchdog says at once that it is there, and has its answer within STACK_WAIT_MS; a stopped process says nothing.
// The rest is for a machine that has no processor time to give.
const ANSWER_WAIT_MS = STACK_WAIT_MS + 1_500;

// JSON leaves undefined fields out.
const NO_REPORT: StackReport = { stack: undefined, doing: undefined, report: undefined, reason: undefined };
const STUCK_REPORT: StackReport = { ...NO_REPORT, reason: "the watchdog thread got stuck as well" };

/** Undefined: nobody answers, so the process is stopped or dead. Never rejects. */
export function askWatchdog(pipe: Socket, question: WatchQuestion): Promise<StackReport | undefined> {
  return new Promise((resolve) => {
    let text = "";
    const finish = (report: StackReport | undefined): void => {
      clearTimeout(timer);
      pipe.off("data", onData).off("close", onClose);
      resolve(report);
    };
    const onClose = (): void => finish(undefined);
    const onData = (chunk: Buffer): void => {
      text += chunk.toString();
      const lines = text.split("\n").slice(0, -1);
      const report = lines.find((line) => line.startsWith("{"));
      if (report !== undefined) finish({ ...NO_REPORT, ...(JSON.parse(report) as StackReport) });
      else if (lines.includes(ALIVE)) timer.refresh();
    };
    // The first wait is for the word that the thread is alive, the second for what it finds.
    const timer = setTimeout(() => finish(text === "" ? undefined : STUCK_REPORT), ANSWER_WAIT_MS);
    pipe.on("data", onData).on("close", onClose);
    pipe.write(`${question}\n`);
  });
}
