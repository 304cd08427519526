/** The commands to a running server: one table for the command line, `--help` and the reference page. */
import type { ControlCommand } from "./protocol.ts";

/** What a command takes and says. */
export interface CommandRow {
  /** Its argument, `<…>` where it must be given. */
  readonly argument?: { readonly name: "id" | "workers"; readonly shown: string; readonly about: string };
  /** Its own flags, as commander reads them. */
  readonly flags?: readonly (readonly [flags: string, about: string])[];
  readonly about: string;
}

const ID = { name: "id", shown: "<ID>", about: "worker, as `workers` numbers them" } as const;
const OUTPUT = ["-o, --output <file>", "where to write it (default: a file in the temporary folder)"] as const;

export const COMMANDS: Readonly<Record<ControlCommand, CommandRow>> = {
  status: { about: "Who runs: the master, its application and addresses, and the workers." },
  workers: { about: "The workers: state, requests under way, event-loop delay, memory." },
  scale: {
    argument: {
      name: "workers",
      shown: "<N>",
      about: "how many workers there should be, from 1; `+1`, `-1`: more, fewer",
    },
    about:
      "Changes the number of workers, and waits until they are ready or gone. A reload does not undo it unless `workers` changed.",
  },
  reload: {
    about:
      "Reads configuration and code again. Ends when new workers serve; fails with the application's own error and exit code where they do not come up, and then the old ones stay.",
  },
  restart: { argument: ID, about: "Replaces one worker: a new one is ready before it leaves." },
  kill: { argument: ID, about: "Kills one worker (SIGKILL). Its requests fail; a new one takes its place." },
  dump: {
    argument: ID,
    flags: [["--report [file]", "also write Node's diagnostic report, to a file"]],
    about: "The JavaScript stack a worker is in, also where it is blocked, and its requests under way.",
  },
  stop: {
    flags: [["--quick", "do not wait for requests under way"]],
    about: "Stops the server in order, and waits until it is gone.",
  },
  profile: {
    argument: ID,
    flags: [["--seconds <seconds>", "how long to look (default: 10)"], OUTPUT],
    about: "Takes a CPU profile of a worker (`.cpuprofile`, for the browser's developer tools).",
  },
  heap: {
    argument: ID,
    flags: [OUTPUT],
    about:
      "Takes a heap snapshot of a worker (`.heapsnapshot`). The worker stands still meanwhile, for seconds per gigabyte; the hang watch waits for it.",
  },
  metrics: {
    about:
      "The metrics, in Prometheus's text format: what became of workers, and with `metrics` or `statsd` set, statuses and durations.",
  },
};

export function isControlCommand(word: string | undefined): word is ControlCommand {
  return word !== undefined && Object.hasOwn(COMMANDS, word);
}
