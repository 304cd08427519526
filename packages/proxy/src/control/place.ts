/** Where the control sockets of this user's proxies are. */
import { ControlFolder, SupervisorError } from "@portico/supervisor/control-folder";
import { PorticoProxyError } from "../errors.ts";

export const controlFolder: ControlFolder = new ControlFolder("portico-proxy");

/** @throws PorticoProxyError `control-failed` where the folder cannot be made, or somebody else has made it */
export function ownControlPath(): string {
  return asOurs(() => controlFolder.own());
}

/** Paths of the sockets of proxies that run. @throws PorticoProxyError `control-failed` where the folder is not to be believed */
export function controlSockets(): string[] {
  return asOurs(() => controlFolder.live().map(({ path }) => path));
}

function asOurs<Result>(look: () => Result): Result {
  try {
    return look();
  } catch (error) {
    if (!(error instanceof SupervisorError)) throw error;
    throw new PorticoProxyError("control-failed", error.message, { cause: error });
  }
}
