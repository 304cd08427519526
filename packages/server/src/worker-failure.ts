/** Why a worker did not come up, as the master tells a person. */
import { SupervisorError } from "@portico/supervisor";
import { isServerErrorCode, PorticoServerError } from "./error.ts";
import { applicationFrames } from "./source-line.ts";

/** What the master knows about a start that failed. */
export interface BootFacts {
  /** MODULE as the user wrote it. */
  readonly app: string;
  /** Some worker had loaded the application: what failed came after. */
  readonly loaded: boolean;
  /** Seconds */
  readonly bootTimeout: number;
}

/** In the master: the worker's own error where it sent one, with its code; else what the supervisor saw, in words of the server. */
export function workerFailure(error: unknown, facts: BootFacts): PorticoServerError {
  if (error instanceof PorticoServerError) return error;
  if (!(error instanceof Error)) return new PorticoServerError("internal", String(error), { cause: error });
  const origin = rootOf(error);
  if (origin.code === "child_timeout") return timedOut(error, facts);
  const [message = "", ...detail] = error.message.split("\n");
  const code =
    reportedCode(error) ?? (error instanceof SupervisorError && error.exitCode === 3 ? "worker-boot" : "internal");
  const step = facts.loaded ? "starting up" : "loading";
  return new PorticoServerError(
    code,
    message.replace("the child ended before it was ready", `a worker ended while it was ${step} ${facts.app}`),
    { cause: error, detail: detail.length === 0 ? undefined : detail.join("\n") },
  );
}

/** The stack says where it is stuck; where it only waits, there is none. */
function timedOut(error: Error, { app, loaded, bootTimeout }: BootFacts): PorticoServerError {
  const what = loaded ? `${app}: startup took` : `${app}: loading took`;
  const detail =
    applicationFrames(error.message) ??
    "    it does not compute, it waits: for a promise or an event that does not come";
  return new PorticoServerError("worker-boot", `${what} longer than ${bootTimeout} s (--boot-timeout)`, {
    cause: error,
    detail,
  });
}

/** A reload wraps what happened to the replacement. */
function rootOf(error: Error): { readonly code?: unknown } {
  return error instanceof SupervisorError && error.code === "reload_failed" && error.cause instanceof Error
    ? rootOf(error.cause)
    : (error as { code?: unknown });
}

function reportedCode(error: unknown): PorticoServerError["code"] | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const { code, cause } = error as { code?: unknown; cause?: unknown };
  return isServerErrorCode(code) ? code : reportedCode(cause);
}
