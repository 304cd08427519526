import { EXIT } from "./exit-codes.ts";

/** What went wrong; the table is part of the documentation. */
export const SUPERVISOR_ERRORS = {
  address_invalid: "the address cannot be read",
  address_in_use: "another process listens there",
  address_forbidden: "this user may not listen there",
  address_unavailable: "this machine has no such address, or the path cannot be used",
  host_unknown: "the host name does not resolve",
  descriptor_invalid: "the descriptor is not a listening socket that was passed to this process",
  identity_unknown: "there is no such user or group",
  control_folder: "the folder of control sockets cannot be made or is not this user's alone",
  pid_file_in_use: "another running process holds the pid file",
  child_failed: "a child ended or gave up before it was ready",
  child_timeout: "a child was not ready in time",
  reload_failed: "a replacement did not come up; the old children stay",
  scale_failed: "an additional child did not come up",
  upgrade_failed: "a new master did not come up; this one goes on",
  stopped: "the group is stopping or has stopped",
  listener_closed: "the listener was closed",
} as const;

/** What keeps a socket from being bound. */
const BIND_CODES: ReadonlySet<SupervisorErrorCode> = new Set<SupervisorErrorCode>([
  "address_in_use",
  "address_forbidden",
  "address_unavailable",
  "host_unknown",
  "descriptor_invalid",
]);

export type SupervisorErrorCode = keyof typeof SUPERVISOR_ERRORS;

/** The one error class of this package. `exitCode` is what a command should exit with: as in `exit-codes.ts`. */
export class SupervisorError extends Error {
  override readonly name = "SupervisorError";
  readonly code: SupervisorErrorCode;
  readonly exitCode: number;

  constructor(code: SupervisorErrorCode, message: string, options: { cause?: unknown; exitCode?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.exitCode = options.exitCode ?? (BIND_CODES.has(code) ? EXIT.bind : EXIT.failed);
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
