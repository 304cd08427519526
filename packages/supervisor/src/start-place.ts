/**
 * Where and how this process was started, remembered from its first moment: a successor is started the same way, and
 * finds what is there by then. Where the working folder was reached through a link (`/srv/app/current`), the link's name
 * is kept, as gunicorn does, so that the successor runs the release that the link leads to now.
 */
import { statSync } from "node:fs";
import { join, relative, sep } from "node:path";

/** A command line to spawn. */
export interface StartCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
}

const physical = process.cwd();
const logical = logicalFolder(process.env["PWD"]);

function logicalFolder(shown: string | undefined): string {
  if (shown === undefined) return physical;
  const [here, there] = [physical, shown].map((path) => statSync(path, { throwIfNoEntry: false }));
  return here !== undefined && here.ino === there?.ino && here.dev === there.dev ? shown : physical;
}

/** What started this process. */
export function startCommand(): StartCommand {
  const [, script = "", ...args] = process.argv;
  const main = script.startsWith(physical + sep) ? join(logical, relative(physical, script)) : script;
  const flags = process.execArgv.filter((flag) => !flag.startsWith("--inspect")); // one port, and we have it
  return { file: process.execPath, args: [...flags, main, ...args], cwd: logical };
}
