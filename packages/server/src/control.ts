/** The commands to a running server, for programs that have a server in them. */
import { isControlCommand } from "./control/commands.ts";
import { defaultControlPath } from "./control/place.ts";
import { openControl } from "./control/server.ts";
import type { ControlServer } from "./control/server.ts";
import { controlTarget, type ServerFacts } from "./control/target.ts";
import { prometheusText } from "./metrics/prometheus.ts";
import type { RunningServer } from "./server.ts";

export { isControlCommand };
export { controlMain } from "./control/main.ts";
export type { ControlServer };

/** What the program does, because it is more than the server's business. */
export interface ControlledProgram extends ServerFacts {
  reload(): Promise<void>;
  stop(mode: "graceful" | "quick"): Promise<void>;
}

/**
 * Answers commands about `server` on a socket where they look for it.
 * @throws PorticoServerError `control` where it cannot be opened
 */
export async function answerCommands(server: RunningServer, program: ControlledProgram): Promise<ControlServer> {
  const actions = {
    reload: () => program.reload(),
    stop: (mode: "graceful" | "quick") => program.stop(mode),
    metrics: (running: RunningServer) => prometheusText(running.metrics()),
  };
  const target = controlTarget(
    () => server,
    () => program,
    actions,
  );
  return await openControl(defaultControlPath(), target);
}
