/** Who the processes are, and how the master is found and asked. */
import * as z from "zod";
import { octal, row } from "./row.ts";

export const identity = {
  user: row(z.string().min(1).optional(), {
    flags: "-u, --user <user>",
    from: "text",
    about:
      "User that the workers run as, by name or number, with the user's supplementary groups. Only root may give it; the master stays root, for sockets and logs.",
    changes: "restart",
  }),
  group: row(z.string().min(1).optional(), {
    flags: "-g, --group <group>",
    from: "text",
    about: "Group that the workers run as, by name or number. Default: the user's own.",
    changes: "restart",
  }),
  umask: row(octal().optional(), {
    flags: "--umask <octal>",
    from: "text",
    about: "Mode bits that files of the workers do not get, such as 027.",
    changes: "restart",
  }),
  pid: row(z.string().min(1).optional(), {
    flags: "-p, --pid <file>",
    from: "text",
    about:
      "File that the master writes its process id to. One that names a running process is an error, a stale one is replaced.",
    changes: "restart",
  }),
  name: row(z.string().min(1).max(64).optional(), {
    flags: "-n, --name <name>",
    from: "text",
    about: "Name in logs and process lists. Default: portico-server.",
    changes: "restart",
  }),
  daemon: row(z.boolean().default(false), {
    flags: "-D, --daemon",
    from: "switch",
    about: "Goes into the background. The command ends when the server is ready, or has failed, and says so.",
    changes: "restart",
  }),
} as const;

export const inspection = {
  control: row(z.union([z.literal(false), z.string().min(1)]).optional(), {
    flags: "--control <path>",
    from: "text",
    about:
      "Unix socket (mode 0600) on which the master answers commands; `false`: none. Default: one by process id in a private folder, where the commands look.",
    changes: "restart",
  }),
  reports: row(z.union([z.boolean(), z.string().min(1)]).default(true), {
    flags: "--reports <folder>",
    from: "text",
    about:
      "Where Node's diagnostic report of a worker that hung, or ran out of heap, is written: a folder of the workers' user (mode 0700), `true`: one under the temporary folder, or `false`. The newest twenty are kept.",
    changes: "restart",
  }),
  metrics: row(z.union([z.boolean(), z.string().min(1)]).default(false), {
    flags: "--metrics <address>",
    from: "text",
    about:
      "Counts statuses and durations in the workers, for `portico-server metrics` (`true`), and serves them to Prometheus at `/metrics` on `host:port` or `unix:/path`.",
    changes: "restart",
  }),
  statsd: row(z.string().min(1).optional(), {
    flags: "--statsd <address>",
    from: "text",
    about: "Sends metrics to a statsd at `host:port` over UDP, every ten seconds.",
    changes: "restart",
  }),
  statsdPrefix: row(
    z
      .string()
      .regex(/^[\w.-]*$/, "may have letters, digits, dots, dashes")
      .default("portico"),
    {
      flags: "--statsd-prefix <name>",
      from: "text",
      about: "What the names of statsd metrics begin with.",
      changes: "restart",
    },
  ),
} as const;
