/** In the worker: what a question of the master is answered with. */
import type { WorkerQuestion, WorkerResults } from "./messages.ts";
import type { UnderWay } from "./under-way.ts";

/** Requests that a dump names. */
const MOST_REQUESTS = 1_000;

export interface Inspected {
  readonly underWay: UnderWay;
  /** Requests that wait for a turn. */
  readonly waiting: () => number;
}

/** @throws whatever goes wrong; the message is for the person who asked */
export async function answerQuestion(
  question: WorkerQuestion,
  { underWay, waiting }: Inspected,
): Promise<WorkerResults[WorkerQuestion["what"]]> {
  switch (question.what) {
    case "facts":
      return {
        requests: underWay.begun,
        inFlight: underWay.size,
        waiting: waiting(),
        heapUsed: process.memoryUsage().heapUsed,
      };
    case "requests":
      return underWay.list(Date.now(), MOST_REQUESTS);
    default: {
      const inspection = await import("./inspection.ts"); // the inspector is loaded for those who ask for it
      const file =
        question.what === "report"
          ? await inspection.writeReport(question.file)
          : question.what === "heap"
            ? await inspection.takeHeapSnapshot(question.file)
            : await inspection.takeProfile(question.seconds, question.file);
      return { file, bytes: await inspection.sizeOf(file) };
    }
  }
}
