/**
 * What `@portico/proxy` throws. The code says what went wrong, the message says it to a person, `exitCode` is what
 * `portico-proxy` ends with.
 *
 * | code | meaning | what to do |
 * | --- | --- | --- |
 * | `config-unreadable` | the file is absent, unreadable, or its module threw | look at `cause` |
 * | `config-syntax` | the file is not JSON, YAML or a module | the message has the line |
 * | `config-invalid` | one or more settings are wrong; `problems` has all of them | correct them |
 * | `listen-failed` | an address is in use, not allowed or not there | stop the other program, or choose another |
 * | `start-failed` | the proxy process did not come up | look at `cause` and the log |
 * | `reload-failed` | the running proxy refused the new configuration; the old one serves on | look at `cause` |
 * | `needs-restart` | a setting changed that only a restart can apply; nothing was changed | restart |
 * | `control-failed` | no running proxy was found, or it does not answer | is it running, as this user |
 * | `usage` | wrong flag or argument on the command line | see `--help` |
 */
import { EXIT } from "@portico/supervisor/exit-codes";

export type ProxyErrorCode =
  | "config-unreadable"
  | "config-syntax"
  | "config-invalid"
  | "listen-failed"
  | "start-failed"
  | "reload-failed"
  | "needs-restart"
  | "control-failed"
  | "usage";

/** Exit code of the command per error code. */
const EXIT_CODES: Record<ProxyErrorCode, number> = {
  "config-unreadable": EXIT.usage,
  "config-syntax": EXIT.usage,
  "config-invalid": EXIT.usage,
  "listen-failed": EXIT.bind,
  "start-failed": EXIT.failed,
  "reload-failed": EXIT.failed,
  "needs-restart": EXIT.failed,
  "control-failed": EXIT.failed,
  usage: EXIT.usage,
};

/** One thing that is wrong in a configuration, and what would be right. */
export interface ConfigProblem {
  /** The file, as it was given; undefined where the configuration came as an object. */
  readonly file: string | undefined;
  /** Where in the file, 1 for the first line; undefined where the format has none (modules, objects). */
  readonly line: number | undefined;
  /** Path of the key, as one would write it: `sites[0].routes[2].proxy.upstream`; empty for the whole. */
  readonly path: string;
  readonly message: string;
  /** What to write instead, where that is known. */
  readonly hint: string | undefined;
}

/** One line for a person: `portico.yaml:12: sites[0].routes[1].pth: unknown setting (did you mean "path"?)`. */
export function describeProblem(problem: ConfigProblem): string {
  const place =
    problem.file === undefined ? "" : problem.line === undefined ? problem.file : `${problem.file}:${problem.line}`;
  const parts = [place, problem.path, problem.message].filter((part) => part !== "");
  return parts.join(": ") + (problem.hint === undefined ? "" : ` (${problem.hint})`);
}

export class PorticoProxyError extends Error {
  override readonly name = "PorticoProxyError";
  readonly code: ProxyErrorCode;
  /** All that is wrong with a configuration; empty for other codes. */
  readonly problems: readonly ConfigProblem[];

  constructor(
    code: ProxyErrorCode,
    message: string,
    options: { cause?: unknown; problems?: readonly ConfigProblem[] } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.problems = options.problems ?? [];
  }

  /** What the command exits with. */
  get exitCode(): number {
    return EXIT_CODES[this.code];
  }
}
