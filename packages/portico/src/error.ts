/** What can go wrong in the `portico` command itself; errors of the tiers pass through with their own codes. */
export type PorticoErrorCode =
  /** Wrong flags or arguments. Exit code 2. */
  | "usage"
  /** The configuration file contradicts the command. Exit code 2. */
  | "config"
  /** A reload ended half way: the message says which half is new. The exit code is not touched. */
  | "reload-half"
  /** The private folder for sockets cannot be made. Exit code 1. */
  | "runtime-folder";

export class PorticoError extends Error {
  override readonly name = "PorticoError";
  readonly code: PorticoErrorCode;

  constructor(code: PorticoErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
