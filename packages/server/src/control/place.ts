/** Where the control sockets of this user's servers are. */
import { ControlFolder, SupervisorError } from "@portico/supervisor/control-folder";
import { PorticoServerError } from "../error.ts";

export const controlFolder: ControlFolder = new ControlFolder("portico-server");

/** @throws PorticoServerError `control` where the folder cannot be made, or somebody else has made it */
export function defaultControlPath(): string {
  return asOurs(() => controlFolder.own());
}

/** Paths of the sockets of servers that run. @throws PorticoServerError `control` where the folder is not to be believed */
export function liveSockets(): string[] {
  return asOurs(() => controlFolder.live().map(({ path }) => path));
}

function asOurs<Result>(look: () => Result): Result {
  try {
    return look();
  } catch (error) {
    if (!(error instanceof SupervisorError)) throw error;
    throw new PorticoServerError("control", error.message, { cause: error });
  }
}
