/** `--check-config`: one worker loads the application and starts up, listens nowhere, and leaves again. */
import { checkAddresses } from "./listeners.ts";
import { startServer } from "./server.ts";
import type { ResolvedConfig } from "./settings.ts";

/**
 * @returns what the application turned out to be
 * @throws PorticoServerError as a real start would
 */
export async function checkApplication(config: ResolvedConfig, cwd: string): Promise<string> {
  checkAddresses(config, cwd);
  const server = await startServer({ ...config, workers: 1, logLevel: "silent" }, { cwd, listen: false });
  await server.stop();
  return server.application;
}
