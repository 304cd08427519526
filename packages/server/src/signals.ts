/** What each signal to the master does: one table for `--help` and the reference page; `cli.ts` has an action for each. */
export const SIGNALS = {
  SIGTERM:
    "graceful stop: no new connections, requests under way, `waitUntil` work and shutdown finish, within --graceful-timeout",
  SIGINT: "quick stop: connections are cut off, shutdown runs",
  SIGQUIT: "as SIGINT",
  SIGHUP: "reload: configuration and code again, replacements ready before the old workers leave",
  SIGUSR2:
    "upgrade: a second master, of what is on the disk now, on the same sockets; TERM to the old one confirms it, TERM to the new one goes back",
  SIGWINCH:
    "workers off, connections wait; HUP brings them back. For the old master during an upgrade; ignored at a terminal, which sends it when its size changes",
  SIGTTIN: "one worker more",
  SIGTTOU: "one worker less, but never none",
  SIGUSR1: "log files are opened anew",
} as const satisfies Partial<Record<NodeJS.Signals, string>>;
