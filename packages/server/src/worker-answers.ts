/** What a master asks of its workers for a person, and how it waits for the answers. */
import type { ChildHandle } from "@portico/supervisor";
import { PorticoServerError } from "./error.ts";
import type { FromWorker, ToWorker, WorkerQuestion, WorkerResults } from "./messages.ts";

/** While a heap snapshot is made the event loop cannot beat; this often the master says for it that all is well. */
const EXCUSE_MS = 500;

interface Waiting {
  readonly child: ChildHandle;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class WorkerAnswers {
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;

  /**
   * @param waitMs how long it may take; undefined: as long as the worker lives
   * @throws PorticoServerError `control`: it has left, did not answer in time, or could not
   */
  async ask<What extends WorkerQuestion["what"]>(
    child: ChildHandle,
    question: Extract<WorkerQuestion, { what: What }>,
    waitMs?: number,
  ): Promise<WorkerResults[What]> {
    const number = ++this.#last;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.set(number, { child, resolve, reject });
    const fail = (why: string): void =>
      reject(new PorticoServerError("control", `worker ${child.slot} (pid ${child.pid}) ${why}`));
    const timer = waitMs === undefined ? undefined : setTimeout(fail, waitMs, `did not answer within ${waitMs} ms`);
    const excuse =
      question.what === "heap" ? setInterval(() => (child.lastBeat = performance.now()), EXCUSE_MS) : undefined;
    void child.gone.then(({ reason }) => fail(`has ended: ${reason}`));
    const message: ToWorker = { kind: "ask", number, question };
    if (!child.send(message)) fail("does not listen any more");
    try {
      return (await promise) as WorkerResults[What];
    } finally {
      clearTimeout(timer);
      clearInterval(excuse);
      this.#waiting.delete(number);
    }
  }

  /** An answer has come. */
  take(child: ChildHandle, message: Extract<FromWorker, { kind: "answer" }>): void {
    const waiting = this.#waiting.get(message.number);
    if (waiting === undefined || waiting.child !== child) return; // too late
    if (message.failure === undefined) waiting.resolve(message.result);
    else waiting.reject(new PorticoServerError("control", message.failure));
  }
}
