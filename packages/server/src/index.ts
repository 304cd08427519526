export type { FunctionInterface } from "./application-kind.ts";
export { loadConfiguration } from "./configuration.ts";
export type { ConfigurationSources, LoadedConfiguration } from "./configuration.ts";
export { ERRORS, PorticoServerError } from "./error.ts";
export type { ServerErrorCode } from "./error.ts";
export { startServer } from "./server.ts";
export type { RunningServer, ServerOptions, WorkerInfo } from "./server.ts";
export { defineServer, ServerSettings } from "./settings.ts";
export type { ResolvedConfig, ServerConfig } from "./settings.ts";
