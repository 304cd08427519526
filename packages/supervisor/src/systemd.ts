/** Sockets passed by systemd, sd_listen_fds(3): `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`, descriptors from 3 on. */
import { SupervisorError } from "./errors.ts";

const FIRST_FD = 3; // SD_LISTEN_FDS_START

/** Descriptors of the name, or all. Throws {@link SupervisorError} `descriptor_invalid` where systemd passed none. */
export function systemdDescriptors(
  name: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
  pid: number = process.pid,
): number[] {
  const count = Number(env["LISTEN_FDS"] ?? 0);
  if (Number(env["LISTEN_PID"]) !== pid || !Number.isInteger(count) || count < 1) {
    throw new SupervisorError(
      "descriptor_invalid",
      "cannot listen on systemd: no sockets were passed to this process (LISTEN_FDS and LISTEN_PID; is there a socket unit?)",
    );
  }
  const names = (env["LISTEN_FDNAMES"] ?? "").split(":");
  const fds = Array.from({ length: count }, (_, index) => FIRST_FD + index);
  const chosen = name === undefined ? fds : fds.filter((_, index) => names[index] === name);
  if (chosen.length === 0) {
    throw new SupervisorError(
      "descriptor_invalid",
      `cannot listen on systemd:${name}: no socket of that name was passed (there are: ${names.join(", ")})`,
    );
  }
  return chosen;
}
