/** The end of a child whose event loop has been silent for too long. */
import { processState } from "./process-state.ts";
import type { ChildHandle } from "./child-handle.ts";
import type { HangKind } from "./events.ts";
import type { StackReport } from "./messages.ts";

const REASONS: Readonly<Record<HangKind, string | undefined>> = {
  blocked: undefined,
  dead: "nothing in the process answers",
  silent: "there is no watchdog thread that could tell",
};
const NOTES: Readonly<Record<HangKind, string>> = {
  blocked: "its event loop was blocked",
  dead: "nothing in it answered",
  silent: "its event loop was silent",
};
// Writing a core takes time; a process that is stopped or in the kernel never ends by SIGABRT.
const ABORT_WAIT_MS = 1_000;

function reasonOf(kind: HangKind, pid: number): string | undefined {
  return processState(pid) === "stopped" ? "the process is stopped (SIGSTOP)" : REASONS[kind];
}

/** Finds out what the child is stuck in, tells, and ends the process: SIGABRT, then SIGKILL. It is gone or going when this resolves. */
export async function endHung(
  child: ChildHandle,
  silentMs: number,
  tell: (found: { readonly kind: HangKind } & StackReport) => void,
): Promise<void> {
  const report = await child.stack("hang");
  if (child.state === "gone") return;
  const unanswered = child.watched ? "dead" : "silent";
  const kind: HangKind = report === undefined ? unanswered : "blocked";
  const nothing = { stack: undefined, doing: undefined, report: undefined, reason: reasonOf(kind, child.pid) };
  tell({ kind, ...(report ?? nothing) });
  const note = `${NOTES[kind]} for ${Math.round(silentMs)} ms`;
  if (kind !== "dead") {
    child.kill("SIGABRT", note);
    await Promise.race([child.gone, new Promise((wake) => setTimeout(wake, ABORT_WAIT_MS))]);
  }
  child.kill("SIGKILL", note);
}
