/**
 * The one error class of the server, and what each of its codes means to whoever started it.
 *
 * Exit codes follow gunicorn where it has one: 3 when no worker came up, 4 when the application could not be loaded.
 */

import { EXIT } from "@portico/supervisor/exit-codes";

/** Code → exit code and meaning. The table is documentation: the reference page prints it. */
export const ERRORS = {
  usage: { exit: EXIT.usage, meaning: "unknown flag, missing argument, or a value that a flag does not take" },
  config: { exit: EXIT.usage, meaning: "the configuration file cannot be read, or a setting in it is wrong" },
  address: { exit: EXIT.usage, meaning: "an address that cannot be understood, or a link over TCP without a secret" },
  identity: { exit: EXIT.usage, meaning: "there is no such user or group, or only root may become it" },
  "in-use": { exit: EXIT.failed, meaning: "the pid file or the control socket belongs to a server that runs" },
  control: {
    exit: EXIT.failed,
    meaning: "a command to a running server failed: nobody listens, no permission, or it could not be done",
  },
  hook: { exit: EXIT.usage, meaning: "a hook of the configuration module failed, and what it belonged to with it" },
  upgrade: { exit: EXIT.failed, meaning: "a new master did not come up, or could not be started; the old one goes on" },
  bind: { exit: EXIT.bind, meaning: "an address is in use, or may not be bound" },
  "worker-boot": {
    exit: EXIT.boot,
    meaning: "no worker became ready: startup rejected, timed out, or the process died",
  },
  "app-missing": { exit: EXIT.load, meaning: "there is no such module, or it does not export what was named" },
  "app-syntax": { exit: EXIT.load, meaning: "the application, or something it imports, does not parse" },
  "app-threw": {
    exit: EXIT.load,
    meaning: "the application threw, or its promise rejected, while it was being loaded",
  },
  "app-no-handler": { exit: EXIT.load, meaning: "the module loaded, but nothing in it can answer requests" },
  internal: { exit: EXIT.failed, meaning: "anything else" },
} as const satisfies Record<string, { exit: number; meaning: string }>;

export type ServerErrorCode = keyof typeof ERRORS;

/**
 * Thrown by everything in this package. `message` is one clear sentence for a person; `detail` may add lines to it
 * (the source line of a syntax error, the application's own stack). The caller prints both and exits with `exitCode`.
 */
export class PorticoServerError extends Error {
  readonly code: ServerErrorCode;
  /** Lines for a person beneath the message, or undefined. */
  readonly detail: string | undefined;

  constructor(code: ServerErrorCode, message: string, options?: { cause?: unknown; detail?: string | undefined }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = "PorticoServerError";
    this.code = code;
    this.detail = options?.detail;
  }

  get exitCode(): number {
    return ERRORS[this.code].exit;
  }
}

/** True for one of our codes, also after a trip through a worker's message channel. */
export function isServerErrorCode(code: unknown): code is ServerErrorCode {
  return typeof code === "string" && Object.hasOwn(ERRORS, code);
}

/** In a worker: `detail` goes into the message, because that is what crosses the process border to the master. */
export function withDetail(error: PorticoServerError): PorticoServerError {
  if (error.detail === undefined) return error;
  return new PorticoServerError(error.code, `${error.message}\n${error.detail}`, { cause: error.cause });
}
