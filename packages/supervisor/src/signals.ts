/**
 * Signals of a master, answered in order. The system's handler only enqueues; what is to be done runs outside of it,
 * one thing at a time.
 */
export type SignalAction = (signal: NodeJS.Signals) => Promise<void> | void;

export interface SignalQueueOptions {
  /** Signals that do not wait for what runs, and drop what waits: the stops. Default SIGTERM, SIGINT, SIGQUIT. */
  readonly urgent?: readonly NodeJS.Signals[];
  /** An urgent signal came again: `times` is 2, then 3. Runs at once, beside the stop under way. */
  escalate?(signal: NodeJS.Signals, times: number): Promise<void> | void;
  /** An action threw. Default: the error is thrown, which ends the process. */
  onError?(error: unknown, signal: NodeJS.Signals): void;
}

const URGENT: readonly NodeJS.Signals[] = ["SIGTERM", "SIGINT", "SIGQUIT"];
/** Each of these counts, as a step; of the others one that waits is enough. */
const STEPS: ReadonlySet<NodeJS.Signals> = new Set<NodeJS.Signals>(["SIGTTIN", "SIGTTOU"]);

export class SignalQueue {
  readonly #options: SignalQueueOptions;
  readonly #urgent: ReadonlySet<NodeJS.Signals>;
  readonly #actions: Map<NodeJS.Signals, SignalAction> = new Map();
  readonly #listeners: Map<NodeJS.Signals, () => void> = new Map();
  #waiting: NodeJS.Signals[] = [];
  #running = false;
  #urgentCount = 0;

  constructor(options: SignalQueueOptions = {}) {
    this.#options = options;
    this.#urgent = new Set(options.urgent ?? URGENT);
  }

  /** Says what each signal does; a signal that is named again gets the new action. */
  on(map: Partial<Record<NodeJS.Signals, SignalAction>>): this {
    for (const [signal, action] of Object.entries(map) as [NodeJS.Signals, SignalAction][]) {
      this.#actions.set(signal, action);
      if (this.#listeners.has(signal)) continue;
      const listener = (): void => this.enqueue(signal);
      this.#listeners.set(signal, listener);
      process.on(signal, listener);
    }
    return this;
  }

  /** As if the signal had come. */
  enqueue(signal: NodeJS.Signals): void {
    if (STEPS.has(signal) || !this.#waiting.includes(signal)) this.#waiting.push(signal);
    setImmediate(() => this.#next());
  }

  /** Gives the signals back to their defaults; what runs goes on, what waits is dropped. */
  close(): void {
    for (const [signal, listener] of this.#listeners) process.off(signal, listener);
    this.#listeners.clear();
    this.#actions.clear();
    this.#waiting = [];
  }

  #next(): void {
    const urgent = this.#waiting.find((signal) => this.#urgent.has(signal));
    if (urgent !== undefined) {
      this.#waiting = this.#waiting.filter((signal) => this.#urgent.has(signal) && signal !== urgent);
      const times = ++this.#urgentCount;
      const action =
        times === 1 ? this.#actions.get(urgent) : (signal: NodeJS.Signals) => this.#options.escalate?.(signal, times);
      void this.#run(urgent, action);
      if (this.#waiting.length > 0) setImmediate(() => this.#next());
      return;
    }
    if (this.#running || this.#urgentCount > 0) return; // a stop under way: nothing else is begun
    const signal = this.#waiting.shift();
    if (signal === undefined) return;
    this.#running = true;
    void this.#run(signal, this.#actions.get(signal)).then(() => {
      this.#running = false;
      this.#next();
    });
  }

  async #run(signal: NodeJS.Signals, action: SignalAction | undefined): Promise<void> {
    try {
      await action?.(signal);
    } catch (error) {
      if (this.#options.onError === undefined) throw error;
      this.#options.onError(error, signal);
    }
  }
}
