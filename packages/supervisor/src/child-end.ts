/** How a child ended, and whose doing it was. */
import type { ChildFailure } from "./messages.ts";
import { memoryReport } from "./report.ts";

/**
 * `told`: the master had told it to leave. `exited`: it ended by itself, with whatever code. `exception`: nothing caught
 * what it threw. `out-of-memory`: its JavaScript heap reached the limit. `signal`: somebody else killed it. `killed`: the
 * master did, and the note says why. `unspawned`: there was never a process.
 */
export type EndKind = "told" | "exited" | "exception" | "out-of-memory" | "signal" | "killed" | "unspawned";

export interface ChildExit {
  readonly kind: EndKind;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What the child itself said was wrong, when it could. */
  readonly failure: ChildFailure | undefined;
  /** Where it was, if that is known. */
  readonly stack: string | undefined;
  /** One line for a log. */
  readonly reason: string;
}

/** What is known when a process has ended. */
export interface EndFacts {
  readonly pid: number;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly failure: ChildFailure | undefined;
  readonly dismissed: boolean;
  /** Why the master killed it, where it did. */
  readonly note: string | undefined;
  /** Folder in which it would have left a report. */
  readonly reports: string | undefined;
}

/** What Node exits with where the system has no SIGABRT to tell of. */
const ABORT_CODE = 134;

export function endOf(facts: EndFacts): ChildExit {
  const { code, signal, failure, note } = facts;
  const aborted = (signal === "SIGABRT" || code === ABORT_CODE) && note === undefined;
  const memory = aborted && facts.reports !== undefined ? memoryReport(facts.reports, facts.pid) : undefined;
  const kind = memory === undefined ? kindOf(facts) : "out-of-memory";
  return {
    kind,
    code,
    signal,
    failure,
    stack: failure?.stack ?? memory?.stack,
    reason: reasonOf(kind, facts, memory?.report),
  };
}

function kindOf({ code, signal, failure, note, dismissed }: EndFacts): EndKind {
  if (code === null && signal === null) return "unspawned";
  if (note !== undefined) return "killed";
  if (signal !== null) return "signal";
  if (dismissed) return "told";
  return failure === undefined ? "exited" : "exception";
}

function reasonOf(kind: EndKind, facts: EndFacts, report: string | undefined): string {
  const { code, signal, failure, note } = facts;
  const end = signal === null ? `exit code ${String(code)}` : `killed by ${signal}`;
  switch (kind) {
    case "unspawned":
      return note ?? "it could not be spawned";
    case "out-of-memory":
      return `out of memory: its JavaScript heap reached the limit (${end}; report: ${String(report)})`;
    case "exited":
      return `it ended by itself, ${end}`;
    case "signal":
      return `${end}${signal === "SIGKILL" ? ", by a person or by the kernel for want of memory" : ", from outside"}`;
    default: {
      const why = note ?? (failure && `${failure.name}: ${failure.message}`);
      return why === undefined ? end : `${end} (${why})`;
    }
  }
}
