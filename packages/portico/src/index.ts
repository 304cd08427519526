export type { ServeOptions } from "./command.ts";
export { PorticoError, type PorticoErrorCode } from "./error.ts";
export { run } from "./run.ts";
export { type RunningStack, serve, type StopMode } from "./serve.ts";
