/**
 * What systemd is told of the server, sd_notify(3): that it is ready, reloads, stops, and still lives. The messages go
 * to a datagram socket, of which Node has none, so systemd's own program `systemd-notify` sends them; the unit needs
 * `NotifyAccess=all` for that.
 */
import { spawn } from "node:child_process";
import type { Logger } from "@portico/gateway";

/** Pings are sent twice as often as systemd expects them, as sd_watchdog_enabled(3) advises. */
const WATCHDOG_SHARE = 0.5;
const US_PER_MS = 1_000;

export class ServiceManager {
  readonly #log: Logger;
  #sent: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #complained = false;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** It serves; also after a reload, and a new master after an upgrade. */
  ready(status: string): void {
    this.#send("READY=1", `MAINPID=${process.pid}`, `STATUS=${status}`);
  }

  reloading(): void {
    const now = process.hrtime.bigint() / BigInt(US_PER_MS); // CLOCK_MONOTONIC, microseconds
    this.#send("RELOADING=1", `MONOTONIC_USEC=${now}`, "STATUS=reloading");
  }

  stopping(): void {
    this.#send("STOPPING=1", "STATUS=stopping");
  }

  /** Tells every so often that the master's event loop turns. Does nothing where the unit has no WatchdogSec. */
  watch(env: NodeJS.ProcessEnv): void {
    const interval = Number(env["WATCHDOG_USEC"]);
    const pid = env["WATCHDOG_PID"];
    if (!(interval > 0) || (pid !== undefined && Number(pid) !== process.pid)) return;
    this.#timer = setInterval(() => this.#send("WATCHDOG=1"), (interval / US_PER_MS) * WATCHDOG_SHARE).unref();
  }

  /** Resolves when everything is sent. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sent;
  }

  /** One after the other: the last word must be the last to come. */
  #send(...lines: string[]): void {
    this.#sent = this.#sent.then(() => this.#run(lines));
  }

  #run(lines: readonly string[]): Promise<void> {
    return new Promise((done) => {
      const child = spawn("systemd-notify", lines, { stdio: ["ignore", "ignore", "pipe"] });
      let said = "";
      child.stderr.setEncoding("utf8").on("data", (part: string) => (said += part));
      child.on("error", (error) => {
        this.#complain(error.message);
        done();
      });
      child.on("close", (code) => {
        if (code !== 0) this.#complain(said.trim());
        done();
      });
    });
  }

  #complain(reason: string): void {
    if (!this.#complained)
      this.#log.warn(`NOTIFY_SOCKET is set, but systemd cannot be told (systemd-notify): ${reason}`);
    this.#complained = true;
  }
}
